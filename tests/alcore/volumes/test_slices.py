"""Folders of slices: their order, what is missing, what does not belong, and damaged files among them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.errors import SourceChangedError, UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from alcore.volumes.slice_names import order_of
from alcore.volumes.slices import MOST_OPEN
from tests.alcore.volumes.examine import examine

Image = np.ndarray[Any, Any]


def stack(n: int, seed: int = 0) -> Image:
    """(Z, Y, X) uint16 noise."""
    return np.random.default_rng(seed).integers(1, 4000, (n, 20, 30)).astype(np.uint16)


def write(folder: Path, names: list[str], image: Image | None = None, **options: Any) -> Image:
    """One file per name, TIFF or PNG by its suffix."""
    folder.mkdir(exist_ok=True)
    image = stack(len(names)) if image is None else image
    for name, plane in zip(names, image, strict=True):
        if name.endswith(".png"):
            (folder / name).write_bytes(imagecodecs.png_encode(plane))
        else:
            tifffile.imwrite(folder / name, plane, **{"photometric": "minisblack", "metadata": None, **options})
    return image


def whole(path: Path, read: dict[str, Any] | None = None) -> Image:
    with open_volume(path, read) as volume:
        return np.asarray(volume.read(Box((0, 0, 0), volume.shape[1:])))


@given(
    first=st.integers(0, 10**7),
    n=st.integers(1, 40),
    step=st.integers(1, 3),
    width=st.integers(1, 8),
    words=st.tuples(*[st.sampled_from(["", "a", "s7_", "z=", "Ü "])] * 2),
    rng=st.randoms(use_true_random=False),
)
def test_numbers_are_compared_by_value(
    first: int, n: int, step: int, width: int, words: tuple[str, str], rng: Any
) -> None:
    expected = [f"{words[0]}x{first + i * step:0{width}d}{words[1]}y.tif" for i in range(n)]
    if n == 2 and step > 1:
        return
    shuffled = list(expected)
    rng.shuffle(shuffled)
    assert list(order_of(Path("f"), shuffled, None).names) == expected


@settings(max_examples=100)
@given(n=st.integers(4, 60), data=st.data())
def test_every_gap_is_found_and_named(n: int, data: st.DataObject) -> None:
    names = [f"z{i:04}.tif" for i in range(1, n + 1)]
    gone = data.draw(st.sets(st.integers(2, n - 1), min_size=1, max_size=n - 2))
    left = [name for i, name in enumerate(names, 1) if i not in gone]
    steps = {b - a for a, b in zip(*[[int(x[1:5]) for x in left][k:] for k in (0, 1)], strict=False)}
    if len(steps) == 1 and len(left) > 2:  # every second one: a step, which is said
        assert order_of(Path("f"), left, None).notes == (f"its slices are numbered in steps of {steps.pop()}",)
        return
    with pytest.raises(UnreadableVolumeError, match="missing between z0001") as e:
        order_of(Path("f"), left, None)
    found = str(e.value)
    if len(steps - {1}) and 1 in steps:
        assert f"{len(left)} of {n} are there" in found
        assert (f" {min(gone)}," in found) or (f" {min(gone)} " in found)


def test_the_message_of_a_gap(tmp_path: Path) -> None:
    write(tmp_path / "f", [f"z{i:04}.tif" for i in range(1, 21) if i not in (7, 12)])
    expected = "slices 7, 12 are missing between z0001.tif and z0020.tif: 18 of 20 are there"
    assert check.problems(tmp_path / "f") == [expected]
    with pytest.raises(UnreadableVolumeError, match=r"f: slices 7, 12 are missing"):
        open_volume(tmp_path / "f")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["t1_z1.tif", "t1_z2.tif", "t2_z1.tif", "t2_z2.tif"], "2 numbers vary in the names of its files"),
        (["a_z1_c1.tif", "a_z1_c2.tif"], 'follows "_c": are they channels or slices?'),
        (["i_T1.tif", "i_T2.tif"], 'follows "i_T": are they time points or slices?'),
        (["a.tif", "b.tif"], "a.tif has no number in its name"),
        (["z1.tif", "z2.tif", "overview1.tif"], "overview1.tif is not called like the other files, such as z1.tif"),
        (["z1.tif", "z01.tif"], "have the same number"),
        (["z1.tif", "z9.tif"], "slices 2, 3, 4, 5, 6, ... are missing between z1.tif and z9.tif: 2 of 9"),
        (["z1.tif", "z999999999999.tif"], "2 of 999999999999 are there"),
        (["z1.tif", "z2.png"], "z2.png is a PNG of 20 x 30 uint16, z1.tif is a TIFF of 20 x 30 uint16"),
    ],
)
def test_names_that_give_no_order_are_refused(names: list[str], words: str, tmp_path: Path) -> None:
    write(tmp_path / "f", names)
    assert words in check.problems(tmp_path / "f")[0]


def test_positions_that_grow_with_the_number_are_no_second_number(tmp_path: Path) -> None:
    names = [f"slice_{i:05}_z={i * 0.005:.4f}um.tif" for i in range(12)]
    image = write(tmp_path / "f", names)
    assert check.problems(tmp_path / "f") == []
    np.testing.assert_array_equal(whole(tmp_path / "f")[0], image)


def test_time_points_and_channels_by_the_persons_word(tmp_path: Path) -> None:
    image = write(tmp_path / "f", [f"i_t{i}.tif" for i in range(9, 12)])
    assert [p.select for p in parts(tmp_path / "f", {"axes": "TYX"})] == [{"time": t} for t in range(3)]
    np.testing.assert_array_equal(whole(tmp_path / "f", {"axes": "TYX", "time": 2})[0, 0], image[2])
    np.testing.assert_array_equal(whole(tmp_path / "f", {"axes": "ZYX"})[0], image)
    np.testing.assert_array_equal(whole(tmp_path / "f", {"axes": "CYX", "together": True})[:, 0], image)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (np.ones((20, 31), np.uint16), "z5.tif is a TIFF of 20 x 31 uint16, z0.tif is a TIFF of 20 x 30 uint16"),
        (np.ones((20, 30), np.uint8), "z5.tif is a TIFF of 20 x 30 uint8"),
        (np.ones((2, 20, 30), np.uint16), "z5.tif: holds 2 pages"),
    ],
)
def test_a_file_unlike_the_others_is_named(odd: Image, words: str, tmp_path: Path) -> None:
    write(tmp_path / "f", [f"z{i}.tif" for i in range(9)])
    tifffile.imwrite(tmp_path / "f" / "z5.tif", odd, photometric="minisblack", metadata=None)
    assert words in check.problems(tmp_path / "f")[0]
    with open_volume(tmp_path / "f") as volume, pytest.raises(UnreadableVolumeError, match=words):
        volume.read(Box((0, 0, 0), (9, 20, 30)))


def test_colour_slices_by_the_declared_rule(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3)).astype(np.uint8)
    for suffix in (".tif", ".png"):
        path = tmp_path / suffix[1:]
        write(path, [f"z{i}{suffix}" for i in range(3)], rgb, photometric="rgb")
        grey = np.rint(rgb @ np.array([0.2126, 0.7152, 0.0722]))
        np.testing.assert_array_equal(whole(path)[0], grey)
        channels = whole(path, {"rgb": "channels", "together": True})
        np.testing.assert_array_equal(channels, rgb.transpose(3, 0, 1, 2))
        assert [p.name for p in parts(path, {"rgb": "channels"})] == ["channel 0 (R)", "channel 1 (G)", "channel 2 (B)"]
        assert 'rgb = "refuse"' in check.problems(path, {"rgb": "refuse"})[0]


def test_the_voxel_size_is_never_made_up(tmp_path: Path) -> None:
    names = [f"z{i}.tif" for i in range(3)]
    write(tmp_path / "a", names, imagej=True, resolution=(10.0, 5.0), metadata={"unit": "um"})
    write(tmp_path / "b", names, imagej=True, resolution=(10.0, 5.0), metadata={"unit": "um", "spacing": 0.5})
    write(tmp_path / "c", names)
    for folder, expected, n_notes in (("a", None, 1), ("b", (0.5, 0.2, 0.1), 0), ("c", None, 0)):
        assert check.problems(tmp_path / folder) == []
        with open_volume(tmp_path / folder) as volume:
            assert (volume.voxel_um, len(volume.notes)) == (expected, n_notes)
            assert n_notes == 0 or "pixels of 0.2 x 0.1 um but no distance" in volume.notes[0]
    write(tmp_path / "a", names[1:2], stack(1), imagej=True, resolution=(10.0, 4.0), metadata={"unit": "um"})
    assert "z1.tif states pixels of 0.25 x 0.1 um, z0.tif of 0.2 x 0.1 um" in check.problems(tmp_path / "a")[0]


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """The bytes of a PNG of these chunks."""
    made = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        made += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return made


def header(width: int, height: int, bits: int = 8, colour: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)


END = (b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png_with(header(30, 20)), "IEND"),
        (png_with(header(30, 20), END), "has no pixels"),
        (png_with(header(30, 20, colour=3), END), "palette"),
        (png_with(header(30, 20, bits=1), END), "1-bit samples"),
        (png_with(header(1 << 30, 1 << 30), (b"IDAT", b"x"), END), "claims 1073741824 x 1073741824 pixels"),
        (png_with(header(30000, 30000), (b"IDAT", b"x"), END), "no image compresses so well"),
        (png_with(header(30, 20), (b"IDAT", b"x"), END)[:-1], "cut off"),
        (png_with(header(30, 20), (b"acTL", b"x"), END), "an animation"),
        (b"\x89PNG\r\n\x1a\n", "no whole PNG header"),
    ],
)
def test_malformed_pngs_are_set_aside(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "z1.png").write_bytes(data)
    assert words in check.problems(tmp_path / "f")[0]


def test_a_png_whose_pixels_end_early_is_no_slice(tmp_path: Path) -> None:
    """Its chunks are whole, so only decoding can tell."""
    half = zlib.compress(bytes(31 * 10))
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "z1.png").write_bytes(png_with(header(30, 20), (b"IDAT", half), END))
    with pytest.raises(UnreadableVolumeError, match=r"z1\.png: damaged: its contents cannot be decoded"):
        whole(tmp_path / "f")


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_cut_slice_is_never_read_as_if_it_were_whole(suffix: str, tmp_path: Path) -> None:
    image = write(tmp_path / "f", [f"z{i}{suffix}" for i in range(4)])
    path = tmp_path / "f" / f"z2{suffix}"
    data = path.read_bytes()
    for share in np.linspace(0, 0.999, 40):
        path.write_bytes(data[: int(share * len(data))])
        found = check.problems(tmp_path / "f")
        assert found and found[0].startswith(f"z2{suffix}: "), share
        with open_volume(tmp_path / "f") as volume, pytest.raises((UnreadableVolumeError, SourceChangedError)):
            volume.read(Box((0, 0, 0), (4, 20, 30)))
    path.write_bytes(data)
    np.testing.assert_array_equal(whole(tmp_path / "f")[0], image)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_damaged_byte_is_read_or_refused_but_never_a_crash(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folders = []
    for index in range(60):
        folders.append(tmp_path / str(index))
        write(folders[-1], [f"z{i}{suffix}" for i in range(3)])
        path = folders[-1] / f"z{rng.integers(3)}{suffix}"
        data = bytearray(path.read_bytes())
        for position in rng.integers(0, min(len(data), 300), rng.integers(1, 4)):
            data[position] = rng.integers(256)
        path.write_bytes(data)
    for path, v in examine(folders).items():
        assert v.verdict == "set aside" or "(1, 3, 20, 30)" in v.told, (path, v)
        assert v.took_s < 2


def test_thousands_of_slices_are_not_open_at_once(tmp_path: Path) -> None:
    image = np.broadcast_to(np.arange(400, dtype=np.uint16)[:, None, None], (400, 8, 8))
    write(tmp_path / "f", [f"z{i}.tif" for i in range(400)], image)

    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = files()
    with open_volume(tmp_path / "f") as volume:
        assert files() == before + 1
        found = volume.read(Box((0, 0, 0), (400, 8, 8)))
        assert files() <= before + MOST_OPEN
    np.testing.assert_array_equal(found[0], image)


def test_files_of_a_set_are_no_slices(tmp_path: Path) -> None:
    from tests.alcore.volumes.ome_set import write_ome_set

    (tmp_path / "f").mkdir()
    write_ome_set(tmp_path / "f", [stack(3)[None, None]], lambda s, t, c, z: f"z{z}.tif", None)
    assert any(words in check.problems(tmp_path / "f")[0] for words in ("a multi-file OME-TIFF", "holds 3 planes"))


def test_real_slices(real_data: Callable[[str], Path]) -> None:
    folder = real_data("formats") / "imagej_neubias" / "image_data" / "xyz_8bit__em_volume_tiff_series"
    expected = np.stack([tifffile.imread(path) for path in sorted(folder.glob("*.tif"))])
    assert check.problems(folder) == []
    np.testing.assert_array_equal(whole(folder)[0], expected)
    movie = folder.with_name("mitocheck-movie")
    assert 'Set axes = "TYX" or "ZYX"' in check.problems(movie)[0]
    last = sorted(movie.glob("*.tif"))[-1]
    np.testing.assert_array_equal(whole(movie, {"axes": "TYX", "time": 29})[0, 0], tifffile.imread(last))
