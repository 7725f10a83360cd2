"""Stage volume, run as the daemon runs it: through `execute`, on files that are whole, broken and changing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from alcore.artifact import ArtifactStore
from alcore.errors import SourceChangedError, SourceMissingError, UnreadableVolumeError
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import Box, VolumeInfo
from alcore.volumes.sweep import fingerprint

PARAMS: dict[str, Any] = {
    "read": {},
    "voxel_um": None,
    "patch": {"shape_px": [8, 32, 32]},
    "fingerprint": None,
    "limit_gb": 1.0,
}


def noise(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)


def ingest(tmp_path: Path, source: Path, **params: Any) -> tuple[Path, dict[str, Any], QuietContext]:
    """The artifact's folder, its result, and what the context heard."""
    store = ArtifactStore(tmp_path / "artifacts")
    ctx = QuietContext(tmp_path / "scratch", tmp_path / "cache")
    inputs = {"source": [Input(source, "file:1")]}
    manifest = execute("volume", inputs, {**PARAMS, **params}, store, ctx)
    return store.path(manifest.key), manifest.result, ctx


def test_a_whole_volume(tmp_path: Path) -> None:
    path = tmp_path / "v.tif"
    image = noise((10, 70, 90))
    tifffile.imwrite(
        path, image, imagej=True, resolution=(10, 10), metadata={"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    )
    folder, result, ctx = ingest(tmp_path, path, fingerprint=fingerprint(path), voxel_um=[9, 9, 9])
    info = VolumeInfo.from_json(json.loads((folder / "info.json").read_text()))
    assert info == VolumeInfo.from_json(result["info"])
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (info.shape, info.dtype, info.voxel_um, info.voxel_source) == (
        (1, 10, 70, 90),
        "uint8",
        (0.5, 0.1, 0.1),
        "file",
    )
    assert info.stats[0].mean == pytest.approx(image.mean())
    patches = [Box.from_json(p) for p in json.loads((folder / "patches.json").read_text())]
    assert [p.to_json() for p in patches] == result["patches"]
    covered = np.zeros(info.zyx, int)
    for box in patches:
        covered[box.slices] += 1
    assert (covered == 1).all()
    with Image.open(folder / "thumbnail.png") as picture:
        assert picture.size == (90, 70)
    fractions = [f for f, _ in ctx.notes]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


@pytest.mark.parametrize(
    ("stated", "voxel_um", "source"), [([0.04, 0.006, 0.006], (0.04, 0.006, 0.006), "config"), (None, None, "unknown")]
)
def test_voxel_size_of_the_config_is_the_fallback(tmp_path: Path, stated: Any, voxel_um: Any, source: str) -> None:
    tifffile.imwrite(tmp_path / "v.tif", noise((4, 20, 600)), photometric="minisblack")
    folder, result, _ = ingest(tmp_path, tmp_path / "v.tif", voxel_um=stated)
    info = VolumeInfo.from_json(result["info"])
    assert (info.voxel_um, info.voxel_source) == (voxel_um, source)
    assert "pages are taken as slices" in result["notes"][0]
    with Image.open(folder / "thumbnail.png") as picture:
        assert max(picture.size) == 256


def test_two_channels_and_a_single_slice(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "v.tif", noise((2, 40, 50)), photometric="minisblack", metadata={"axes": "CYX"})
    with pytest.raises(UnreadableVolumeError, match=r"2 channels.* channels"):
        ingest(tmp_path, tmp_path / "v.tif")
    _, result, _ = ingest(tmp_path, tmp_path / "v.tif", read={"channels": [1, 0]})
    info = VolumeInfo.from_json(result["info"])
    assert info.shape == (2, 1, 40, 50)
    assert len(info.stats) == 2


def nothing_published(tmp_path: Path) -> bool:
    return not [p for p in (tmp_path / "artifacts").rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[: len(data) // 2], "the file ends at"),
        (lambda data: b"", "an empty file"),
        (lambda data: data[:2000] + bytes(2000) + data[4000:], "damaged file|decode"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, spoil: Callable[[bytes], bytes], words: str) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, noise((10, 70, 90)), photometric="minisblack", compression="zlib", metadata=None)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UnreadableVolumeError, match=rf"v\.tif: .*({words})"):
        ingest(tmp_path, path)
    assert nothing_published(tmp_path)


def test_constant_and_too_large(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "v.tif", np.full((4, 20, 20), 3, np.uint8), photometric="minisblack")
    with pytest.raises(UnreadableVolumeError, match="every voxel has the value 3"):
        ingest(tmp_path, tmp_path / "v.tif")
    with pytest.raises(UnreadableVolumeError, match="above the limit of"):
        ingest(tmp_path, tmp_path / "v.tif", limit_gb=1e-6)


def test_a_source_that_changes_is_discarded(tmp_path: Path) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, noise((6, 40, 40)), photometric="minisblack")
    old = fingerprint(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChangedError, match="mtime_ns"):
        ingest(tmp_path, path, fingerprint=old)

    class Meddler(QuietContext):
        def progress(self, fraction: float, note: str = "") -> None:
            if fraction > 0.5:
                os.utime(path, ns=(2, 2))

    with pytest.raises(SourceChangedError):
        execute(
            "volume",
            {"source": [Input(path, "file:1")]},
            PARAMS,
            ArtifactStore(tmp_path / "artifacts"),
            Meddler(tmp_path / "s", tmp_path / "c"),
        )
    assert nothing_published(tmp_path)
    path.unlink()
    with pytest.raises(SourceMissingError):
        ingest(tmp_path, path)


def test_real_em(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    path = real_data("sbem_mito_unlabelled_z080-090") / "image.tif"
    _, result, _ = ingest(tmp_path, path, patch={"shape_px": [11, 256, 256]})
    info = VolumeInfo.from_json(result["info"])
    assert info.voxel_um == (0.04, 0.0059, 0.0059)
    assert len(result["patches"]) == 16
    assert result["notes"] == []
