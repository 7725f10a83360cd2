"""Stage volume: prove that an acquisition is complete, hash it, measure every volume in it in one sweep, cut them into patches."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alcore.artifact import canonical_json
from alcore.errors import AlcoreError, PartOfSetError, SourceChangedError, SourceMissingError, UnreadableVolumeError
from alcore.fileset import Fingerprint, fingerprint_of
from alcore.stage import Context, Input, Inputs, Params, Stage
from alcore.types import VolumeInfo

STATS_SEED = 0
"""Percentiles of wide dtypes come from a random sample: the same file always gives the same ones."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write info.json (VolumeInfo), patches.json (boxes in row order) and thumbnail.png for every volume of one source.

    A source that holds one volume has them at the root of the artifact, one that holds several in folders 0000, 0001...
    params: read (without scene, time, channel), voxel_um (z, y, x) um used when the file has none or null, patch
    {"shape_px"}, fingerprint of the source as it was found complete or null, limit_gb. Returns {"sha256", "volumes": [{"info",
    "read", "part", "folder", "patches", "notes", "quality"}], "refused": [[part, reason]]}. Raises UnreadableVolumeError when
    no volume in it can be used, PartOfSetError, SourceChangedError or SourceMissingError.
    """
    from alcore.volumes import check, parts
    from alcore.volumes.hashing import SourceHash

    (source,) = inputs["source"]
    stated = params.get("fingerprint")
    before = Fingerprint.from_json(stated).content if stated else _fingerprint(source).content
    _same(source, before)
    ctx.progress(0.0, "checking completeness")
    _belongs_together(source, before)
    check.strict(source.path, params["read"], int(params["limit_gb"] * 2**30))
    held = parts(source.path, params["read"])
    volumes, refused = [], []
    with SourceHash(source.path, source.members) as hashing:
        for number, part in enumerate(held):
            folder = f"{number:04d}" if len(held) > 1 else ""

            def tell(done: float, number: int = number) -> None:
                share = (number + done) / len(held)
                hashing.level(share)
                ctx.progress(
                    0.98 * share, "hashing and measuring" + (f", {number + 1} of {len(held)}" if len(held) > 1 else "")
                )

            try:
                volumes.append((part, folder, *_measured(source, params, part.select, ctx, tell)))
            except UnreadableVolumeError as e:
                if len(held) == 1:
                    raise
                refused.append([part.name, str(e).removeprefix(f"{source.path}: ")])
        if not volumes:
            raise UnreadableVolumeError(f"{source.path}: none of its {len(held)} volumes can be used: {refused[0][1]}")
        sha256 = hashing.digest()
    _same(source, before)
    if source.key.startswith("sha256:") and source.key != f"sha256:{sha256}":
        raise SourceChangedError(f"{source.path}: is not the file {source.key} any more; it arrives again")

    told = []
    for part, folder, draft, swept, notes in volumes:
        identity = hashlib.sha256(f"{sha256}\n{canonical_json(dict(part.select))}".encode()).hexdigest()
        info = VolumeInfo(identity if folder else sha256, **draft)
        told.append(
            {
                "info": info.to_json(),
                "read": {**params["read"], **part.select},
                "part": part.name,
                "folder": folder,
                "patches": _write(out / folder, info, swept.middle, params["patch"]["shape_px"]),
                "notes": notes,
                "quality": swept.quality,
            }
        )
    ctx.progress(1.0, f"{sum(len(v['patches']) for v in told)} patches")
    return {"sha256": sha256, "volumes": told, "refused": refused}


def _belongs_together(source: Input, content: str) -> None:
    """Raise PartOfSetError unless the acquisition consists of the files that it was taken to consist of.

    Where the file that describes a set is not there, or unusable, nothing but the others can tell who waits for it.
    """
    error: AlcoreError | None = None
    try:
        found = _set_of(source.path)
    except (UnreadableVolumeError, SourceMissingError) as e:
        if source.members is None:
            raise
        _same(source, content)
        found, error = _left_of(source), e
    if found != source.members:
        what = (
            f"{len(found)} files belong together" if found else "is an acquisition by itself, no set of files any more"
        )
        raise PartOfSetError(f"{source.path}: {what}", str(source.path), found or ())
    if isinstance(error, SourceMissingError):
        n = len(found or ()) - 1
        raise UnreadableVolumeError(f"{source.path}: is not there, and {n} files beside it say that it describes them")
    if error is not None:
        raise error


def _set_of(path: Path) -> tuple[str, ...] | None:
    """As `alcore.volumes.members`, but a file is only part of a set that another one stands for if that does not deny it."""
    from alcore.volumes import members

    try:
        return members(path)
    except PartOfSetError as e:
        owner = Path(e.detail["owner"])
        try:
            theirs = members(owner)
        except AlcoreError:  # not there, or damaged: it may be
            raise e from None
        if theirs is None or path.name not in theirs:
            raise UnreadableVolumeError(
                f"{path}: says that {owner.name} describes it, which does not name it"
            ) from None
        raise


def _left_of(source: Input) -> tuple[str, ...] | None:
    """Names of a set without the files that do not wait for the one that describes it; None when none does."""
    left = {source.path.name}
    for name in source.members or ():
        try:
            _set_of(source.path.with_name(name))
        except PartOfSetError as e:
            if e.detail["owner"] == str(source.path):
                left.add(name)
        except AlcoreError:  # not there, or unusable: it says so itself
            continue
    return tuple(sorted(left)) if len(left) > 1 else None


def _measured(
    source: Input, params: Params, select: Any, ctx: Context, tell: Callable[[float], None]
) -> tuple[dict[str, Any], Any, list[str]]:
    """(fields of VolumeInfo, what the sweep found, notes) of one volume."""
    import numpy as np

    from alcore.volumes import open_volume, sweep

    with open_volume(source.path, {**params["read"], **select}) as reader:
        swept = sweep.sweep(source.path, reader, np.random.default_rng(STATS_SEED), tell, ctx.ram_bytes // 16)
        given = params.get("voxel_um")
        fallback = None if given is None else (float(given[0]), float(given[1]), float(given[2]))
        draft = {
            "shape": reader.shape,
            "dtype": reader.dtype.name,
            "voxel_um": reader.voxel_um or fallback,
            "voxel_source": "file" if reader.voxel_um else "config" if fallback else "unknown",
            "stats": swept.stats,
        }
        return draft, swept, [*reader.notes, *swept.notes]


def _write(folder: Path, info: VolumeInfo, middle: Any, shape_px: list[int]) -> list[dict[str, list[int]]]:
    """Write what downstream stages read; returns the patches."""
    from alcore.arrays.tiling import tile
    from alcore.volumes.picture import write_thumbnail

    folder.mkdir(exist_ok=True)
    depth, height, width = shape_px
    patches = [box.to_json() for box in tile(info.zyx, (int(depth), int(height), int(width)))]
    (folder / "info.json").write_text(json.dumps(info.to_json(), indent=1))
    (folder / "patches.json").write_text(json.dumps(patches))
    write_thumbnail(folder / "thumbnail.png", middle)
    return patches


def _fingerprint(source: Input) -> Fingerprint:
    try:
        now = fingerprint_of(os.fsencode(source.path), source.members)
    except OSError as e:
        raise SourceMissingError(f"{source.path}: cannot be reached now ({e.strerror})") from e
    if now is None:
        raise SourceMissingError(f"{source.path}: is not there now")
    return now


def _same(source: Input, content: str) -> None:
    """Raise SourceChangedError when the source is no longer what it was when it was found complete."""
    if _fingerprint(source).content != content:
        raise SourceChangedError(f"{source.path}: changed since it was found complete; it arrives again")


STAGE = Stage("volume", 2, run, hostile=True)
