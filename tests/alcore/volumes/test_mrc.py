"""MRC files: modes, byte orders, turned axes, stacks of volumes, calibration, and what is not whole."""

from __future__ import annotations

import bz2
import gzip
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alcore.errors import AlcoreError, UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from tests.alcore.volumes.examine import examine

Image = np.ndarray[Any, Any]


def stack(dtype: str = "int16", shape: tuple[int, ...] = (6, 9, 11)) -> Image:
    """(Z, Y, X) noise."""
    return np.random.default_rng(0).integers(1, 100, shape).astype(dtype)


def write(path: Path, image: Image, **fields: Any) -> None:
    """With mrcfile; fields: of the header. voxel: angstrom per voxel."""
    voxel = fields.pop("voxel", 7.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.new(path, overwrite=True) as mrc:
            mrc.set_data(image)
            mrc.voxel_size = voxel
            for key, value in fields.items():
                mrc.header[key] = value


def poke(path: Path, offset: int, data: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(data)] = data
    path.write_bytes(whole)


def whole(path: Path, read: dict[str, Any] | None = None) -> Image:
    with open_volume(path, read) as volume:
        return np.asarray(volume.read(Box((0, 0, 0), volume.shape[1:])))


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32", "float16"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_mode_in_both_byte_orders(dtype: str, order: str, tmp_path: Path) -> None:
    image = stack(dtype)
    write(tmp_path / "v.mrc", image.astype(image.dtype.newbyteorder(order)))
    assert check.problems(tmp_path / "v.mrc") == []
    found = whole(tmp_path / "v.mrc")
    assert found.dtype == (np.float32 if dtype == "float16" else image.dtype)
    np.testing.assert_array_equal(found[0], image)
    for name, stamp in (("no stamp", b"\0\0\0\0"), ("no word MAP", b"\0\0\0\0\0\0\0\0")):
        path = tmp_path / f"{name}.rec"
        path.write_bytes((tmp_path / "v.mrc").read_bytes())
        poke(path, 216 - len(stamp), stamp)
        np.testing.assert_array_equal(whole(path)[0], image, err_msg=name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(axes=st.permutations([1, 2, 3]), data=st.data())
def test_turned_axes_are_turned_back(axes: list[int], data: st.DataObject, tmp_path: Path) -> None:
    """The oracle places every voxel by itself: stored (section, row, column) belongs to (maps, mapr, mapc)."""
    stored = stack(shape=(3, 4, 5))
    mapc, mapr, maps = axes
    cell = {"cella": (20.0, 60.0, 150.0), "mx": 10, "my": 20, "mz": 30}
    write(tmp_path / "v.map", stored, mapc=mapc, mapr=mapr, maps=maps, **cell)
    sizes = {maps: 3, mapr: 4, mapc: 5}
    expected = np.zeros((sizes[3], sizes[2], sizes[1]), stored.dtype)
    for (s, r, c), value in np.ndenumerate(stored):
        where = {maps: s, mapr: r, mapc: c}
        expected[where[3], where[2], where[1]] = value
    np.testing.assert_array_equal(whole(tmp_path / "v.map")[0], expected)
    start = tuple(data.draw(st.integers(0, n - 1)) for n in expected.shape)
    shape = tuple(data.draw(st.integers(1, n - a)) for n, a in zip(expected.shape, start, strict=True))
    with open_volume(tmp_path / "v.map") as volume:
        box = Box((start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))
        np.testing.assert_array_equal(volume.read(box)[0], expected[box.slices])
        assert volume.voxel_um == (5e-4, 3e-4, 2e-4)
        assert any("turned to Z, Y, X" in note for note in volume.notes) == (axes != [1, 2, 3])


def test_a_stack_of_volumes_holds_scenes(tmp_path: Path) -> None:
    image = stack(shape=(4, 3, 9, 11))
    write(tmp_path / "v.mrc", image)
    assert [p.select for p in parts(tmp_path / "v.mrc")] == [{"scene": i} for i in range(4)]
    np.testing.assert_array_equal(whole(tmp_path / "v.mrc", {"scene": 2})[0], image[2])
    write(tmp_path / "v.mrc", image, mz=5)
    assert "no stack of volumes of 5 sections" in check.problems(tmp_path / "v.mrc")[0]


def test_unsigned_bytes_of_imod(tmp_path: Path) -> None:
    image = np.arange(99 * 3, dtype=np.int32).astype(np.uint8).reshape(3, 9, 11)
    write(tmp_path / "v.st", image.view(np.int8))
    assert whole(tmp_path / "v.st").dtype == np.int8
    poke(tmp_path / "v.st", 152, np.array([1146047817, 0], "<i4").tobytes())
    np.testing.assert_array_equal(whole(tmp_path / "v.st")[0], image)


@pytest.mark.parametrize(
    ("voxel", "expected"),
    [(0, None), (-1, None), (1.0, None), (float("nan"), None), (1e12, None), ((10, 20, 30), (3e-3, 2e-3, 1e-3))],
)
def test_the_voxel_size_is_angstrom_or_unknown(voxel: Any, expected: Any, tmp_path: Path) -> None:
    write(tmp_path / "v.mrc", stack(), voxel=voxel)
    with open_volume(tmp_path / "v.mrc") as volume:
        assert volume.voxel_um == expected


def test_extended_header_and_what_follows_the_voxels(tmp_path: Path) -> None:
    image = stack()
    write(tmp_path / "v.mrc", image)
    data = (tmp_path / "v.mrc").read_bytes()
    (tmp_path / "v.mrc").write_bytes(data[:1024] + bytes(768) + data[1024:] + bytes(10))
    poke(tmp_path / "v.mrc", 92, np.array(768, "<i4").tobytes())
    assert check.problems(tmp_path / "v.mrc") == []
    np.testing.assert_array_equal(whole(tmp_path / "v.mrc")[0], image)
    with open_volume(tmp_path / "v.mrc") as volume:
        assert volume.notes == ("10 bytes after the voxels are left out",)


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (12, 4, "MRC mode 4, complex numbers"),
        (12, 101, "4-bit numbers"),
        (12, 77, "makes no sense"),
        (8, -3, "makes no sense"),
        (8, 1 << 20, "promises"),
        (8, (1 << 31) - 1, "makes no sense"),
        (92, -1, "its extended header has -1 bytes"),
        (92, 1 << 30, "promises"),
        (64, 7, "axes [3, 2, 7] make no sense"),
    ],
)
def test_headers_that_cannot_be_true(offset: int, value: int, words: str, tmp_path: Path) -> None:
    write(tmp_path / "v.mrc", stack())
    poke(tmp_path / "v.mrc", offset, np.array(value, "<i4").tobytes())
    assert words in check.problems(tmp_path / "v.mrc")[0]


