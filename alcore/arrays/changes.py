"""What another model changes, object by object: found now, lost now, found better or worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from alcore.arrays.instancing import relabel_sequential
from alcore.arrays.matching import overlaps

Ids = npt.NDArray[np.unsignedinteger[Any]]
FOUND = 0.5
"""IoU above which an object counts as found, as in the scores."""
CHANGED = 0.1
"""Difference of IoU from which on an object that both find counts as changed."""
Kind = Literal["gained", "lost", "better", "worse", "invented", "no longer invented"]


@dataclass(frozen=True)
class Change:
    """One object that fares differently. centre: (z, y, x) in voxels of the map. iou_a, iou_b: with its best partner."""

    kind: Kind
    voxels: int
    centre: tuple[int, int, int]
    iou_a: float
    iou_b: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def changes(truth: Ids, a: Ids, b: Ids) -> list[Change]:
    """What model b does to the true objects (Z, Y, X) that model a did not, largest objects first; and to what is no object.

    gained, lost: true objects found (IoU above `FOUND`) by b alone, by a alone. better, worse: found by both, the IoU at least
    `CHANGED` higher or lower. invented, no longer invented: objects of b, of a, that find no true one, and none of the other's.
    Raises ValueError for maps of different shapes.
    """
    if not truth.shape == a.shape == b.shape:
        raise ValueError(f"maps of shapes {truth.shape}, {a.shape} and {b.shape} cannot be compared")
    truth, a, b = (relabel_sequential(m) for m in (truth, a, b))
    by_a, by_b = best_iou(truth, a), best_iou(truth, b)
    found: list[tuple[Kind, Ids, int, float, float]] = []
    for i, (p, q) in enumerate(zip(by_a, by_b, strict=True)):
        kind: Kind | None = None
        if (p > FOUND) != (q > FOUND):
            kind = "gained" if q > FOUND else "lost"
        elif p > FOUND and abs(q - p) >= CHANGED:
            kind = "better" if q > p else "worse"
        if kind is not None:
            found.append((kind, truth, i + 1, float(p), float(q)))
    for name, mine, other in (("invented", b, a), ("no longer invented", a, b)):
        alone = (best_iou(mine, truth) <= FOUND) & (best_iou(mine, other) <= FOUND)
        zero = (0.0, 1.0) if name == "invented" else (1.0, 0.0)
        found += [(name, mine, int(i) + 1, *zero) for i in np.flatnonzero(alone)]  # type: ignore[misc]
    return _placed(found)


def differences(a: Ids, b: Ids) -> list[Change]:
    """Where there is no truth: objects (Z, Y, X) of b that a has not ("gained"), of a that b has not ("lost"), largest first."""
    if a.shape != b.shape:
        raise ValueError(f"maps of shapes {a.shape} and {b.shape} cannot be compared")
    a, b = relabel_sequential(a), relabel_sequential(b)
    found: list[tuple[Kind, Ids, int, float, float]] = []
    in_b, in_a = best_iou(a, b), best_iou(b, a)
    found += [("lost", a, int(i) + 1, 1.0, float(in_b[i])) for i in np.flatnonzero(in_b <= FOUND)]
    found += [("gained", b, int(i) + 1, float(in_a[i]), 1.0) for i in np.flatnonzero(in_a <= FOUND)]
    return _placed(found)


def best_iou(objects: Ids, others: Ids) -> npt.NDArray[np.float64]:
    """For each object 1..n of one map the largest IoU with any object of the other map; both numbered without gaps."""
    n, m = int(objects.max(initial=0)), int(others.max(initial=0))
    sizes, other_sizes = np.bincount(objects.ravel(), minlength=n + 1), np.bincount(others.ravel(), minlength=m + 1)
    one, other, common = overlaps(objects, others)
    best = np.zeros(n + 1)
    np.maximum.at(best, one, common / (sizes[one] + other_sizes[other] - common))
    return best[1:]


def counts(found: list[Change]) -> Mapping[str, int]:
    """How many changes of each kind, zeros included."""
    kinds = ("gained", "lost", "better", "worse", "invented", "no longer invented")
    return {kind: sum(c.kind == kind for c in found) for kind in kinds}


def _placed(found: list[tuple[Kind, Ids, int, float, float]]) -> list[Change]:
    out = []
    places: dict[int, list[tuple[slice, ...]]] = {}  # by map: an object is looked at in its own box alone
    for kind, ids, i, p, q in found:
        if id(ids) not in places:
            places[id(ids)] = find_objects(ids.astype(np.int64))
        box = places[id(ids)][i - 1]
        where = np.argwhere(ids[box] == i)
        z, y, x = (int(v) + s.start for v, s in zip(np.median(where, axis=0), box, strict=True))
        out.append(Change(kind, len(where), (z, y, x), round(p, 4), round(q, 4)))
    return sorted(out, key=lambda c: (-c.voxels, c.centre))
