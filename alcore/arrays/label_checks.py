"""What is allowed in a label but looks like a slip: pieces, specks, holes, outlines, copies, coverage. Words for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]

SPECK_VOXELS = 8
OUTLINE_SHARE = 0.5
"""An object that encloses, slice by slice, at least so much background for each of its voxels was drawn as an outline."""
COVERAGE_FACTOR = 4.0
COVERAGE_LEAST = 0.05
"""Foreground is far from that of the pseudo-label when it is so many times more or less, and differs by so much of the patch."""


@dataclass(frozen=True)
class Shapes:
    """Of the objects 1..n, each (n,): torn (in several pieces, which cannot all go on outside of the patch and meet there),
    specks, holed (background enclosed), outlined, cut (by the border of the patch)."""

    torn: npt.NDArray[np.bool_]
    specks: npt.NDArray[np.bool_]
    holed: npt.NDArray[np.bool_]
    outlined: npt.NDArray[np.bool_]
    cut: npt.NDArray[np.bool_]


def shapes(labels: Ids) -> Shapes:
    """Look at every object of a mask (Z, Y, X) with ids 1..n. Pieces that touch at a corner are one."""
    from scipy import ndimage

    places = ndimage.find_objects(labels)
    n = len(places)
    found = Shapes(*(np.zeros(n, bool) for _ in range(5)))
    touching, within_slice = np.ones((3, 3, 3)), ndimage.generate_binary_structure(3, 1)
    within_slice[[0, 2]] = False
    for index, place in enumerate(places):
        block = labels[place]
        mine = block == index + 1
        size = int(np.count_nonzero(mine))
        found.torn[index] = _torn(mine, place, labels.shape, touching)
        found.specks[index] = size < SPECK_VOXELS
        found.cut[index] = any(s.start == 0 or s.stop == whole for s, whole in zip(place, labels.shape, strict=True))
        if size >= SPECK_VOXELS:
            empty = block == 0
            if block.shape[0] > 1:
                found.holed[index] = bool((ndimage.binary_fill_holes(mine) & empty).any())
            enclosed = np.count_nonzero(ndimage.binary_fill_holes(mine, within_slice) & empty)
            found.holed[index] |= block.shape[0] == 1 and enclosed > 0
            found.outlined[index] = enclosed >= OUTLINE_SHARE * size
    return found


def _torn(
    mine: npt.NDArray[np.bool_], place: tuple[slice, ...], shape: tuple[int, ...], touching: npt.NDArray[np.generic]
) -> bool:
    """Is an object in several pieces, of which one at least ends inside of the patch?"""
    from scipy import ndimage

    pieces, n = ndimage.label(mine, touching)
    if n < 2:
        return False
    goes_on = set()
    for axis, (span, whole) in enumerate(zip(place, shape, strict=True)):
        if whole == 1:
            continue  # a single slice is all there is of a 2D image
        for there, at in ((span.start == 0, 0), (span.stop == whole, -1)):
            if there:
                goes_on |= set(np.unique(np.take(pieces, at, axis)).tolist()) - {0}
    return len(goes_on) < n


def shape_words(found: Shapes, names: npt.NDArray[np.generic]) -> list[str]:
    """What to ask about those objects. names: the ids 1..n as the annotator wrote them."""
    n = len(names)
    kinds = (
        (found.torn, "in several pieces: {}"),
        (found.specks, f"fewer than {SPECK_VOXELS} voxels: {{}}"),
        (found.outlined, "drawn as outlines, with background inside: {}"),
        (found.holed & ~found.outlined, "with holes: {}"),
    )
    return [
        words.format(f"{int(which.sum())} of {n} objects (ids {_some(names[which])})")
        for which, words in kinds
        if which.any()
    ]


def copied(labels: Ids, pseudo: Ids) -> list[str]:
    """Say how many objects of a mask (Z, Y, X) with ids 1..n are voxel for voxel those of the pseudo-label."""
    width = np.uint64(int(pseudo.max()) + 1)
    pairs, shared = np.unique(labels.astype(np.uint64) * width + pseudo.astype(np.uint64), return_counts=True)
    ours, theirs = (pairs // width).astype(np.intp), (pairs % width).astype(np.intp)
    same = (ours > 0) & (theirs > 0)
    same &= shared == np.bincount(labels.ravel())[ours]
    same &= shared == np.bincount(pseudo.ravel().astype(np.intp))[theirs]
    n, total = int(same.sum()), int(labels.max())
    if n and n == total:
        which = "its one object is" if n == 1 else f"all {n} objects are"
        return [f"{which} identical to the pseudo-label: was it saved unchanged?"]
    return [f"{n} of {total} objects are identical to the pseudo-label"] if n else []


def coverage(labels: Ids, pseudo: Ids, seen: npt.NDArray[np.bool_] | None) -> list[str]:
    """Say when far more, or far less, is foreground than in the pseudo-label; seen: the part that was looked at, None: all."""
    ours, theirs = (float((a > 0).mean()) if seen is None else float((a[seen] > 0).mean()) for a in (labels, pseudo))
    low, high = sorted((ours, theirs))
    if not labels.any() or high - low < COVERAGE_LEAST or high < COVERAGE_FACTOR * low:
        return []
    asks = "is something missing?" if ours < theirs else "is the background saved as an object?"
    return [f"{ours:.1%} of it is foreground, {theirs:.1%} in the pseudo-label: {asks}"]


def _some(ids: npt.NDArray[np.generic]) -> str:
    """The first few ids, for a message."""
    return ", ".join(str(i) for i in ids[:5]) + (", ..." if ids.size > 5 else "")
