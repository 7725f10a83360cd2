"""A model of micro_sam that segments pictures: by its decoder (AIS) or by a grid of points (AMG). Imports torch and micro_sam."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError
from alcore.pseudo.micro_sam_settings import Thresholds
from alcore.pseudo.mosaic import in_raster_order
from alcore.pseudo.planes import DeviceMemoryError, Found, Ids, Picture
from alcore.pseudo.sam_checkpoint import load_tensors, sam_architecture
from alcore.weights.places import digest

SAM_PX = 1024
"""Every picture is scaled to this edge before the encoder sees it: what is larger loses detail unless it is tiled."""
TILE, HALO = (768, 768), (128, 128)
"""Tiles of larger windows: with their halo they are as large as what the encoder sees."""
AIS_WINDOW_PX = 2048
"""The distances that the decoder predicts are put together over this much before objects are cut out of them."""
EMBED_S, DECODE_S, POINTS_S, POINTS_MEASURED = 40.0, 16.0, 24.0, 64
"""Measured with vit_b on one CPU thread: one embedding, one decoder pass, and so many points of AMG."""
VIT_B_PARAMETERS = 89.7e6
SURE = 0.75
"""Foreground probability that counts as sure: the share of an object that is, is its stability."""


class MicroSamModel:
    """See `PlaneModel`. mode: "ais" or "amg". One instance serves one thread."""

    name = "micro_sam"
    version = 1

    def __init__(
        self,
        files: Sequence[Path],
        mode: str,
        thresholds: Thresholds,
        foreground_threshold: float,
        points_per_side: int,
        device: str,
        about: Mapping[str, Any],
    ) -> None:
        """files: the checkpoint, and the decoder where it is a file of its own. mode may be "auto": AIS with a decoder.

        Raises PermanentError for files that are no such model, and for AIS without a decoder.
        """
        self.thresholds, self._foreground_threshold = thresholds, foreground_threshold
        self._points_per_side, self._points_per_batch = points_per_side, 64
        architecture, has_decoder = sam_architecture(files[0])
        if len(files) > 1:
            load_tensors(files[1])
        has_decoder |= len(files) > 1
        if mode == "ais" and not has_decoder:
            raise PermanentError(
                f"{files[0]}: has no decoder, which mode 'ais' needs: use mode 'amg', or set option decoder"
            )
        self.mode = mode if mode != "auto" else ("ais" if has_decoder else "amg")
        self.window_px = AIS_WINDOW_PX if self.mode == "ais" else SAM_PX
        self._record = {**about, "mode": self.mode, "architecture": architecture, "sha256": [digest(f) for f in files]}
        self._load(files, architecture, device)

    def _load(self, files: Sequence[Path], architecture: str, device: str) -> None:
        from micro_sam.instance_segmentation import (
            InstanceSegmentationWithDecoder,
            TiledInstanceSegmentationWithDecoder,
            get_decoder,
        )
        from micro_sam.util import get_sam_model

        try:
            self._predictor, state = get_sam_model(
                model_type=architecture,
                device=device,
                checkpoint_path=str(files[0]),
                decoder_path=str(files[1]) if len(files) > 1 else None,
                return_state=True,
            )
            if self.mode == "ais":
                decoder = get_decoder(self._predictor.model.image_encoder, state["decoder_state"], device)
                self._ais = InstanceSegmentationWithDecoder(self._predictor, decoder)
                self._tiled_ais = TiledInstanceSegmentationWithDecoder(self._predictor, decoder)
        except (RuntimeError, KeyError) as e:  # keys or shapes that do not fit
            why = str(e).strip().splitlines()[0][:160]
            raise PermanentError(f"{files[-1]}: does not fit a {architecture} of Segment Anything ({why})") from e
        encoder = self._predictor.model.image_encoder
        self._embed_s = EMBED_S * sum(p.numel() for p in encoder.parameters()) / VIT_B_PARAMETERS

    def segment(self, picture: Picture) -> Found:
        """See `PlaneModel`."""
        with device_memory():
            return self._by_decoder(picture) if self.mode == "ais" else self._by_points(picture)

    def smaller(self) -> str | None:
        """Fewer points at a time; the decoder takes all at once."""
        if self.mode == "ais" or self._points_per_batch == 1:
            return None
        self._points_per_batch = max(1, self._points_per_batch // 4)
        return f"{self._points_per_batch} points at a time"

    def seconds(self, height: int, width: int) -> float:
        """See `PlaneModel`."""
        tiles = -(-height // TILE[0]) * -(-width // TILE[1]) if max(height, width) > SAM_PX else 1
        if self.mode == "ais":
            return tiles * (self._embed_s + DECODE_S)
        return self._embed_s + POINTS_S * self._points_per_side**2 / POINTS_MEASURED

    def record(self) -> dict[str, Any]:
        """See `PlaneModel`."""
        settings = {**asdict(self.thresholds), "foreground": self._foreground_threshold}
        return {**self._record, "thresholds": settings, "points_per_side": self._points_per_side}

    def _by_decoder(self, picture: Picture) -> Found:
        from micro_sam.util import precompute_image_embeddings

        t = self.thresholds
        tiled = max(picture.shape[:2]) > SAM_PX
        how: dict[str, Any] = {"tile_shape": TILE, "halo": HALO} if tiled else {}
        embedded = precompute_image_embeddings(self._predictor, picture, ndim=2, verbose=False, **how)
        segmenter = self._tiled_ais if tiled else self._ais
        segmenter.initialize(picture, image_embeddings=embedded, verbose=False, **how)
        ids = segmenter.generate(
            center_distance_threshold=t.center_distance,
            boundary_distance_threshold=t.boundary_distance,
            foreground_threshold=self._foreground_threshold,
            distance_smoothing=t.distance_smoothing,
            min_size=t.min_size,
        )
        foreground = segmenter.get_state()["foreground"]
        segmenter.clear_state()
        return _with_stability(np.asarray(ids), foreground)

    def _by_points(self, picture: Picture) -> Found:
        from micro_sam.instance_segmentation import AutomaticMaskGenerator
        from micro_sam.util import precompute_image_embeddings

        t = self.thresholds
        embedded = precompute_image_embeddings(self._predictor, picture, ndim=2, verbose=False)
        generator = AutomaticMaskGenerator(self._predictor, self._points_per_side, self._points_per_batch)
        generator.initialize(picture, image_embeddings=embedded, verbose=False)
        masks = generator.generate(pred_iou_thresh=t.pred_iou, stability_score_thresh=t.stability, output_mode="rle")
        return painted(masks, picture.shape[:2], t.min_size)


def _with_stability(ids: npt.NDArray[Any], foreground: npt.NDArray[np.float32]) -> Found:
    """Objects with the share of their pixels that are surely foreground as confidence."""
    ordered, _ = in_raster_order(ids.astype(np.uint32))
    n = int(ordered.max(initial=0)) + 1
    sure = np.bincount(ordered.ravel(), (foreground >= SURE).ravel(), minlength=n)
    return Found(ordered, (sure / np.maximum(np.bincount(ordered.ravel(), minlength=n), 1))[1:].astype(np.float32))


def painted(masks: Sequence[Mapping[str, Any]], shape: tuple[int, int], min_size: int) -> Found:
    """One picture (Y, X) from masks that overlap, as run lengths: large ones first, so that small ones stay on top.

    As `mask_data_to_segmentation` of micro_sam: connected pieces become objects of their own, and the largest region is taken
    to be the background. Confidence: predicted IoU times stability. One mask is in memory at a time.
    """
    from scipy import ndimage
    from segment_anything.utils.amg import rle_to_mask
    from skimage.measure import label

    index = np.zeros(shape, np.uint32)
    ordered = sorted(masks, key=lambda m: -m["area"])
    for k, mask in enumerate(ordered, 1):
        index[rle_to_mask(mask["segmentation"])] = k
    ids: Ids = label(index, connectivity=1, background=0).astype(np.uint32)
    sizes = np.bincount(ids.ravel())
    dropped = sizes < min_size
    dropped[[0, int(sizes.argmax())]] = True
    ids = np.where(dropped[ids], np.uint32(0), ids)
    ids, old = in_raster_order(ids)
    scores = [min(max(m["predicted_iou"], 0.0), 1.0) * m["stability_score"] for m in ordered]
    of = ndimage.maximum(index, ids, np.arange(1, len(old) + 1)).astype(np.int64) if len(old) else np.zeros(0, np.int64)
    return Found(ids, np.asarray([0.0, *scores], np.float32)[of])


@contextlib.contextmanager
def device_memory() -> Iterator[None]:
    """The device's word for no room, as our own error."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as e:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise DeviceMemoryError(f"the device has no room left: {str(e).splitlines()[0][:120]}") from e
