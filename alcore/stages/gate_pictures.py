"""Stage gate_pictures: what a model makes of held-out patches, beside their pseudo-labels and what the expert drew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alcore.errors import Preempted
from alcore.stage import Context, Inputs, Params, Stage, one

PANELS = ("image", "pseudo-label", "prediction", "label")
PX = 384
"""Longest side of a picture."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write <number>_<panel>.jpg of every label, all of one slice, the one in which the expert drew most.

    Inputs: model (one), label[] (held out). params: names (for people, aligned with label), version (of the model), min_voxels
    and min_um3 as in stage evaluate. Returns version and patches [{"name", "slice", "n_slices", "panels" (those there are), "objects"
    {panel: number}, "f1", "dice"}]; what the expert did not look at counts for neither side. Raises what the model raises.
    """
    import numpy as np

    from alcore.arrays import matching
    from alcore.arrays.sizes import least_voxels
    from alcore.nnunet import sources
    from alcore.nnunet.environment import nnunet_process
    from alcore.nnunet.fallback import PatchSegmenter
    from alcore.report.pictures import COLOURS, jpeg, outlined

    labels = inputs["label"]
    segmenter = PatchSegmenter(one(inputs, "model"), ctx.device, 0.5, ctx.ram_bytes)
    patches = []
    with nnunet_process(ctx.scratch, ctx.device, ctx.threads):
        for n, (item, name) in enumerate(zip(labels, params["names"], strict=True)):
            if ctx.should_stop():
                raise Preempted("pictures of held-out patches are made again")
            ctx.progress(n / len(labels), f"held-out patch {n + 1} of {len(labels)}")
            image, stats, voxel_um = sources.label_image(item.path)
            least = least_voxels(params.get("min_voxels"), params.get("min_um3", 0.0), voxel_um)
            truth = sources.label_mask(item.path)
            maps = {"prediction": segmenter.segment(image, stats, voxel_um, least), "label": truth}
            if (item.path / "pseudo.tif").is_file():
                maps["pseudo-label"] = sources.label_mask(item.path, "pseudo.tif")
            drawn = (truth > 0).sum(axis=(1, 2))
            z = int(drawn.argmax()) if drawn.any() else len(truth) // 2
            scores = matching.count(maps["prediction"], truth, 0.5, sources.label_ignored(item.path)).scores()
            for panel in PANELS:
                if panel == "image" or panel in maps:
                    ids = maps[panel][z] if panel in maps else None
                    picture = outlined(image[0, z], ids, COLOURS.get(panel, (0, 0, 0)), PX)
                    (out / f"{n:02d}_{panel}.jpg").write_bytes(jpeg(picture))
            patches.append(
                {
                    "name": str(name),
                    "slice": z,
                    "n_slices": len(truth),
                    "panels": [panel for panel in PANELS if panel == "image" or panel in maps],
                    "objects": {panel: len(np.unique(ids[ids > 0])) for panel, ids in maps.items()},
                    "f1": scores.f1,
                    "dice": scores.dice,
                }
            )
    result = {"version": str(params["version"]), "patches": patches, "notes": list(segmenter.notes)}
    (out / "patches.json").write_text(json.dumps(result, indent=1))
    return result


STAGE = Stage("gate_pictures", 1, run, long=True, isolated=True, preemptible=True)
