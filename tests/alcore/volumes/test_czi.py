"""Zeiss CZI, proved on real files: equal to czifile's own reading, whole or refused, and never without the package."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from alcore.errors import AlcoreError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from tests.alcore.volumes.examine import examine

czifile = pytest.importorskip("czifile")
Image = np.ndarray[Any, Any]
ENTRY = {"position": 6, "part": 14, "compression": 18, "dimensions": 28}
"""Bytes into an entry of the directory."""


@pytest.fixture
def folder(real_data: Callable[[str], Path]) -> Path:
    return real_data("formats") / "czi_zeiss" / "c_tests" / "resources"


@pytest.fixture
def two_scenes(real_data: Callable[[str], Path]) -> Path:
    return real_data("formats") / "imagej_neubias" / "image_data" / "xyz__multiple_images.czi"


def whole(path: Path, read: dict[str, Any]) -> Image:
    with open_volume(path, read) as volume:
        return np.asarray(volume.read(Box((0, 0, 0), volume.shape[1:])))


def by_czifile(path: Path) -> Image:
    """(S, T, C, Z, Y, X, samples)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with czifile.CziFile(path) as f:
            image, axes = f.asarray(max_workers=1), f.axes
    for i in reversed(range(len(axes))):
        if axes[i] not in "STCZYX0":
            image, axes = image.take(0, i), axes[:i] + axes[i + 1 :]
    for missing in set("STCZ") - set(axes):
        image, axes = image[None], missing + axes
    return np.asarray(image.transpose([axes.index(a) for a in "STCZYX0"]))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("s_1_t_1_c_1_z_1.czi", (1, 1, 1, 1, 325, 475, 1)),
        ("CD_s_1_t_3_c_2_z_5.czi", (1, 3, 2, 5, 170, 240, 1)),
        ("tiles.czi", (1, 1, 2, 1, 512, 510, 1)),
        ("tiles_z.czi", (1, 1, 2, 2, 512, 510, 1)),
        ("two scenes", (2, 1, 1, 2, 251, 251, 1)),
    ],
)
def test_real_files_equal_the_packages_reading(
    name: str, shape: tuple[int, ...], folder: Path, two_scenes: Path
) -> None:
    path = two_scenes if name == "two scenes" else folder / name
    expected = by_czifile(path)
    assert expected.shape == shape
    assert check.problems(path) == []
    found = parts(path)
    assert len(found) == shape[0] * shape[1] * shape[2]
    rng = np.random.default_rng(0)
    for part in found:
        s, t, c = (part.select.get(word, 0) for word in ("scene", "time", "channel"))
        np.testing.assert_array_equal(whole(path, dict(part.select))[0], expected[s, t, c, ..., 0])
        with open_volume(path, dict(part.select)) as volume:
            start = [int(rng.integers(0, n)) for n in volume.shape[1:]]
            size = [int(rng.integers(1, n - a + 1)) for n, a in zip(volume.shape[1:], start, strict=True)]
            box = Box((start[0], start[1], start[2]), (size[0], size[1], size[2]))
            np.testing.assert_array_equal(volume.read(box)[0], expected[s, t, c, ..., 0][box.slices])


def test_colours_by_the_declared_rule(folder: Path) -> None:
    path = folder / "RGB-multichannel.czi"
    expected = by_czifile(path)[0, 0, :, 0].astype(float)
    assert [p.name for p in parts(path)][:2] == ["channel 0 (Bright)", "channel 1 (Pol_0)"]
    grey = np.rint(expected @ np.array([0.2126, 0.7152, 0.0722]))
    np.testing.assert_array_equal(whole(path, {"together": True})[:, 0], grey)
    assert "7 channels of 3 colours each are not understood" in check.problems(path, {"rgb": "channels"})[0]
    assert 'rgb = "refuse"' in check.problems(path, {"rgb": "refuse"})[0]


def test_names_and_voxel_sizes(folder: Path, two_scenes: Path) -> None:
    with open_volume(folder / "CD_s_1_t_3_c_2_z_5.czi", {"time": 0, "channels": ["LED470"]}) as volume:
        assert volume.voxel_um == (0.32, 0.0905766742, 0.0905766742)
    assert [p.name for p in parts(two_scenes)] == ["scene 1 (S0)", "scene 2 (S1)"]
    with open_volume(folder / "tiles.czi", {"channel": 0}) as volume:
        assert "put together from 4 tiles" in volume.notes[0]


