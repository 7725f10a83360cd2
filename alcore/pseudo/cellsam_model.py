"""The model of CellSAM (Marks et al. 2025) as one that segments pictures. Imports torch and cellSAM."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError
from alcore.pseudo.micro_sam_model import device_memory
from alcore.pseudo.mosaic import in_raster_order
from alcore.pseudo.planes import Found, Ids, Picture
from alcore.pseudo.sam_checkpoint import load_tensors
from alcore.weights.places import digest

WINDOW_PX = 512
"""Edge of the pictures it is shown: its authors recommend 256 to 2048, small ones where cells are many."""
PICTURE_S = 120.0
"""Measured with the network in its full size (random weights) on one CPU thread, on a loaded machine."""
PARAMETERS = 290e6


class CellSamModel:
    """See `PlaneModel`. One instance serves one thread."""

    name = "cellsam"
    version = 1
    window_px = WINDOW_PX

    def __init__(self, checkpoint: Path, bbox_threshold: float, device: str, about: Mapping[str, Any]) -> None:
        """Raises PermanentError for a file whose weights are not those of CellSAM: its own loader would take any file, and
        segment with random weights."""
        self._bbox_threshold, self._device = bbox_threshold, device
        self._model = _load(checkpoint).to(device).eval()
        n = sum(p.numel() for p in self._model.parameters())
        self._seconds = PICTURE_S * n / PARAMETERS
        self._record = {**about, "sha256": [digest(checkpoint)], "bbox_threshold": bbox_threshold}

    def segment(self, picture: Picture) -> Found:
        """See `PlaneModel`. One or two channels: what is marked is last, as CellSAM expects (blank, nuclear, whole cell)."""
        import torch
        from cellSAM import segment_cellular_image

        watched = _Watched(self._model)
        with device_memory(), torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Low IOU threshold")
            try:
                mask, _, _ = segment_cellular_image(
                    picture.astype(np.float32),
                    watched,
                    normalize=True,
                    postprocess=False,
                    bbox_threshold=self._bbox_threshold,
                    device=self._device,
                )
            except _Nothing:
                return Found.nothing(picture.shape)
        return watched.found(np.asarray(mask))

    def smaller(self) -> str | None:
        """It shows one box at a time to the decoder already."""
        return None

    def seconds(self, height: int, width: int) -> float:
        """See `PlaneModel`: every picture is scaled to the same size."""
        return self._seconds

    def record(self) -> dict[str, Any]:
        """See `PlaneModel`."""
        return dict(self._record)


def _load(checkpoint: Path) -> Any:
    """The network with these weights, every one of which must be in the file."""
    import importlib.resources

    import yaml
    from cellSAM import CellSAM

    state = load_tensors(checkpoint)
    if "state_dict" in state and not any(str(k).startswith("model.") for k in state):
        state = state["state_dict"]
    config = yaml.safe_load((importlib.resources.files("cellSAM") / "modelconfig.yaml").read_text())
    network = CellSAM(config)
    wanted = dict(network.state_dict())
    if not any(str(k).startswith("model_cp.") for k in state):  # older weights: it copies `model` then
        wanted = {k: v for k, v in wanted.items() if not k.startswith("model_cp.")}
    absent = [k for k in wanted if k not in state]
    other = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    if absent or other:
        what = f"{len(absent)} of {len(wanted)} weights are missing" if absent else f"{len(other)} have another shape"
        raise PermanentError(f"{checkpoint}: not a CellSAM model: {what}, such as {(absent or other)[0]}")
    network.load_state_dict(dict(state), strict=False)
    return network


class _Nothing(Exception):  # noqa: N818 - an outcome, never seen outside
    """The model found no object in a picture; its own code goes on with None and fails."""


class _Watched:
    """The network as `segment_cellular_image` uses it, with an ear at what it does not hand on: how sure it is of each mask."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._scores: list[float] = []
        self._raw: Ids = np.zeros((0, 0), np.uint32)

    def eval(self) -> _Watched:
        """As of the network."""
        self._network.eval()
        return self

    def to(self, device: str) -> _Watched:
        """As of the network."""
        self._network.to(device)
        return self

    @property
    def bbox_threshold(self) -> float:
        """As of the network."""
        return float(self._network.bbox_threshold)

    @bbox_threshold.setter
    def bbox_threshold(self, value: float) -> None:
        self._network.bbox_threshold = value

    def predict(self, images: Any, **how: Any) -> Any:
        """As of the network. Raises `_Nothing` where it answers None, and for a picture that normalising has made flat.

        Its own code fails on both: AttributeError on None in the first case, TypeError before the encoder in the second.
        """
        if not bool(images.any()):
            raise _Nothing
        decoder = (self._network.model_cp if self._network.adv_mode else self._network.model).mask_decoder
        hook = decoder.register_forward_hook(
            lambda module, given, out: self._scores.append(float(out[1][0, 0].detach()))
        )
        try:
            predicted = self._network.predict(images, **how)
        finally:
            hook.remove()
        if predicted is None or predicted[0] is None:
            raise _Nothing
        self._scores = [s for s in self._scores if s >= self._network.iou_threshold]
        self._raw = np.asarray(predicted[0]).astype(np.uint32)
        return predicted

    def found(self, mask: npt.NDArray[Any]) -> Found:
        """Its final objects, each with the predicted IoU of the mask that most of it comes from."""
        ids, old = in_raster_order(mask.astype(np.uint32))
        n, m = len(old) + 1, len(self._scores) + 1
        votes = np.bincount(ids.ravel().astype(np.int64) * m + self._raw.ravel(), minlength=n * m).reshape(n, m)
        scores = np.asarray([0.0, *self._scores], np.float32).clip(0, 1)
        return Found(
            ids, scores[votes[1:, 1:].argmax(axis=1) + 1] if len(old) and m > 1 else np.zeros(len(old), np.float32)
        )
