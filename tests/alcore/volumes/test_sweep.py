"""The sweep: the right hash, the right statistics, flat memory, and images that are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.arrays.normalise import measure
from alcore.errors import UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import open_volume, sweep


def swept(path: Path, image: np.ndarray[Any, Any], **options: Any) -> sweep.Swept:
    """Write (Z, C, Y, X) and sweep it."""
    tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "ZCYX"}, **options)
    with open_volume(path, {"channels": list(range(image.shape[1])), "together": True}) as volume:
        return sweep.sweep(path, volume, np.random.default_rng(0))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16), "compression": "zlib"}])
@pytest.mark.parametrize("block_bytes", [100, 5000, 32 << 20])
def test_statistics_and_middle_slice(
    tmp_path: Path, options: dict[str, Any], block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BLOCK_BYTES", block_bytes)
    image = np.random.default_rng(1).integers(0, 60000, (7, 2, 30, 40)).astype(np.uint16)
    found = swept(tmp_path / "v.tif", image, **options)
    assert found.stats == measure(image.swapaxes(0, 1), np.random.default_rng(0))
    np.testing.assert_array_equal(found.middle, image[3, 0])
    assert found.notes == ()


def test_a_huge_slice_is_thinned_for_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "BLOCK_BYTES", 3000)
    monkeypatch.setattr(sweep, "PICTURE_PX", 16)
    image = np.random.default_rng(1).integers(0, 255, (3, 1, 50, 70)).astype(np.uint8)
    np.testing.assert_array_equal(swept(tmp_path / "v.tif", image).middle, image[1, 0, ::4, ::4])


def test_blocks_cover_the_volume_once_and_are_small(tmp_path: Path) -> None:
    for shape in [(7, 1, 30, 40), (7, 1, 10, 12), (1, 1, 8, 2000)]:
        tifffile.imwrite(
            tmp_path / "v.tif", np.ones(shape, np.uint8), photometric="minisblack", metadata={"axes": "ZCYX"}
        )
        with open_volume(tmp_path / "v.tif") as volume:
            seen = np.zeros(volume.shape[1:], int)
            shares = []
            for box, done in sweep.blocks(volume, 1000):
                assert box.voxels <= max(1000, shape[3])
                seen[box.slices] += 1
                shares.append(done)
        assert (seen == 1).all()
        assert shares == sorted(shares)
        assert shares[-1] == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((3, 1, 9, 9), 7, np.uint8), "every voxel has the value 7"),
        (np.full((3, 1, 9, 9), np.nan, np.float32), "no finite value"),
        (np.full((3, 1, 9, 9), np.inf, np.float64), "no finite value"),
        (np.linspace(-1e31, 1e200, 243).reshape(3, 1, 9, 9), "are no intensities"),
        (np.arange(3 * 7 * 9).reshape(3, 1, 7, 9).astype(np.uint8), "slices of 7 x 9 pixels"),
    ],
)
def test_what_is_no_image(tmp_path: Path, values: np.ndarray[Any, Any], words: str) -> None:
    with pytest.raises(UnreadableVolumeError, match=rf"v\.tif: .*{words}"):
        swept(tmp_path / "v.tif", values)


def test_oddities_are_noted(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(5, 1, (6, 2, 20, 20)).astype(np.float32)
    image[0, 0, 0, :4] = [np.nan, np.inf, -np.inf, np.nan]
    image[:, 1] = 3
    found = swept(tmp_path / "v.tif", image)
    assert found.notes[0].startswith("channel 0: 4 of 2400 values are NaN or infinite")
    assert found.notes[1:] == ("channel 1 is constant",)
    assert np.isfinite(found.middle).all()
    assert found.stats[0].mean == pytest.approx(5, abs=0.1)

    image = np.zeros((6, 1, 20, 20), np.uint8)
    image[1, 0, 3, 3:6] = 200
    assert swept(tmp_path / "v.tif", image).notes == (
        "more than 99 % of the voxels have the value 0",
        "the last 4 of 6 slices are all zero: was the file complete?",
    )


FLAT = """
import resource, sys
from pathlib import Path
import numpy as np, tifffile, imagecodecs
from alcore.volumes import check, open_volume
from alcore.volumes.sweep import sweep
from alcore.types import Box
path = Path(sys.argv[1])
READ = {"axes": "ZYX"}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
check.strict(path, READ)
with open_volume(path, READ) as volume:
    found = sweep(path, volume, np.random.default_rng(0))
print(volume.shape, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before >> 10, found.stats[0].maximum)
"""


@pytest.mark.parametrize(
    ("kind", "slices"),
    [("sparse", 128), pytest.param("sparse", 512, marks=pytest.mark.slow), ("one_strip_per_page", 8)],
)
def test_memory_is_flat(kind: str, slices: int, tmp_path: Path) -> None:
    """512 MB (2 GB) in a sparse BigTIFF, and 512 MB in compressed pages of 64 MB, need little memory."""
    path = tmp_path / "v.tif"
    if kind == "sparse":
        shape, dtype = (slices, 2048, 2048), np.uint8
        with tifffile.TiffWriter(path, bigtiff=True) as tif:
            tif.write(None, shape=shape, dtype=dtype, photometric="minisblack", metadata={"axes": "ZYX"})
        with open(path, "r+b") as f:
            f.seek(1 << 20)
            f.write(bytes(range(200)))
        assert os.stat(path).st_blocks < 1 << 14
    else:
        shape, dtype = (slices, 8192, 8192), np.uint8
        page = np.random.default_rng(0).integers(0, 9, (64, 8192)).astype(dtype)
        page = np.tile(page, (128, 1))
        with tifffile.TiffWriter(path) as tif:
            for _ in range(shape[0]):
                tif.write(
                    page,
                    photometric="minisblack",
                    metadata=None,
                    contiguous=False,
                    compression="zstd",
                    rowsperstrip=8192,
                )
    done = subprocess.run(
        [sys.executable, "-c", FLAT, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    print(done.stdout)
    found_shape, megabytes, maximum = done.stdout.rsplit(maxsplit=2)
    assert found_shape == str((1, *shape))
    assert float(maximum) == (199 if kind == "sparse" else 8)
    assert int(megabytes) < (150 if kind == "sparse" else 350)


def test_the_box_that_is_read_does_not_depend_on_the_sweep(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 255, (3, 1, 20, 20)).astype(np.uint8)
    swept(tmp_path / "v.tif", image)
    with open_volume(tmp_path / "v.tif") as volume:
        np.testing.assert_array_equal(volume.read(Box((1, 2, 3), (2, 4, 5)))[0], image[1:, 0, 2:6, 3:8])