def entries(data: bytes) -> list[tuple[int, dict[str, int]]]:
    """(place, {dimension: place of its record}) of every entry of the directory."""
    (directory,) = struct.unpack_from("<q", data, 84)
    (n,) = struct.unpack_from("<i", data, directory + 32)
    at, found = directory + 32 + 128, []
    for _ in range(n):
        (dims,) = struct.unpack_from("<i", data, at + ENTRY["dimensions"])
        where = [at + 32 + 20 * i for i in range(dims)]
        found.append((at, {data[w : w + 4].rstrip(b"\0").decode(): w for w in where}))
        at += 32 + 20 * dims
    return found


def recompressed(path: Path, code: int, pack: Callable[[Image], bytes]) -> bytes:
    """The file of one subblock with that compressed, at the end of the file."""
    made = bytearray(path.read_bytes())
    at, dims = entries(made)[0]
    (where,) = struct.unpack_from("<q", made, at + ENTRY["position"])
    metadata, _, n = struct.unpack_from("<iiq", made, where + 32)
    start = where + 32 + 16 + 240 + metadata
    height, width = (struct.unpack_from("<i", made, dims[a] + 8)[0] for a in "YX")
    packed = pack(np.frombuffer(bytes(made[start : start + n]), "<u2").reshape(height, width))
    block = bytearray(made[where:start]) + packed
    struct.pack_into("<qq", block, 16, len(block) - 32, len(block) - 32)
    struct.pack_into("<q", block, 40, len(packed))
    struct.pack_into("<i", block, 48 + ENTRY["compression"], code)
    struct.pack_into("<i", made, at + ENTRY["compression"], code)
    struct.pack_into("<q", made, at + ENTRY["position"], len(made))
    return bytes(made + block)


def low_and_high(image: Image) -> bytes:
    """Zstandard with low and high bytes apart, as newer ZEN writes."""
    split = image.view(np.uint8).reshape(-1, 2).T.tobytes()
    return b"\x03\x01\x01" + imagecodecs.zstd_encode(split)


PACKS: dict[str, tuple[int, Callable[[Image], bytes]]] = {
    "lzw": (2, lambda image: imagecodecs.lzw_encode(image.tobytes())),
    "jpeg_xr": (4, lambda image: imagecodecs.jpegxr_encode(image, level=1.0)),
    "zstd_0": (5, lambda image: imagecodecs.zstd_encode(image.tobytes())),
    "zstd_1": (6, lambda image: b"\x01" + imagecodecs.zstd_encode(image.tobytes())),
    "zstd_1_split": (6, low_and_high),
}


@pytest.mark.parametrize("name", sorted(PACKS))
def test_compressed_subblocks(name: str, folder: Path, tmp_path: Path) -> None:
    source, path = folder / "s_1_t_1_c_1_z_1.czi", tmp_path / "v.czi"
    code, pack = PACKS[name]
    data = recompressed(source, code, pack)
    path.write_bytes(data)
    assert check.problems(path) == []
    np.testing.assert_array_equal(whole(path, {}), whole(source, {}))
    if name != "jpeg_xr":  # which decodes to something, whatever its bytes are
        path.write_bytes(data[:-3000] + bytes(3000))
        with pytest.raises(AlcoreError):
            whole(path, {})
    path.write_bytes(data[:-1])
    assert ": cut off" in check.problems(path)[0]


def test_unknown_compression(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "v.czi").write_bytes(recompressed(folder / "s_1_t_1_c_1_z_1.czi", 1, lambda image: b"x"))
    assert "CZI compression 1 is not supported" in check.problems(tmp_path / "v.czi")[0]


