"""Leica LIF, proved on real files: equal to liffile's own reading, whole or refused, and never without the package."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from alcore.errors import AlcoreError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from tests.alcore.volumes.examine import examine

liffile = pytest.importorskip("liffile")
Image = np.ndarray[Any, Any]


@pytest.fixture
def folder(real_data: Callable[[str], Path]) -> Path:
    return real_data("formats") / "lif_leica" / "tests"


def whole(path: Path, read: dict[str, Any]) -> Image:
    with open_volume(path, read) as volume:
        return np.asarray(volume.read(Box((0, 0, 0), volume.shape[1:])))


def by_liffile(path: Path) -> list[Image]:
    """(T, C, Z, Y, X) of every image; wavelengths are channels, and rows are Y."""
    found = []
    with liffile.LifFile(path) as f:
        for image in f.images:
            array, axes = image.asarray(), "".join(image.dims).replace("λ", "C").replace("Λ", "C")
            if "Y" not in axes:
                axes = axes.replace("Z", "Y")
            for missing in set("TCZYX") - set(axes):
                array, axes = array[None], missing + axes
            found.append(array.transpose([axes.index(a) for a in "TCZYX"]))
    return found


@pytest.mark.parametrize("name", ["LeicaLASX_wavelength-sweep_example.lif", "testdata_2channel_xz.lif"])
def test_real_files_equal_the_packages_reading(name: str, folder: Path) -> None:
    path = folder / name
    expected = by_liffile(path)
    assert check.problems(path) == []
    found = parts(path)
    assert len(found) == sum(image.shape[0] * image.shape[1] for image in expected)
    rng = np.random.default_rng(0)
    for part in found:
        s, t, c = (part.select.get(word, 0) for word in ("scene", "time", "channel"))
        with open_volume(path, dict(part.select)) as volume:
            image = expected[s][t, c]
            np.testing.assert_array_equal(volume.read(Box((0, 0, 0), volume.shape[1:]))[0], image)
            start = [int(rng.integers(0, n)) for n in image.shape]
            size = [int(rng.integers(1, n - a + 1)) for n, a in zip(image.shape, start, strict=True)]
            box = Box((start[0], start[1], start[2]), (size[0], size[1], size[2]))
            np.testing.assert_array_equal(volume.read(box)[0], image[box.slices])


def test_names_and_voxel_sizes(folder: Path) -> None:
    path = folder / "testdata_2channel_xz.lif"
    names = [p.name for p in parts(path)]
    assert "scene 2 (xzy), channel 1 (Red)" in names
    with open_volume(path, {"scene": 1, "channels": ["red"]}) as volume:  # its slowest dimension is Y
        assert volume.shape == (1, 128, 23, 128)
        assert volume.voxel_um == (0.14027874, 0.229061545, 0.140279843)
    with open_volume(path, {"scene": 2, "channel": 0}) as volume:
        assert volume.notes == ("a scan in X and Z: its rows lie along Z",)


def lif(path: Path, dimensions: str, channels: str, data: bytes, name: str = "i", more: str = "") -> None:
    """A file of one image; dimensions: of "id n length step", channels: of "tag bits byte"."""
    made = ElementTree.Element("LMSDataContainerHeader", Version="2")
    project = ElementTree.SubElement(made, "Element", Name="p")
    element = ElementTree.SubElement(ElementTree.SubElement(project, "Children"), "Element", Name=name)
    ElementTree.SubElement(element, "Memory", Size=str(len(data)), MemoryBlockID="MemBlock_1")
    image = ElementTree.SubElement(ElementTree.SubElement(element, "Data"), "Image")
    about = ElementTree.SubElement(image, "ImageDescription")
    told = ElementTree.SubElement(about, "Channels")
    for word in channels.split(","):
        tag, bits, byte = word.split()
        rest = dict.fromkeys(("NameOfMeasuredQuantity", "Unit", "LUTName"), "")
        numbers = dict.fromkeys(("Min", "Max", "IsLUTInverted", "BitInc"), "0")
        attributes = {"DataType": "0", "ChannelTag": tag, "Resolution": bits, "BytesInc": byte}
        ElementTree.SubElement(told, "ChannelDescription", {**attributes, **rest, **numbers})
    told = ElementTree.SubElement(about, "Dimensions")
    for word in dimensions.split(","):
        which, n, length, step = word.split()
        attributes = {"DimID": which, "NumberOfElements": n, "Length": length, "BytesInc": step}
        ElementTree.SubElement(told, "DimensionDescription", {**attributes, "Origin": "0", "Unit": "m", "BitInc": "0"})
    xml = (ElementTree.tostring(made, "unicode") + more).encode("utf-16-le")
    block = "MemBlock_1".encode("utf-16-le")
    path.write_bytes(
        struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(xml) // 2)
        + xml
        + struct.pack("<IIBQBI", 0x70, len(block) + 14, 0x2A, len(data), 0x2A, len(block) // 2)
        + block
        + data
    )


def test_colours_by_the_declared_rule(tmp_path: Path) -> None:
    bgr = np.random.default_rng(0).integers(0, 255, (2, 8, 9, 3)).astype(np.uint8)
    path = tmp_path / "v.lif"
    lif(path, "1 9 8e-6 3,2 8 7e-6 27,3 2 1e-6 216", "3 8 0,2 8 1,1 8 2", bgr.tobytes())
    rgb = bgr[..., ::-1]
    np.testing.assert_array_equal(np.moveaxis(by_liffile_rgb(path), -1, 0), rgb.transpose(3, 0, 1, 2))
    found = whole(path, {"rgb": "channels", "together": True})
    np.testing.assert_array_equal(found, rgb.transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(whole(path, {})[0], np.rint(rgb @ np.array([0.2126, 0.7152, 0.0722])))
    assert 'rgb = "refuse"' in check.problems(path, {"rgb": "refuse"})[0]


def by_liffile_rgb(path: Path) -> Image:
    with liffile.LifFile(path) as f:
        return np.asarray(f.images[0].asarray())


def test_voxels_that_nothing_speaks_of_are_told(tmp_path: Path) -> None:
    lif(tmp_path / "v.lif", "1 9 8e-6 1,2 8 7e-6 9,3 3 1e-6 72", "0 8 0", bytes(288))
    with open_volume(tmp_path / "v.lif") as volume:
        assert "has 72 bytes more than its description speaks of" in volume.notes[0]
    lif(tmp_path / "v.lif", "1 9 8e-6 1,2 8 7e-6 9,3 4 1e-6 72", "0 8 0", bytes(288))
    with open_volume(tmp_path / "v.lif") as volume:
        assert volume.notes == ()


def test_tiles_are_scenes_and_16_bits(tmp_path: Path) -> None:
    image = np.arange(3 * 2 * 8 * 9, dtype=np.uint16).reshape(3, 2, 8, 9)
    path = tmp_path / "v.lif"
    lif(path, "1 9 8e-6 2,2 8 7e-6 18,3 2 1e-6 144,10 3 0 288", "0 12 0", image.tobytes())
    assert [p.name for p in parts(path)] == [f"scene {i + 1} (i, tile {i + 1})" for i in range(3)]
    np.testing.assert_array_equal(whole(path, {"scene": 2})[0], image[2])


@pytest.mark.parametrize(
    ("dimensions", "channels", "words"),
    [
        ("1 9 8e-6 1,2 8 7e-6 9,6 4 1 72", "0 8 0", "holds no image: i (4 rotations, lines or loops)"),
        ("1 9 8e-6 1,4 8 1 9", "0 8 0", "holds no image: i (a line)"),
        ("1 9 8e-6 1,2 8 7e-6 9", "0 8 0,0 16 72", "channels of 2 different kinds"),
        ("1 9 8e-6 1,2 8 7e-6 9,3 99 1 72", "0 8 0", "needs 7128 bytes, its memory block has 288"),
        ("1 9 8e-6 1,2 8 7e-6 1,3 99 1 1", "0 8 0", "needs 7128 bytes"),
        ("1 9 8e-6 30,2 2 7e-6 1", "0 8 0", "damaged"),
        ("1 9 8e-6 0,2 8 7e-6 9", "0 8 0", "damaged"),
        ("1 999999999 8e-6 1,2 8 7e-6 9", "0 8 0", "damaged"),
        ("1 9 8e-6 8,2 4 7e-6 72", "0 64 0", "uint64 values are not supported"),
    ],
)
def test_what_is_no_image_is_refused(dimensions: str, channels: str, words: str, tmp_path: Path) -> None:
    lif(tmp_path / "v.lif", dimensions, channels, bytes(288))
    assert words in check.problems(tmp_path / "v.lif")[0]


@pytest.mark.parametrize("name", ["LeicaLASX_wavelength-sweep_example.lif", "testdata_2channel_xz.lif"])
def test_a_cut_file_is_never_read(name: str, folder: Path, tmp_path: Path) -> None:
    data, path = (folder / name).read_bytes(), tmp_path / "v.lif"
    for length in (*range(64, len(data), len(data) // 60), len(data) - 1):
        path.write_bytes(data[:length])
        assert check.problems(path) != []
        with pytest.raises(AlcoreError):
            open_volume(path, {"scene": 0, "time": 0, "channel": 0})


def test_damaged_bytes_are_read_or_refused_but_never_a_crash(folder: Path, tmp_path: Path) -> None:
    rng, paths = np.random.default_rng(0), []
    data = (folder / "testdata_2channel_xz.lif").read_bytes()
    structure = [*range(14), *range(13, 91000, 2), *range(91000, 91170), *range(746500, 746570)]
    digits = [i for i in range(13, 91000, 2) if chr(data[i]).isdigit()]
    for index in range(80):
        damaged = bytearray(data)
        for position in rng.choice(digits if index % 2 else structure, rng.integers(1, 12)):
            damaged[position] = rng.integers(48, 58) if index % 2 else rng.integers(256)
        paths.append(tmp_path / f"{index}.lif")
        paths[-1].write_bytes(damaged)
    for path, v in examine(paths).items():
        assert v.took_s < 3 and v.rss_mb < 600, (path, v)
        assert len(v.told.splitlines()) == 1
