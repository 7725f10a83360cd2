"""Patches that are read together: neighbours along x, so that a stored page or chunk is decoded once for a row of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from alcore.types import Box


def strips(boxes: Sequence[Box], most_px: int) -> list[list[int]]:
    """Numbers of `boxes` in runs with equal z and y extents, ordered by x, by first z and y.

    The area (y, x) that a run spans stays within `most_px`, unless a single box is larger.
    """
    rows: dict[tuple[int, int, int, int], list[int]] = defaultdict(list)
    for i, box in enumerate(boxes):
        rows[box.start[0], box.start[1], box.shape[0], box.shape[1]].append(i)
    found: list[list[int]] = []
    for _, row in sorted(rows.items()):
        run: list[int] = []
        left = right = 0
        for i in sorted(row, key=lambda i: boxes[i].start[2]):
            box = boxes[i]
            if run and box.shape[1] * (max(right, box.stop[2]) - left) > most_px:
                found.append(run)
                run = []
            if not run:
                left = right = box.start[2]
            right = max(right, box.stop[2])
            run.append(i)
        found.append(run)
    return found


def span(boxes: Sequence[Box], z: int, depth: int) -> Box:
    """The box of `depth` slices from z that spans these boxes in y and x."""
    y, x = min(b.start[1] for b in boxes), min(b.start[2] for b in boxes)
    bottom, right = max(b.stop[1] for b in boxes), max(b.stop[2] for b in boxes)
    return Box((z, y, x), (depth, bottom - y, right - x))


def within(box: Box, area: Box) -> tuple[slice, slice]:
    """Index expression (y, x) of a box in an array that was read as `area`."""
    y, x = box.start[1] - area.start[1], box.start[2] - area.start[2]
    return slice(y, y + box.shape[1]), slice(x, x + box.shape[2])
