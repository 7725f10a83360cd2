"""The simulated expert: draws the truth of a patch, with the errors of people, and takes a person's time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.simulation.settings import ExpertSettings

Ids = npt.NDArray[np.integer[Any]]

SMOOTH_PX = 4.0
"""How far along a boundary an error of it reaches: a hand drifts, it does not tremble from voxel to voxel."""
TRIES = 20
"""Places that are tried for a false object before it is given up."""


def draw(truth: Ids, how: ExpertSettings, rng: np.random.Generator) -> npt.NDArray[np.uint32]:
    """What the expert draws where the truth is (Z, Y, X), ids 0 = background: objects left out, false ones, shifted boundaries.

    An object of which nothing is left is gone. Without errors the truth comes back.
    """
    drawn = truth.astype(np.uint32)
    ids = np.unique(drawn[drawn > 0])
    if how.missed:
        drawn[np.isin(drawn, ids[rng.random(len(ids)) < how.missed])] = 0
    if how.label_noise:
        for wrong in ids[rng.random(len(ids)) < how.label_noise]:
            _invent(drawn, truth == wrong, int(drawn.max()) + 1, rng)
    if how.boundary_jitter_px:
        drawn = _jittered(drawn, how.boundary_jitter_px, rng)
    return drawn


def minutes(drawn: Ids, how: ExpertSettings) -> tuple[float, int]:
    """(minutes that it took, objects in it) of a drawn patch."""
    n_objects = len(np.unique(drawn[drawn > 0]))
    return how.minutes_base + how.minutes_per_object * n_objects, n_objects


def _invent(drawn: npt.NDArray[np.uint32], shape: npt.NDArray[np.bool_], new: int, rng: np.random.Generator) -> None:
    """Draw an object of this shape (a mask (Z, Y, X)) where nothing is, as number `new`."""
    places = np.argwhere(shape)
    low = places.min(0)
    extent = places.max(0) - low + 1
    room = np.array(drawn.shape) - extent
    for _ in range(TRIES):
        moved = tuple((places - low + rng.integers(0, room + 1)).T)
        if not drawn[moved].any():
            drawn[moved] = new
            return


def _jittered(drawn: npt.NDArray[np.uint32], sigma_px: float, rng: np.random.Generator) -> npt.NDArray[np.uint32]:
    """Labels looked up at places that are displaced in the plane by a smooth random field of this standard deviation."""
    from scipy import ndimage

    places = np.indices(drawn.shape, np.float32)
    for axis in (1, 2):
        if drawn.shape[axis] < 2:
            continue
        noise = ndimage.gaussian_filter(rng.standard_normal(drawn.shape), (0, SMOOTH_PX, SMOOTH_PX), mode="wrap")
        places[axis] += sigma_px * noise / max(float(noise.std()), 1e-9)
    found: npt.NDArray[np.uint32] = ndimage.map_coordinates(drawn, places, order=0, mode="nearest")
    return found
