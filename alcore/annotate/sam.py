"""Segment Anything for the window: its encoder's output for every slice, computed before or on demand."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.annotate.lazy import Feature
from alcore.annotate.order import Weights
from alcore.annotate.patch import PICTURE_VERSION
from alcore.artifact import fsync_dir, write_atomic
from alcore.errors import PermanentError
from alcore.pseudo.sam_checkpoint import load_tensors, sam_architecture
from alcore.weights.places import digest

FEATURES, ABOUT = "features.npy", "about.json"


def check_weights(weights: Weights) -> str:
    """Architecture of the checkpoint. Raises PermanentError for a file that runs code or is no such model: micro_sam, which
    loads it next, would unpickle anything."""
    architecture, _ = sam_architecture(Path(weights.files[0]))
    for extra in weights.files[1:]:
        load_tensors(Path(extra))
    return architecture


def load_predictor(weights: Weights, device: str) -> tuple[Any, str]:
    """(SamPredictor of micro_sam, architecture). Raises PermanentError for files that are no such model."""
    architecture = check_weights(weights)
    from micro_sam.util import get_sam_model

    try:
        return get_sam_model(model_type=architecture, device=device, checkpoint_path=weights.files[0]), architecture
    except (RuntimeError, KeyError) as e:  # keys or shapes that do not fit
        why = str(e).strip().splitlines()[0][:160]
        raise PermanentError(f"{weights.files[0]}: does not fit a {architecture} of Segment Anything ({why})") from e


def embed_slice(predictor: Any, plane: npt.NDArray[np.uint8]) -> Feature:
    """What the encoder says of one slice (Y, X): (1, 256, 64, 64) float32."""
    from micro_sam.util import precompute_image_embeddings

    found = precompute_image_embeddings(predictor, plane, ndim=2, verbose=False)["features"]
    return np.asarray(found, np.float32)


def embeddings_name(weights_digest: str) -> str:
    """Name of the embeddings of a patch by one model: another model, or another way to prepare pictures, is another name."""
    return f"{weights_digest[:16]}-{PICTURE_VERSION}"


def store_embeddings(folder: Path, weights_digest: str, n: int, feature: Callable[[int], Feature]) -> Path:
    """Write n embeddings below `folder`, whole or not at all; returns where. feature: number z of them, which are those of
    every slice, or of every slice of one tile after the other (`alcore.annotate.lazy.parts_of`)."""
    final = folder / embeddings_name(weights_digest)
    tmp = folder / f".{final.name}.{uuid.uuid4().hex[:8]}.tmp"
    tmp.mkdir(parents=True)
    try:
        out = np.lib.format.open_memmap(tmp / FEATURES, mode="w+", dtype=np.float32, shape=(n, 1, 256, 64, 64))
        for z in range(n):
            out[z] = feature(z)
        out.flush()
        del out
        write_atomic(tmp / ABOUT, json.dumps({"slices": n, "weights": weights_digest}).encode())
        if final.exists():
            shutil.rmtree(final)
        tmp.rename(final)
        fsync_dir(folder)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    return final


def stored_embeddings(folder: Path, weights: Weights, n: int) -> npt.NDArray[np.float32] | None:
    """(n, 1, 256, 64, 64) float32, mapped into memory; None unless all of it is there and of these very weights."""
    place = folder / embeddings_name(digest(Path(weights.files[0])))
    try:
        about = json.loads((place / ABOUT).read_text())
        features: npt.NDArray[np.float32] = np.load(place / FEATURES, mmap_mode="r")
    except (OSError, ValueError):
        return None
    whole = features.shape == (n, 1, 256, 64, 64) and features.dtype == np.float32 and about.get("slices") == n
    return features if whole else None