def changed(path: Path, to: Path, change: Callable[[bytearray], None]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    to.write_bytes(data)
    return to


def test_pyramids_are_left_out(folder: Path, two_scenes: Path, tmp_path: Path) -> None:
    """Tiles that are marked as a level of the pyramid are no tiles any more."""

    def shrink(letter: str, number: int) -> Callable[[bytearray], None]:
        def change(data: bytearray) -> None:
            for _, dims in entries(data):
                if struct.unpack_from("<i", data, dims[letter] + 4)[0] == number:
                    struct.pack_into("<i", data, dims["X"] + 16, 100)

        return change

    path = changed(folder / "tiles_z.czi", tmp_path / "v.czi", shrink("M", 3))
    with open_volume(path, {"channel": 0}) as volume:
        assert volume.notes == (
            "put together from 3 tiles: where they overlap, the later one is seen",
            "its tiles do not cover all of it: the rest reads as 0",
        )
        found = volume.read(Box((0, 0, 0), volume.shape[1:]))[0]
    expected = by_czifile(folder / "tiles_z.czi")[0, 0, 0, ..., 0]
    expected[:, 256:, 254:] = 0
    np.testing.assert_array_equal(found[:, :, :254], expected[:, :, :254])
    np.testing.assert_array_equal(found[:, :250], expected[:, :250])
    path = changed(two_scenes, tmp_path / "v.czi", shrink("S", 1))
    assert "its metadata promise 2 scenes, 1 are there" in check.problems(path)[0]


def test_missing_planes_and_tiles(folder: Path, tmp_path: Path) -> None:
    def lose_plane(data: bytearray) -> None:
        dims = next(d for _, d in entries(data) if struct.unpack_from("<i", data, d["Z"] + 4)[0] == 2)
        struct.pack_into("<i", data, dims["Z"] + 4, 0)

    def lose_tile(data: bytearray) -> None:
        dims = next(d for _, d in entries(data) if struct.unpack_from("<i", data, d["Z"] + 4)[0] == 1)
        struct.pack_into("<i", data, dims["Z"] + 4, 0)

    def lose_last(data: bytearray) -> None:
        for _, dims in entries(data):
            if struct.unpack_from("<i", data, dims["Z"] + 4)[0] == 4:
                struct.pack_into("<i", data, dims["Z"] + 4, 3)

    source = folder / "CD_s_1_t_3_c_2_z_5.czi"
    path = changed(source, tmp_path / "v.czi", lose_plane)
    assert "29 of the 30 planes are there" in check.problems(path)[0]
    path = changed(source, tmp_path / "v.czi", lose_last)
    assert "its metadata promise 5 slices, 4 are there" in check.problems(path)[0]
    path = changed(folder / "tiles_z.czi", tmp_path / "v.czi", lose_tile)
    assert "its planes have 3 to 5 tiles" in check.problems(path)[0]


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (84, 0, "was not finished"),
        (92, 0, "was not finished"),
        (100, 1, "was not finished"),
        (80, 2, "part 2 of a CZI in several files"),
        (84, 600, "ZISRAWDIRECTORY is not at byte 600"),
        (84, 1 << 40, "beyond the end of the file"),
    ],
)
def test_headers_of_unfinished_files(offset: int, value: int, words: str, folder: Path, tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        struct.pack_into("<i" if offset in (80, 100) else "<q", data, offset, value)

    path = changed(folder / "tiles.czi", tmp_path / "v.czi", change)
    assert words in check.problems(path)[0]


@pytest.mark.parametrize("name", ["CD_s_1_t_3_c_2_z_5.czi", "tiles_z.czi", "RGB-multichannel.czi", "two scenes"])
def test_a_cut_file_is_never_read_as_fewer_slices(name: str, folder: Path, two_scenes: Path, tmp_path: Path) -> None:
    source = two_scenes if name == "two scenes" else folder / name
    data, path = source.read_bytes(), tmp_path / "v.czi"
    expected = [whole(source, dict(p.select)) for p in parts(source)]
    for length in (*range(16, len(data), len(data) // 30), len(data) - 1):
        path.write_bytes(data[:length])
        if check.problems(path) == []:  # no more than what follows the last subblock is gone
            found = [whole(path, dict(p.select)) for p in parts(path)]
            assert len(found) == len(expected)
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
            assert length > 0.97 * len(data)


def test_damaged_bytes_are_read_or_refused_but_never_a_crash(two_scenes: Path, tmp_path: Path) -> None:
    rng, data, paths = np.random.default_rng(0), two_scenes.read_bytes(), []
    (directory,) = struct.unpack_from("<q", data, 84)
    structure = [*range(32, 112), *range(544, 832), *range(126848, 127200), *range(directory, directory + 1500)]
    for index in range(80):
        damaged = bytearray(data)
        for position in rng.choice(structure, rng.integers(1, 5)):
            damaged[position] = rng.integers(256)
        paths.append(tmp_path / f"{index}.czi")
        paths[-1].write_bytes(damaged)
    verdicts = examine(paths)
    assert {v.verdict for v in verdicts.values()} == {"read", "set aside"}
    for path, v in verdicts.items():
        assert v.verdict == "set aside" or "(1, 2, 251, 251)" in v.told, (path, v)
        assert v.took_s < 3 and v.rss_mb < 600, (path, v)
        assert len(v.told.splitlines()) == 1
