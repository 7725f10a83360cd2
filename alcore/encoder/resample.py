"""Bring one slice to the encoder's working size: area averaging when it shrinks, bilinear when it grows."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=64)
def weights(n_in: int, n_out: int) -> NDArray[np.float32]:
    """(n_out, n_in) float32, rows sum to 1: what each new pixel takes of each old one along one axis.

    Shrinking takes exactly the share of the old pixels that the new one covers; growing interpolates between the two
    nearest pixel centres, with the edge repeated.
    """
    matrix = np.zeros((n_out, n_in))
    if n_out <= n_in:
        edges = np.arange(n_out + 1) * (n_in / n_out)
        old = np.arange(n_in)
        for i, (a, b) in enumerate(pairwise(edges)):
            matrix[i] = np.clip(np.minimum(old + 1, b) - np.maximum(old, a), 0.0, None)
    else:
        centre = np.clip((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, 0, n_in - 1)
        left = np.minimum(centre.astype(int), max(n_in - 2, 0))
        right = np.minimum(left + 1, n_in - 1)
        np.add.at(matrix, (np.arange(n_out), left), 1.0 - (centre - left))
        np.add.at(matrix, (np.arange(n_out), right), centre - left)
    matrix /= matrix.sum(axis=1, keepdims=True)
    result = matrix.astype(np.float32)
    result.flags.writeable = False
    return result


def resample(image: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """image (C, H, W) float32 resampled to (C, height, width); the same array when it has that size already.

    By one thread, whatever a BLAS is set to: the sums of several threads differ in the last bit from those of one, and for
    a matrix this small they mostly wait, in a loop that keeps the processor from whoever computes features.
    """
    _, h, w = image.shape
    if (h, w) == (height, width):
        return image
    with _blas().limit(limits=1):
        return np.asarray(weights(h, height) @ image @ weights(w, width).T, np.float32)


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    """The linear algebra that numpy has loaded."""
    return ThreadpoolController().select(user_api="blas")
