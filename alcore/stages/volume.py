"""Stage volume: prove that an acquisition is complete, hash and measure it in one sweep, cut it into patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alcore.errors import SourceChangedError
from alcore.stage import Context, Inputs, Params, Stage
from alcore.types import VolumeInfo

STATS_SEED = 0
"""Percentiles of wide dtypes come from a random sample: the same file always gives the same ones."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write info.json (VolumeInfo), patches.json (boxes in row order) and thumbnail.png for one source file.

    params: read, voxel_um (z, y, x) um used when the file has none or null, patch {"shape_px"}, fingerprint of the
    file as it was found complete or null, limit_gb. Raises UnreadableVolumeError, SourceChangedError or
    SourceMissingError.
    """
    import numpy as np

    from alcore.arrays.tiling import tile
    from alcore.volumes import check, open_volume, sweep
    from alcore.volumes.picture import write_thumbnail

    (source,) = inputs["source"]
    before = params.get("fingerprint") or sweep.fingerprint(source.path)
    sweep.same_file(source.path, before)
    ctx.progress(0.0, "checking completeness")
    check.strict(source.path, int(params["limit_gb"] * 2**30))
    with open_volume(source.path, params["read"]) as reader:
        swept = sweep.sweep(
            source.path,
            reader,
            np.random.default_rng(STATS_SEED),
            lambda done: ctx.progress(0.98 * done, "hashing and measuring"),
        )
        shape, dtype, in_file, notes = reader.shape, reader.dtype.name, reader.voxel_um, [*reader.notes, *swept.notes]
    sweep.same_file(source.path, before)
    if source.key.startswith("sha256:") and source.key != f"sha256:{swept.sha256}":
        raise SourceChangedError(f"{source.path}: is not the file {source.key} any more; it arrives again")

    stated = params.get("voxel_um")
    fallback = None if stated is None else (float(stated[0]), float(stated[1]), float(stated[2]))
    info = VolumeInfo(
        sha256=swept.sha256,
        shape=shape,
        dtype=dtype,
        voxel_um=in_file or fallback,
        voxel_source="file" if in_file else "config" if fallback else "unknown",
        stats=swept.stats,
    )
    depth, height, width = params["patch"]["shape_px"]
    patches = [box.to_json() for box in tile(info.zyx, (int(depth), int(height), int(width)))]
    (out / "info.json").write_text(json.dumps(info.to_json(), indent=1))
    (out / "patches.json").write_text(json.dumps(patches))
    write_thumbnail(out / "thumbnail.png", swept.middle[0])
    ctx.progress(1.0, f"{len(patches)} patches")
    return {"info": info.to_json(), "patches": patches, "notes": notes}


STAGE = Stage("volume", 1, run)
