"""Stage `pseudo`: instance pseudo-labels of one volume by one backend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alcore.errors import SourceChangedError
from alcore.stage import Context, Inputs, Params, Stage, one
from alcore.types import VolumeInfo


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Inputs volume, source, and model for backend nnunet; params read, backend, options.

    Writes instances.zarr and pseudo.json.
    """
    from alcore.pseudo import backend
    from alcore.volumes import open_volume, store

    model = one(inputs, "model") if inputs.get("model") else None
    labeler = backend(params["backend"], params.get("options") or {}, model)
    info = VolumeInfo.from_json(json.loads((one(inputs, "volume") / "info.json").read_text()))
    source = one(inputs, "source")
    with open_volume(source, params.get("read")) as volume:
        if volume.shape != info.shape or str(volume.dtype) != info.dtype:
            raise SourceChangedError(
                f"{source}: was {info.shape} {info.dtype} when it came in, is {volume.shape} {volume.dtype} now"
            )
        labels = store.create_labels(out / "instances.zarr", info.zyx)
        found = labeler.label(volume, info, labels, ctx)
    record = {
        "backend": labeler.name,
        "backend_version": labeler.version,
        "parameters": found.parameters,
        "n_objects": found.n_objects,
        "foreground_fraction": found.foreground_fraction,
        "confidence": list(found.confidence),
        "notes": list(found.notes),
    }
    (out / "pseudo.json").write_text(json.dumps(record, indent=1))
    return {
        "n_objects": found.n_objects,
        "foreground_fraction": found.foreground_fraction,
        "backend": labeler.name,
        "notes": list(found.notes),
    }


STAGE = Stage(name="pseudo", version=1, run=run, preemptible=True)
