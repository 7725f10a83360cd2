"""What selection reads of artifacts besides vectors: boxes, and figures by name. Damage is one clear line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alcore.errors import PermanentError
from alcore.index.artifact import AGAIN
from alcore.selection.port import Float32, Positions


def read_boxes(volume: Path) -> Positions:
    """(N, 2, 3) start and shape (z, y, x) of a volume's patches."""
    path = volume / "patches.json"
    try:
        boxes = json.loads(path.read_text())
        return np.array([[box["start"], box["shape"]] for box in boxes], np.int64).reshape(len(boxes), 2, 3)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise PermanentError(f"{path}: not a readable list of patches ({e}); {AGAIN}") from e


def read_arrays(path: Path, names: Sequence[str], n: int) -> dict[str, Float32]:
    """Those arrays of an .npz that are there, by name, each (n,) float32; infinities become NaN."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in names if name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as e:
        raise PermanentError(f"{path}: not readable ({e}); {AGAIN}") from e
    for name, values in found.items():
        if values.shape != (n,) or values.dtype.kind not in "fiu":
            raise PermanentError(
                f"{path}: {name} is {values.shape} {values.dtype}, the volume has {n} patches; {AGAIN}"
            )
    return {name: np.where(np.isfinite(values), values, np.nan).astype(np.float32) for name, values in found.items()}
