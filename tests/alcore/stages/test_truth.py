"""Stage truth: a mask of a whole volume in any format becomes the label of every patch; a mask that does not fit says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
import zarr

from alcore.artifact import ArtifactStore
from alcore.errors import BadLabelError
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import Box
from alcore.volumes import open_volume
from alcore.volumes.labels import read_labels
from alcore.volumes.store import create_labels
from alcore.volumes.writers import write_image_tiff

SHAPE = (6, 48, 64)
Labels = np.ndarray[Any, Any]


class Lab:
    """A volume of four patches with pseudo-labels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ArtifactStore(folder / "artifacts")
        self.ctx = QuietContext(folder / "scratch", folder / "cache")
        self.image = np.random.default_rng(0).integers(0, 200, (1, *SHAPE)).astype(np.uint8)
        write_image_tiff(folder / "v.tif", self.image, (0.5, 0.1, 0.1))
        (folder / "pseudo").mkdir()
        create_labels(folder / "pseudo" / "instances.zarr", SHAPE)[:] = truth() > 0
        self.source = [Input(folder / "v.tif", "file:1")]
        params = {"read": {}, "voxel_um": None, "patch": {"shape_px": [6, 24, 32]}, "fingerprint": None, "limit_gb": 1}
        made = execute("volume", {"source": self.source}, params, self.store, self.ctx)
        self.patches = [{"row": i, **p} for i, p in enumerate(made.result["volumes"][0]["patches"])]
        self.volume = [Input(self.store.path(made.key), made.key)]
        self.n = 0

    def cut(self, path: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
        self.n += 1
        inputs = {
            "truth": [Input(path, f"file:{self.n}")],
            "volume": self.volume,
            "source": self.source,
            "pseudo": [Input(self.folder / "pseudo", "pseudo-1")],
        }
        params = {
            "read": {},
            "patches": self.patches,
            "skip_empty": False,
            "not_looked_at": 65535,
            "limit_gb": 1,
        } | options
        made = execute("truth", inputs, params, self.store, self.ctx)
        return self.store.path(made.key), made.result


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


def truth() -> Labels:
    """Objects in three of the four patches, one of them in two."""
    labels = np.zeros(SHAPE, np.uint16)
    labels[1:5, 4:20, 4:12], labels[2:6, 4:14, 26:40], labels[:, 30:40, 50:60] = 900, 17, 4
    return labels


def as_ome_zarr(folder: Path, labels: Labels) -> Path:
    path = folder / "t.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=labels, chunks=(3, 24, 32))
    axes = [{"name": a, "type": "space"} for a in "zyx"]
    scale = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": scale}]
    return path


def as_slices(folder: Path, labels: Labels) -> Path:
    path = folder / "slices"
    path.mkdir()
    for number, plane in enumerate(labels):
        tifffile.imwrite(path / f"t_{number:03d}.tif", plane, photometric="minisblack")
    return path


def as_hdf5(folder: Path, labels: Labels) -> Path:
    with h5py.File(folder / "t.h5", "w") as file:
        file.create_dataset("labels", data=labels, chunks=(3, 24, 32), compression="gzip")
    return folder / "t.h5"


def as_tiff(folder: Path, labels: Labels) -> Path:
    tifffile.imwrite(folder / "t.tif", labels, photometric="minisblack", compression="zlib")
    return folder / "t.tif"


def as_nifti(folder: Path, labels: Labels) -> Path:
    nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1])), folder / "t.nii.gz")
    return folder / "t.nii.gz"


def as_nrrd(folder: Path, labels: Labels) -> Path:
    nrrd.write(str(folder / "t.nrrd"), labels.transpose(2, 1, 0))
    return folder / "t.nrrd"


@pytest.mark.parametrize("save", [as_tiff, as_nifti, as_nrrd, as_ome_zarr, as_slices, as_hdf5])
def test_every_patch_becomes_a_case(lab: Lab, save: Any, tmp_path: Path) -> None:
    folder, result = lab.cut(save(tmp_path, truth()))
    assert [(x["row"], x["n_objects"]) for x in result["labels"]] == [(0, 2), (1, 1), (2, 0), (3, 1)]
    assert result["skipped"] == []
    for patch, label in zip(lab.patches, result["labels"], strict=True):
        box, case = Box.from_json(patch), folder / label["folder"]
        found, _ = read_labels(case / "label.tif")
        ids = np.unique(truth()[box.slices])
        expected = np.searchsorted(ids, truth()[box.slices]) if ids[0] == 0 else None
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(read_labels(case / "pseudo.tif")[0], truth()[box.slices] > 0)
        with open_volume(case / "image.tif") as image:
            np.testing.assert_array_equal(image.read(Box((0, 0, 0), box.shape)), lab.image[(slice(None), *box.slices)])


def test_empty_patches_and_those_that_nobody_looked_at(lab: Lab, tmp_path: Path) -> None:
    labels = truth()
    labels[:, 24:, 32:] = 65535
    labels[:, :24, 60:] = 65535
    folder, result = lab.cut(as_tiff(tmp_path, labels), skip_empty=True)
    assert [(x["row"], x["seen_fraction"]) for x in result["labels"]] == [(0, 1.0), (1, 0.875)]
    assert result["skipped"] == [{"row": 2, "why": "no object in it"}, {"row": 3, "why": "not looked at"}]
    seen, _ = read_labels(folder / "000001" / "seen.tif")
    assert seen[:, :, :28].all() and not seen[:, :, 28:].any()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (truth()[:, :, 1:], r"\(6, 48, 63\), but the volume is \(6, 48, 64\); is it of another volume"),
        (truth().transpose(2, 1, 0), "its axes seem to be stored as XYZ"),
        (truth().astype(np.float32) / 2, "fractions"),
        (np.where(truth() > 0, -1, 0).astype(np.int16), "ids from -1"),
        (np.where(truth() > 0, 65535, 0).astype(np.uint16), "holds nothing but 0 and 65535"),
        (np.where(truth() > 0, 2**31, 0).astype(np.uint32), "ids from 0 to 2147483648"),
    ],
)
def test_a_mask_that_cannot_be_used(lab: Lab, labels: Labels, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadLabelError, match=words) as caught:
        lab.cut(as_tiff(tmp_path, labels))
    assert "\n" not in str(caught.value)
