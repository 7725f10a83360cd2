"""Label images in OME-Zarr: our own reader, which knows the standard, finds ids, voxel size and levels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alcore.types import Box, VoxelSize
from alcore.volumes import open_volume
from alcore.volumes.check import problems
from alcore.volumes.labels_zarr import read_labels_zarr, write_labels_zarr, zarr_metadata

SHAPE = (9, 300, 1040)


@pytest.mark.parametrize("um", [(0.05, 0.008, 0.008), None])
def test_ids_voxel_size_and_metadata_come_back(tmp_path: Path, um: VoxelSize | None) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 1 << 32, SHAPE, dtype=np.uint32)
    ids[:, :256, :512] = 0  # chunks with nothing in them
    asked: list[Box] = []

    def read(box: Box) -> np.ndarray:
        asked.append(box)
        return ids[box.slices]

    path = tmp_path / "a.ome.zarr"
    write_labels_zarr(path, read, SHAPE, "uint32", um, {"model": "M_f-001", "n": 3})
    assert (read_labels_zarr(path) == ids).all()
    assert zarr_metadata(path) == {"model": "M_f-001", "n": 3}
    assert sum(box.voxels for box in asked) == ids.size
    assert max(box.voxels for box in asked) <= 16 * 16 * 256 * 256
    with open_volume(path, {"sparse": True}) as reader:
        assert reader.shape == (1, *SHAPE)
        assert reader.voxel_um == (pytest.approx(um) if um else None)
        assert (reader.read(Box((3, 200, 480), (5, 100, 90)))[0] == ids[3:8, 200:300, 480:570]).all()
    ome = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    assert ome["version"] == "0.5" and "image-label" in ome
    import zarr

    levels = [d["path"] for d in ome["multiscales"][0]["datasets"]]
    assert levels == ["0", "1", "2"]
    for n, level in enumerate(levels):
        coarse = zarr.open_array(store=path / level, mode="r")
        assert (coarse[:] == ids[:, :: 2**n, :: 2**n]).all()
        scale = ome["multiscales"][0]["datasets"][n]["coordinateTransformations"][0]["scale"]
        z, y, x = um or (1, 1, 1)
        assert scale == pytest.approx([z, y * 2**n, x * 2**n])


def test_the_folder_is_complete_by_its_own_account(tmp_path: Path) -> None:
    path = tmp_path / "b.ome.zarr"
    write_labels_zarr(path, lambda box: np.ones(box.shape, np.uint16), (2, 30, 40), "uint16", None, {})
    assert problems(path) == []
    with pytest.raises(Exception, match="already"):
        write_labels_zarr(path, lambda box: np.ones(box.shape, np.uint16), (2, 30, 40), "uint16", None, {})
    assert zarr_metadata(tmp_path / "nowhere") == {}
