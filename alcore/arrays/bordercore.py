"""Instances as two classes, core and border, so that a network keeps apart what touches: the target of such a training."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

CORE, BORDER = 1, 2
"""Classes of voxels of an object; 0 is background."""
CORE_SHARE = 0.5
"""Voxels deeper than this share of an object's greatest depth are core in any case: no object is all border."""


def border_core(
    instances: npt.NDArray[np.integer[Any]],
    thickness: float,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    in_plane: bool = False,
    unseen: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Classes (Z, Y, X) uint8 of instances (Z, Y, X): 0 background, `CORE`, or `BORDER` within `thickness` of the outside.

    The depth of a voxel is its distance to the nearest voxel of another object or of the background, in the unit of
    `spacing` (z, y, x), so that the outermost voxels of an object have a depth of one voxel. in_plane: only along y and x,
    for planes that are far apart; but a voxel above or below one of another object is border as well, so that cores do
    not touch. The face of the array is no outside, and neither are voxels that are `unseen`: an object
    may go on there. An object thinner than two borders has a thinner border (see `CORE_SHARE`).
    """
    from scipy import ndimage

    classes = np.zeros(instances.shape, np.uint8)
    if not instances.any():
        return classes
    ids, dense = np.unique(instances, return_inverse=True)
    dense = dense.reshape(instances.shape) + (ids[0] != 0)
    step = np.asarray(spacing, float)
    if in_plane:
        step[0] = 1e3 * max(instances.shape) * step[1:].max()  # farther than anything in the plane
    far = step[0] if in_plane else np.inf
    # the nearest outside may lie behind what is unseen; farther away than two borders it changes nothing
    margin = (1, 1, 1) if unseen is None else tuple(int(n) for n in np.ceil(2 * thickness / step) + 1)
    for n, box in enumerate(ndimage.find_objects(dense), start=1):
        if box is None:
            continue
        around = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(box, margin, strict=True))
        mine = dense[around] == n
        inside = mine if unseen is None else mine | unseen[around]
        if inside.all():
            depth = np.full(inside.shape, np.inf)
        else:
            depth = ndimage.distance_transform_edt(inside, sampling=step)
            depth[depth >= far] = np.inf
        deepest = float(depth[mine].max())
        limit = min(thickness, CORE_SHARE * deepest)
        classes[around][mine] = np.where(depth[mine] > limit, CORE, BORDER)
    return _parted(classes, dense) if in_plane else classes


def _parted(classes: npt.NDArray[np.uint8], dense: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
    """Border also where an object lies above or below another one, unless that would leave it without a core."""
    between = (dense[1:] != dense[:-1]) & (dense[1:] > 0) & (dense[:-1] > 0)
    contact = np.zeros(dense.shape, bool)
    contact[1:] |= between
    contact[:-1] |= between
    cores = np.where(contact | (classes != CORE), 0, dense)
    has_core = np.bincount(cores.ravel(), minlength=int(dense.max()) + 1) > 0
    classes[contact & has_core[dense]] = BORDER
    return classes
