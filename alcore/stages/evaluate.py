"""Stage evaluate: score a model, or the pseudo-labels themselves, against expert labels that no training has seen."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.stage import Context, Inputs, Params, Stage, one
from alcore.types import Box

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write scores.json: per label, and pooled over all labels by sums of matches (not means of scores).

    Inputs: model (0 or 1; none scores each label artifact's pseudo.tif, and leaves out labels without), label[] (the gate).
    params: iou (0.5), min_voxels (null: the model's own), min_um3 (0), tile_step (0.5), near (none): by label, the boxes,
    in its own voxels, that lie so near to what models learned from that they count for neither side. per_label has the
    counts behind the scores, and the volume of each label, for the court (`alcore.arrays.court`). What the expert did not
    look at counts for neither side (see `matching.count`). notes: for people, where the GPU had no room for the model.
    Raises PermanentError when there is nothing to score.
    """
    from dataclasses import asdict

    from alcore.arrays import matching
    from alcore.errors import PermanentError, Preempted
    from alcore.nnunet import sources

    labels = inputs["label"]
    if not labels:
        raise PermanentError("evaluation needs at least one held-out label")
    if not inputs.get("model"):
        labels = [item for item in labels if (item.path / "pseudo.tif").is_file()]
        if not labels:
            raise PermanentError("none of the held-out labels has a pseudo-label to score")
    began = time.monotonic()
    segment = _Segmenting(inputs, params, ctx)
    near = {item.key: boxes for item, boxes in zip(inputs["label"], params.get("near", ()), strict=False)}
    counts, per_label = [], []
    for n, item in enumerate(labels):
        if ctx.should_stop():
            raise Preempted("evaluation stopped; run it again")
        ctx.progress(n / len(labels), f"scoring patch {n + 1} of {len(labels)}")
        since = time.monotonic()
        truth = sources.label_mask(item.path)
        ignored = _ignored(truth.shape, sources.label_ignored(item.path), near.get(item.key, ()))
        count = matching.count(segment.instances(item.path), truth, float(params.get("iou", 0.5)), ignored)
        counts.append(count)
        seconds = round(time.monotonic() - since, 3)
        per_label.append(
            {
                "label": item.key,
                "volume": json.loads((item.path / "label.json").read_text())["volume_sha256"],
                "scores": count.scores().to_json(),
                "counts": asdict(count),
                "seconds": seconds,
            }
        )
    result = {
        "scores": matching.pool(counts).to_json(),
        "per_label": per_label,
        "notes": list(segment.notes),
        "seconds": round(time.monotonic() - began, 3),
    }
    (out / "scores.json").write_text(json.dumps(result, indent=1))
    return result


def _ignored(shape: tuple[int, ...], unseen: Any, near: Sequence[Mapping[str, Any]]) -> Any:
    """Which voxels (Z, Y, X) count for neither side: those nobody looked at, and those near to training patches; or None."""
    import numpy as np

    if not near:
        return unseen
    found = np.zeros(shape, bool) if unseen is None else unseen.copy()
    for box in near:
        found[Box.from_json(box).slices] = True
    return found


class _Segmenting:
    """From a label artifact to the instances to be scored: those of the model, or without one the pseudo-labels."""

    def __init__(self, inputs: Inputs, params: Params, ctx: Context) -> None:
        from alcore.nnunet.fallback import PatchSegmenter

        self._params, self._ctx = params, ctx
        self._model: PatchSegmenter | None = None
        if inputs.get("model"):
            step = float(params.get("tile_step", 0.5))
            self._model = PatchSegmenter(one(inputs, "model"), ctx.device, step, ctx.ram_bytes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know."""
        return self._model.notes if self._model else ()

    def instances(self, label: Path) -> npt.NDArray[np.unsignedinteger[Any]]:
        """(Z, Y, X) of the patch of a label."""
        from alcore.arrays.sizes import least_voxels
        from alcore.nnunet import sources
        from alcore.nnunet.environment import nnunet_process

        if self._model is None:
            return sources.label_mask(label, "pseudo.tif")
        image, stats, voxel_um = sources.label_image(label)
        least = least_voxels(self._params.get("min_voxels"), self._params.get("min_um3", 0.0), voxel_um)
        with nnunet_process(self._ctx.scratch, self._ctx.device, self._ctx.threads):
            return self._model.segment(image, stats, voxel_um, least)


STAGE = Stage("evaluate", 3, run, long=True)