def test_a_cut_file_is_never_read(tmp_path: Path) -> None:
    write(tmp_path / "v.mrc", stack())
    data = (tmp_path / "v.mrc").read_bytes()
    for length in (*range(0, len(data), 97), len(data) - 1):
        (tmp_path / "v.mrc").write_bytes(data[:length])
        assert check.problems(tmp_path / "v.mrc") != []
        with pytest.raises(AlcoreError):
            open_volume(tmp_path / "v.mrc")


def test_compressed_files_are_refused_with_the_way_out(tmp_path: Path) -> None:
    write(tmp_path / "v.mrc", stack())
    data = (tmp_path / "v.mrc").read_bytes()
    for name, packed in (("v.map.gz", gzip.compress(data)), ("v.mrc.bz2", bz2.compress(data))):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(UnreadableVolumeError, match="a compressed MRC file; unpack it"):
            open_volume(tmp_path / name)


def test_damaged_bytes_are_read_or_refused_but_never_a_crash(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write(tmp_path / "v.mrc", stack())
    data = (tmp_path / "v.mrc").read_bytes()
    paths = []
    for index in range(120):
        damaged = bytearray(data)
        for position in rng.choice([*range(110), *range(140, 216)], rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        paths.append(tmp_path / f"{index}.mrc")
        paths[-1].write_bytes(damaged)
    verdicts = examine(paths).values()
    assert {v.verdict for v in verdicts} == {"read", "set aside"}
    assert max(v.took_s for v in verdicts) < 1


def test_real_maps(real_data: Callable[[str], Path]) -> None:
    folder = real_data("formats") / "mrc_mrcfile" / "tests" / "test_data"
    with mrcfile.open(folder / "EMD-3197.map") as mrc:
        np.testing.assert_array_equal(whole(folder / "EMD-3197.map")[0], mrc.data)
    with open_volume(folder / "EMD-3197.map") as volume:
        assert volume.voxel_um == (1.14e-3, 1.14e-3, 1.14e-3)
    with mrcfile.open(folder / "EMD-3001.map") as mrc:  # its sections lie along Y, rows along X, columns along Z
        assert (int(mrc.header.maps), int(mrc.header.mapr), int(mrc.header.mapc)) == (2, 1, 3)
        expected = np.transpose(mrc.data, (2, 0, 1))
    assert check.problems(folder / "EMD-3001.map") == []
    np.testing.assert_array_equal(whole(folder / "EMD-3001.map")[0], expected)
    for path in (*folder.glob("*.map.gz"), *folder.glob("*.map.bz2")):
        assert "a compressed MRC file" in check.problems(path)[0]
