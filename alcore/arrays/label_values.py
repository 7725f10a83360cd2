"""Values and shapes of masks that people bring: whole numbers, one per object; the words say what to mend."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt

MAX_ID = 2**31
"""Ids from here on do not survive the tools that use signed 32-bit integers."""


def whole_numbers(mask: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """The mask with integer ids, none below 0 and none beyond 32 bits. Raises ValueError in words for people."""
    if mask.dtype.kind == "f":
        if not np.isfinite(mask).all() or (mask != np.rint(mask)).any():
            raise ValueError("holds fractions or NaN; a label has whole numbers, one per object")
        if mask.min() < 0 or mask.max() >= 2 * MAX_ID:
            raise ValueError(f"ids from {mask.min():g} to {mask.max():g}; they must be 0 to {MAX_ID - 1}")
        return mask.astype(np.int64)
    lowest, highest = int(mask.min()), int(mask.max())
    if lowest < 0 or highest >= 2 * MAX_ID:
        raise ValueError(f"ids from {lowest} to {highest}; they must be 0 (background) to {MAX_ID - 1}")
    return mask.astype(np.int64)


def small_enough(mask: npt.NDArray[np.int64]) -> None:
    """Raise ValueError, in words for people, for ids of `MAX_ID` and more (the reserved value is gone by now)."""
    if int(mask.max()) >= MAX_ID:
        raise ValueError(f"ids from 0 to {int(mask.max())}; they must be 0 (background) to {MAX_ID - 1}")


def order_hint(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to say when a shape is that wanted but for the order of its axes; "" when it is not."""
    if len(shape) == len(wanted) == 3:
        for order in permutations(range(3)):
            if tuple(shape[axis] for axis in order) == wanted:
                stored = "".join("ZYX"[order.index(axis)] for axis in range(3))
                return f"its axes seem to be stored as {stored}: save them in the order Z, Y, X"
    return ""
