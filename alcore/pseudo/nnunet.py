"""The backend nnunet: a model of this project's own labels new volumes, once it is better at that than what came before."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.blocking import layout
from alcore.errors import PermanentError, Preempted
from alcore.pseudo import options as checks
from alcore.pseudo.blocks import Checkpoints
from alcore.pseudo.port import LabelArray, PseudoLabels
from alcore.pseudo.warm import forget, warm
from alcore.stage import Context
from alcore.types import Box, VolumeInfo
from alcore.volumes import VolumeReader
from alcore.weights.places import digest

if TYPE_CHECKING:
    from alcore.nnunet.prediction import Predictor

BLOCK = (32, 256, 256)
"""Voxels written at a time: whole chunks of the label store."""


@dataclass(frozen=True)
class NnunetOptions:
    """min_voxels: smaller objects are dropped, None = what the model was trained to expect. tile_step: distance of
    neighbouring tiles as a share of the patch."""

    min_voxels: int | None = None
    tile_step: float = 0.5

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that cannot be."""
        if self.min_voxels is not None:
            checks.whole("min_voxels", self.min_voxels, 0, 1 << 48)
        checks.number("tile_step", self.tile_step, 0.1, 1)


class NnunetLabeler:
    """See `alcore.pseudo.port`. model: a model directory of stage pretrain or finetune.

    The confidence of an object is the mean foreground probability of its voxels, stretched from 0.5..1 to 0..1. The
    model stays loaded from volume to volume. After a stop or a kill it goes on with the next row of tiles (those before whose
    tiles reach into it are computed once more); foreground, labels and probabilities lie on disk, six bytes per voxel meanwhile.
    """

    name = "nnunet"
    version = 1

    def __init__(self, options: Mapping[str, Any], model: Path | None = None) -> None:
        self.options = checks.parse(NnunetOptions, options, self.name)
        self._model = model

    def label(self, volume: VolumeReader, info: VolumeInfo, labels: LabelArray, ctx: Context) -> PseudoLabels:
        """See the port. Raises PermanentError without a model, or for one that does not fit the volume."""
        if self._model is None:
            raise PermanentError(
                "backend 'nnunet' needs a trained model, and there is none yet: use another one until then"
            )
        weights = digest(self._model / "weights.pt")
        parameters = {"options": asdict(self.options), "sha256": [weights]}
        if all(s.std == 0 or s.maximum <= s.minimum for s in info.stats):
            ctx.progress(1.0, "nothing found")
            return PseudoLabels(0, 0.0, (), parameters, ("nothing found: the volume is flat; no pseudo-labels for it",))
        from alcore.nnunet.environment import nnunet_process

        # blocks are of one size as long as the memory is
        kept = Checkpoints(ctx.scratch / f"nnunet-{weights[:16]}-{self.options.tile_step}-{ctx.ram_bytes}")
        try:
            with nnunet_process(ctx.scratch, ctx.device, ctx.threads):
                return self._predicted(volume, info, labels, ctx, kept, parameters)
        finally:
            kept.close()

    def _predicted(
        self,
        volume: VolumeReader,
        info: VolumeInfo,
        labels: LabelArray,
        ctx: Context,
        kept: Checkpoints,
        parameters: dict[str, Any],
    ) -> PseudoLabels:
        from alcore.nnunet.instances import VolumeInstances

        sure, mask = (kept.grid(name, info.zyx, np.uint8) for name in ("sure", "mask"))

        def look(box: Box, logits: npt.NDArray[np.float32]) -> None:
            sure[box.slices] = np.rint(255 * np.tanh(logits.clip(min=0) / 2)).astype(np.uint8)  # 2 p - 1

        def finished(rows: int) -> None:
            sure.flush()
            mask.flush()
            kept.save("rows", {"n": np.array(rows)})

        instances = VolumeInstances(kept.directory / "instances", info.zyx, ctx.ram_bytes, mask)
        try:

            def segment(predictor: Predictor) -> None:
                before = kept.load("rows")
                begin = int(before["n"]) if before else 0
                least = self.options.min_voxels
                instances.segment(predictor, volume, info.stats, info.voxel_um, least, ctx, look, begin, finished)

            notes = self._where_there_is_room(segment, parameters["sha256"][0], ctx)
            n = instances.n_objects
            total, voxels = np.zeros(n + 1), np.zeros(n + 1)
            boxes = layout(info.zyx, BLOCK)
            for i, box in enumerate(boxes):
                if ctx.should_stop():
                    raise Preempted(f"pseudo-labels: stopped after writing {i} of {len(boxes)} blocks")
                ids = instances.ids(box)
                if ids.any():
                    labels[box.slices] = ids
                    total += np.bincount(ids.ravel(), sure[box.slices].ravel(), minlength=n + 1)
                    voxels += np.bincount(ids.ravel(), minlength=n + 1)
                ctx.progress(0.95 + 0.05 * (i + 1) / len(boxes), f"writing: block {i + 1} of {len(boxes)}")
        finally:
            instances.close()
        confidence = total[1:] / np.maximum(voxels[1:], 1) / 255
        if not n:
            notes = (*notes, "nothing found: the model sees no object; no pseudo-labels for this volume")
        return PseudoLabels(
            n,
            float(voxels[1:].sum() / math.prod(info.zyx)),
            tuple(round(float(c), 4) for c in confidence),
            parameters,
            notes,
        )

    def _where_there_is_room(self, segment: Callable[[Predictor], None], weights: str, ctx: Context) -> tuple[str, ...]:
        """Segment on the device of the job, or on the processor if its memory does not hold a tile, which the plan fixes. Notes."""
        from alcore.nnunet.fallback import where_there_is_room
        from alcore.nnunet.prediction import Predictor

        assert self._model is not None
        model, step = self._model, self.options.tile_step

        def attempt(device: str) -> None:
            key = (self.name, weights, str(model), device, step, ctx.ram_bytes)
            segment(warm(key, partial(Predictor, model, device, step, ctx.ram_bytes)))

        return where_there_is_room(ctx.device, attempt, forget)
