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
from alcore.errors import PartOfSetError, SourceChangedError, SourceMissingError, UnreadableVolumeError
from alcore.fileset import fingerprint_of
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import Box, VolumeInfo
from alcore.volumes import open_volume

PARAMS: dict[str, Any] = {
    "read": {},
    "voxel_um": None,
    "patch": {"shape_px": [8, 32, 32]},
    "fingerprint": None,
    "limit_gb": 1.0,
}


def fingerprint(path: Path) -> dict[str, Any]:
    found = fingerprint_of(os.fsencode(path))
    assert found is not None
    return json.loads(found.to_text())


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
    (volume,) = result["volumes"]
    assert (volume["part"], volume["folder"], volume["read"], result["refused"]) == ("", "", {}, [])
    assert info == VolumeInfo.from_json(volume["info"])
    assert info.sha256 == result["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (info.shape, info.dtype, info.voxel_um, info.voxel_source) == (
        (1, 10, 70, 90),
        "uint8",
        (0.5, 0.1, 0.1),
        "file",
    )
    assert info.stats[0].mean == pytest.approx(image.mean())
    patches = [Box.from_json(p) for p in json.loads((folder / "patches.json").read_text())]
    assert [p.to_json() for p in patches] == volume["patches"]
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
    tifffile.imwrite(tmp_path / "v.tif", noise((4, 20, 600)), photometric="minisblack", metadata={"axes": "ZYX"})
    folder, result, _ = ingest(tmp_path, tmp_path / "v.tif", voxel_um=stated)
    info = VolumeInfo.from_json(result["volumes"][0]["info"])
    assert (info.voxel_um, info.voxel_source) == (voxel_um, source)
    with Image.open(folder / "thumbnail.png") as picture:
        assert max(picture.size) == 256


def test_two_channels_and_a_single_slice(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "v.tif", noise((2, 40, 50)), photometric="minisblack", metadata={"axes": "CYX"})
    _, result, _ = ingest(tmp_path, tmp_path / "v.tif", read={"channels": [1, 0], "together": True})
    info = VolumeInfo.from_json(result["volumes"][0]["info"])
    assert info.shape == (2, 1, 40, 50)
    assert len(info.stats) == 2


def test_every_time_point_and_channel_is_a_volume_of_its_own(tmp_path: Path) -> None:
    image = noise((2, 3, 2, 40, 50))
    image[1, :, 0] = 7  # one of the four holds nothing
    tifffile.imwrite(tmp_path / "v.tif", image, imagej=True, metadata={"axes": "TZCYX"})
    folder, result, ctx = ingest(tmp_path, tmp_path / "v.tif")
    content = hashlib.sha256((tmp_path / "v.tif").read_bytes()).hexdigest()
    assert result["sha256"] == content
    assert [v["part"] for v in result["volumes"]] == [
        "time 1 of 2, channel 0",
        "time 1 of 2, channel 1",
        "time 2 of 2, channel 1",
    ]
    assert result["refused"] == [
        ["time 2 of 2, channel 0", "every voxel has the value 7: there is nothing to see; leave it out"]
    ]
    assert len({v["info"]["sha256"] for v in result["volumes"]} | {content}) == 4
    for volume in result["volumes"]:
        info = VolumeInfo.from_json(json.loads((folder / volume["folder"] / "info.json").read_text()))
        with open_volume(tmp_path / "v.tif", volume["read"]) as reader:
            found = reader.read(Box((0, 0, 0), reader.shape[1:]))
        np.testing.assert_array_equal(found[0], image[volume["read"]["time"], :, volume["read"]["channel"]])
        assert info.stats[0].mean == pytest.approx(found.mean())
        assert (folder / volume["folder"] / "patches.json").is_file()
    fractions = [f for f, _ in ctx.notes]
    assert fractions == sorted(fractions)


