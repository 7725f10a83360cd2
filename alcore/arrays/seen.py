"""Which part of a patch somebody looked at: said beside the label, by a mask of its own, or by a reserved value in the label.
The rest counts nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Seen = npt.NDArray[np.bool_]


def said(seen: Mapping[str, Any] | None, shape: tuple[int, int, int]) -> Seen | None:
    """(Z, Y, X) bool of what was said with a label: {"z": [first, last]} or {"box": [[z, z], [y, y], [x, x]]}, voxels of the
    patch, both ends belonging to it, counted from 0; None means all. Raises ValueError in words for people."""
    if seen is None:
        return None
    if not isinstance(seen, Mapping):
        raise ValueError(f"what was looked at is not said by slices (z) or a box: {seen!r}")
    if set(seen) == {"z"}:
        spans = [seen["z"], [0, shape[1] - 1], [0, shape[2] - 1]]
    elif set(seen) == {"box"}:
        spans = list(seen["box"]) if isinstance(seen["box"], (list, tuple)) else []
    else:
        spans = []
    if len(spans) != 3 or not all(_is_span(span) for span in spans):
        raise ValueError(f"what was looked at is not said by slices (z) or a box: {dict(seen)}")
    for name, (first, last), n in zip(("slices", "rows", "columns"), spans, shape, strict=True):
        if not 0 <= first <= last < n:
            raise ValueError(f"{name} {first} to {last} were looked at, but the patch has {name} 0 to {n - 1}")
    found = np.zeros(shape, bool)
    found[tuple(slice(first, last + 1) for first, last in spans)] = True
    return None if found.all() else found


def reserved(mask: npt.NDArray[np.generic], value: int, nothing_there: bool) -> Seen | None:
    """(Z, Y, X) bool: False where the mask holds the value that means "not looked at"; None when it is nowhere, or 0 (no value
    is reserved). nothing_there: somebody says that what was looked at holds no object.

    An object must never be taken for that: raises ValueError, in words for people, when an object has a number next to the
    value, and when there is nothing but it and 0, as in a mask of two values.
    """
    if value == 0 or not (unseen := mask == value).any():
        return None
    others = np.unique(mask[~unseen])
    if value - 1 in others or value + 1 in others:
        raise ValueError(
            f"objects have numbers next to {value}, which means 'not looked at'; renumber them, or set annotation.not_looked_at"
        )
    if not others.size:
        raise ValueError(f"holds nothing but {value}, which means 'not looked at': nothing was looked at")
    if not nothing_there and not (others != 0).any():
        raise ValueError(
            f"holds nothing but 0 and {value}, which means 'not looked at'; if these are objects, give each a number of its "
            "own; if there is none in what was looked at, confirm that it is empty"
        )
    return ~unseen


def looked_at(mask: npt.NDArray[np.generic]) -> Seen | None:
    """(Z, Y, X) bool of a mask file: 0 where nobody looked, one other number where somebody did; None means all.

    Raises ValueError in words for people, also for more than two numbers: then it is rather a label.
    """
    numbers = np.unique(mask)
    others = numbers[numbers != 0]
    if len(others) > 1:
        raise ValueError(
            f"holds {len(others)} numbers besides 0; what was looked at is said by 0 (not) and one other number: is it a label?"
        )
    if not others.size:
        raise ValueError("holds nothing but 0, which means 'not looked at': nothing was looked at")
    found = np.asarray(mask != 0)
    return None if found.all() else found


def _is_span(span: object) -> bool:
    return (
        isinstance(span, (list, tuple))
        and len(span) == 2
        and all(isinstance(n, int) and not isinstance(n, bool) for n in span)
    )
