"""The files of an embedding artifact: its vectors, and which patches of the volume they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.artifact import read_manifest
from alcore.errors import PermanentError

VECTORS = "embeddings.npy"
"""(N, D) float32 unit rows."""
PATCHES = "patches.npy"
"""(N,) int64, ascending: the patch of the volume that each row is of. Without that file row i is of patch i."""

AGAIN = "remove the artifact and it is made again"


def encoder_of(artifact: Path) -> str:
    """Key of the encoder that made an embedding artifact; "" for a folder that is none."""
    try:
        return read_manifest(artifact).inputs["encoder"][0]
    except (PermanentError, LookupError):
        return ""


def read_vectors(artifact: Path) -> npt.NDArray[Any]:
    """The (N, D) vectors, not yet checked for their values.

    Raises PermanentError, naming the file, for one that is damaged or no matrix.
    """
    path = artifact / VECTORS
    rows = _read(path)
    if rows.ndim != 2:
        raise PermanentError(f"{path}: has shape {rows.shape}, not (N, D); {AGAIN}")
    return rows.view(np.ndarray)


def patches_of(artifact: Path, n: int) -> npt.NDArray[np.int64]:
    """(n,) the patches that the `n` vectors of an artifact are of. Raises PermanentError for a list that cannot be theirs."""
    path = artifact / PATCHES
    if not path.exists():
        return np.arange(n, dtype=np.int64)
    found = _read(path)
    if found.shape != (n,) or found.dtype.kind not in "iu" or (n and found[0] < 0) or (np.diff(found) <= 0).any():
        raise PermanentError(f"{path}: is no ascending list of {n} patches; {AGAIN}")
    return found.astype(np.int64)


def _read(path: Path) -> npt.NDArray[Any]:
    try:
        found: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as e:
        raise PermanentError(f"{path}: not a readable array ({e}); {AGAIN}") from e
    return found
