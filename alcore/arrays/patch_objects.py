"""Walk over a label volume that is too large for memory, patch by patch, and see what objects lie in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alcore.arrays.objecttraits import Ids, ObjectShares
from alcore.arrays.strips import span, strips, within
from alcore.types import Box

LABEL_SLICES = 16
"""Slices of labels read together: a stored chunk has as many."""


def shares(
    boxes: Sequence[Box],
    n_objects: int,
    read: Callable[[Box], Ids],
    most_px: int,
    tick: Callable[[float], None] = lambda share: None,
) -> ObjectShares:
    """The objects of every patch, see `ObjectShares`. read: ids (z, y, x) of a box, at most `n_objects`.

    At most `most_px` voxels are read together, unless a single slice of a patch has more. Patches that overlap share the
    objects in common out among them.
    """
    found = ObjectShares(len(boxes), n_objects)
    runs = strips(boxes, max(1, most_px))
    for done, run in enumerate(runs):
        together = [boxes[i] for i in run]
        begin, end = together[0].start[0], together[0].stop[0]
        plane = span(together, begin, 1)
        step = max(1, min(LABEL_SLICES, most_px // (plane.shape[1] * plane.shape[2])))
        for z in range(begin, end, step):
            area = span(together, z, min(step, end - z))
            block = read(area)
            for i in run:
                found.add(i, block[:, *within(boxes[i], area)])
        tick((done + 1) / len(runs))
    return found