def test_a_set_of_files_is_one_volume(tmp_path: Path) -> None:
    image = noise((3, 40, 50))
    names = tuple(f"z{i}.ome.tif" for i in range(3))
    write_set(tmp_path, image, names)
    with pytest.raises(PartOfSetError) as told:
        ingest(tmp_path, tmp_path / names[1])
    assert told.value.detail == {"owner": str(tmp_path / names[0]), "members": list(names)}
    with pytest.raises(PartOfSetError):
        ingest(tmp_path, tmp_path / names[0])
    store = ArtifactStore(tmp_path / "artifacts")
    inputs = {"source": [Input(tmp_path / names[0], "file:1", members=names)]}
    done = execute("volume", inputs, PARAMS, store, QuietContext(tmp_path / "scratch", tmp_path / "cache"))
    (volume,) = done.result["volumes"]
    assert volume["info"]["shape"] == [1, 3, 40, 50]
    assert volume["info"]["stats"][0]["mean"] == pytest.approx(image.mean())
    lines = b""
    for name in names:
        data = (tmp_path / name).read_bytes()
        lines += b"%d:%s:%d:%s\n" % (len(name), name.encode(), len(data), hashlib.sha256(data).hexdigest().encode())
    assert done.result["sha256"] == hashlib.sha256(lines).hexdigest()
    (tmp_path / names[2]).unlink()
    with pytest.raises(UnreadableVolumeError, match=r"missing 1 of 3 files: z2\.ome\.tif"):
        execute(
            "volume",
            {"source": [Input(tmp_path / names[0], "file:2", members=names)]},
            PARAMS,
            store,
            QuietContext(tmp_path / "scratch", tmp_path / "cache"),
        )


def write_set(folder: Path, image: np.ndarray[Any, Any], names: tuple[str, ...]) -> None:
    """One slice per file, every file with the whole description, as acquisition software writes them."""
    z, y, x = image.shape
    data = "".join(
        f'<TiffData FirstZ="{i}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{i}</UUID></TiffData>'
        for i, name in enumerate(names)
    )
    for i, name in enumerate(names):
        xml = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{i}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" '
            f'SizeX="{x}" SizeY="{y}" SizeZ="{z}" SizeC="1" SizeT="1"><Channel ID="Channel:0:0"/>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(folder / name, image[i], photometric="minisblack", description=xml, metadata=None)


def nothing_published(tmp_path: Path) -> bool:
    return not [p for p in (tmp_path / "artifacts").rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[: len(data) // 2], "beyond the end|the file ends at"),
        (lambda data: b"", "an empty file"),
        (lambda data: data[:2000] + bytes(2000) + data[4000:], "damaged file|decode"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, spoil: Callable[[bytes], bytes], words: str) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, noise((10, 70, 90)), photometric="minisblack", compression="zlib", metadata={"axes": "ZYX"})
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UnreadableVolumeError, match=rf"v\.tif: .*({words})"):
        ingest(tmp_path, path)
    assert nothing_published(tmp_path)


def test_constant_and_too_large(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "v.tif", np.full((4, 20, 20), 3, np.uint8), photometric="minisblack", metadata={"axes": "ZYX"}
    )
    with pytest.raises(UnreadableVolumeError, match="every voxel has the value 3"):
        ingest(tmp_path, tmp_path / "v.tif")
    with pytest.raises(UnreadableVolumeError, match="above the limit of"):
        ingest(tmp_path, tmp_path / "v.tif", limit_gb=1e-6)


def test_a_source_that_changes_is_discarded(tmp_path: Path) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, noise((6, 40, 40)), photometric="minisblack", metadata={"axes": "ZYX"})
    old = fingerprint(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChangedError, match="changed since"):
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
    (volume,) = result["volumes"]
    info = VolumeInfo.from_json(volume["info"])
    assert info.voxel_um == (0.04, 0.0059, 0.0059)
    assert len(volume["patches"]) == 16
    assert volume["notes"] == []
    assert volume["quality"]["warnings"] == []
