"""Nikon ND2, proved on a real file: equal to the package's own reading, whole or refused, and never without the package."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.errors import AlcoreError, UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from tests.alcore.volumes.examine import examine

nd2 = pytest.importorskip("nd2")
Image = np.ndarray[Any, Any]


@pytest.fixture
def real(real_data: Callable[[str], Path]) -> Path:
    """3 time points, 10 slices, 2 channels, 31 x 38 uint16."""
    return real_data("formats") / "nd2_tif_pims" / "pims" / "tests" / "data" / "bioformats" / "cluster.nd2"


def whole(path: Path, read: dict[str, Any]) -> Image:
    with open_volume(path, read) as volume:
        return np.asarray(volume.read(Box((0, 0, 0), volume.shape[1:])))


def test_the_real_file_equals_the_packages_reading(real: Path) -> None:
    expected = nd2.imread(real)
    assert check.problems(real) == []
    found = parts(real)
    assert [p.select for p in found] == [{"time": t, "channel": c} for t in range(3) for c in range(2)]
    assert found[1].name == "time 1 of 3, channel 1 (FM 4-64/2% CHAPS)"
    for part in found:
        t, c = part.select["time"], part.select["channel"]
        np.testing.assert_array_equal(whole(real, dict(part.select))[0], expected[t, :, c])
    with open_volume(real, {"time": 1, "channels": ["fm 4-64/2% chaps"]}) as volume:
        box = Box((3, 4, 5), (4, 6, 7))
        np.testing.assert_array_equal(volume.read(box)[0], expected[1, :, 1][box.slices])
        assert volume.voxel_um == pytest.approx((0.5, 0.167809, 0.167809), rel=1e-5)


def lossless(data: bytes) -> bytes:
    """The same file with zipped frames, shorter than the room that they had."""
    made = bytearray(data)
    word = "eCompression\0".encode("utf-16-le")
    at = made.index(word) + len(word)
    made[at : at + 4] = struct.pack("<I", 0)
    at = made.index(b"ImageDataSeq|")
    for number in range(30):
        where = made.index(b"ImageDataSeq|%d!" % number) - 16
        _, name_bytes, n = struct.unpack_from("<4sIQ", made, where)
        start = where + 16 + name_bytes
        packed = zlib.compress(bytes(made[start + 8 : start + n]))
        made[start + 8 : start + n] = packed + bytes(n - 8 - len(packed))
        made[where + 8 : where + 16] = struct.pack("<Q", 8 + len(packed))
    return bytes(made)


def test_zipped_frames(real: Path, tmp_path: Path) -> None:
    path = tmp_path / "v.nd2"
    path.write_bytes(lossless(real.read_bytes()))
    with nd2.ND2File(path) as f:
        assert f.attributes.compressionType == "lossless"
    expected = nd2.imread(path)
    np.testing.assert_array_equal(expected, nd2.imread(real))
    assert check.problems(path) == []
    np.testing.assert_array_equal(whole(path, {"time": 2, "together": True}), expected[2].swapaxes(0, 1))
    data = bytearray(path.read_bytes())
    at = data.index(b"ImageDataSeq|29!") - 16
    at += 16 + struct.unpack_from("<I", data, at + 4)[0] + 8
    data[at + 20 : at + 60] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(UnreadableVolumeError, match=r"v\.nd2: "):
        whole(path, {"time": 2, "together": True})


def test_a_cut_file_is_never_read_as_fewer_slices(real: Path, tmp_path: Path) -> None:
    data, path = real.read_bytes(), tmp_path / "v.nd2"
    for length in (*range(64, len(data), len(data) // 60), len(data) - 40, len(data) - 1):
        path.write_bytes(data[:length])
        assert check.problems(path) != []
        with pytest.raises(AlcoreError):
            open_volume(path, {"time": 0, "channel": 0})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"ND2 CHUNK MAP SIGNATURE 0000001!", b"ND2 CHUNK MAP SIGNATURE 0000002!", "map of chunks, is missing"),
        (b"ImageDataSeq|17!", b"ImageDataXXX|17!", "speaks of 30 frames, 29 are there"),
    ],
)
def test_what_is_missing_in_the_map(old: bytes, new: bytes, words: str, real: Path, tmp_path: Path) -> None:
    data, path = real.read_bytes(), tmp_path / "v.nd2"
    at = data.rindex(old)
    path.write_bytes(data[:at] + new + data[at + len(old) :])
    assert words in check.problems(path)[0]


def test_a_frame_that_is_elsewhere_or_short(real: Path, tmp_path: Path) -> None:
    data, path = bytearray(real.read_bytes()), tmp_path / "v.nd2"
    entry = data.rindex(b"ImageDataSeq|17!") + 16
    (where,) = struct.unpack_from("<Q", data, entry)
    data[entry : entry + 8] = struct.pack("<Q", where + 4096)
    path.write_bytes(data)
    assert check.problems(path) == ["frame 17 is not where the map of the file says; copy or save it again"]
    data[entry : entry + 8] = struct.pack("<Q", where)
    data[where + 8 : where + 16] = struct.pack("<Q", 4000)
    path.write_bytes(data)
    assert "frame 17 has 3992 bytes" in check.problems(path)[0]


def test_old_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "v.nd2").write_bytes(b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100))
    assert "before version 3" in check.problems(tmp_path / "v.nd2")[0]


def test_damaged_bytes_are_read_or_refused_but_never_a_crash(real: Path, tmp_path: Path) -> None:
    rng, data, paths = np.random.default_rng(0), real.read_bytes(), []
    structure = np.array([i for i, byte in enumerate(data) if byte and not 53248 + 4096 < i < 421888])
    for index in range(60):
        damaged = bytearray(data)
        for position in rng.choice(structure, rng.integers(1, 6)):
            damaged[position] = rng.integers(256)
        paths.append(tmp_path / f"{index}.nd2")
        paths[-1].write_bytes(damaged)
    for path, v in examine(paths).items():
        assert v.verdict == "set aside" or v.told.startswith("6 volumes"), (path, v)
        assert v.took_s < 3 and v.rss_mb < 600, (path, v)
