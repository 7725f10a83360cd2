"""Stage label: the size of image.tif or of the patch, an earlier label, real labels, and voxel sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile

from alcore.artifact import ArtifactStore
from alcore.errors import BadLabelError
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import Box
from alcore.volumes import open_volume
from alcore.volumes.labels import read_labels
from alcore.volumes.writers import write_image_tiff
from tests.alcore.stages.label_desk import Desk, drawing, in_image
from tests.alcore.stages.label_writers import by_nibabel, napari_like

Labels = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With a margin: image.tif shows (7, 60, 100) voxels of a volume of (9, 70, 110)."""
    return Desk(tmp_path_factory.mktemp("desk"), margin=(1, 10, 25))


def test_a_label_of_the_image_or_of_the_patch_and_of_nothing_else(desk: Desk, tmp_path: Path) -> None:
    for wrong in ((5, 40, 61), (7, 60, 104), (6, 60, 105)):
        tifffile.imwrite(tmp_path / "s-1.tif", np.ones(wrong, np.uint8), photometric="minisblack")
        with pytest.raises(
            BadLabelError, match=r"the patch is \(5, 40, 60\) \(with its margin, as in image.tif, \(7, 60, 105\)\)"
        ):
            desk.submit(file=tmp_path / "s-1.tif")
    tifffile.imwrite(tmp_path / "s-1.tif", in_image(drawing()).swapaxes(0, 2), photometric="minisblack")
    with pytest.raises(BadLabelError, match="its axes seem to be stored as XYZ"):
        desk.submit(file=tmp_path / "s-1.tif")
    only_margin = np.where(in_image(drawing()) == 99, 99, 0).astype(np.uint8)
    tifffile.imwrite(tmp_path / "s-1.tif", only_margin, photometric="minisblack")
    with pytest.raises(BadLabelError, match="empty"):
        desk.submit(file=tmp_path / "s-1.tif")


def test_an_earlier_label_stands_for_the_package(desk: Desk, tmp_path: Path) -> None:
    folder, _ = desk.submit(file=napari_like(tmp_path / "s-1", drawing()))
    again = Desk.__new__(Desk)
    again.__dict__ |= desk.__dict__ | {"package": [type(desk.package[0])(folder, "label-before")]}
    made, result = again.submit(file=napari_like(tmp_path / "s-1", drawing() * 2))
    assert result["n_objects"] == 2
    np.testing.assert_array_equal(read_labels(made / "pseudo.tif")[0], desk.pseudo)


def test_a_real_label_drawn_with_its_margin_comes_back_voxel_for_voxel(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Package of a real volume, its truth saved in the frame of image.tif by another tool, and the label that is made of it."""
    image = tifffile.imread(real_data("mouse_embryo_8cell") / "image.tif")
    truth = tifffile.imread(real_data("mouse_embryo_8cell") / "labels.tif")
    store, ctx = ArtifactStore(tmp_path / "artifacts"), QuietContext(tmp_path / "scratch", tmp_path / "cache")
    write_image_tiff(tmp_path / "v.tif", image[None], (1.75, 0.8, 0.8))
    source = [Input(tmp_path / "v.tif", "file:1")]
    params = {"read": {}, "voxel_um": None, "patch": {"shape_px": [25, 60, 60]}, "fingerprint": None, "limit_gb": 1}
    made = execute("volume", {"source": source}, params, store, ctx)
    volume = [Input(store.path(made.key), made.key)]
    for patch in made.result["volumes"][0]["patches"][::3]:
        box = Box.from_json(patch)
        about = {"read": {}, "box": patch, "suggestion": {"id": "s-1"}, "margin": [2, 16, 16]}
        package = execute("package", {"source": source, "volume": volume, "pseudo": []}, about, store, ctx)
        folder = store.path(package.key)
        margin = json.loads((folder / "suggestion.json").read_text())["margin"]
        start = [a - b for a, b in zip(box.start, margin["before"], strict=True)]
        stop = [a + b for a, b in zip(box.stop, margin["after"], strict=True)]
        shown = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        np.testing.assert_array_equal(tifffile.imread(folder / "image.tif"), image[shown])
        file = by_nibabel(".nii.gz", nibabel.Nifti1Image, "int32")(tmp_path / "s-1", truth[shown])
        inputs = {"file": [Input(file, f"file:{box}")], "package": [Input(folder, package.key)], "volume": volume}
        params = {"suggestion": "s-1", "box": patch, "confirm_empty": True}
        label = execute("label", inputs, params, store, ctx)
        found, _ = read_labels(store.path(label.key) / "label.tif")
        ids = np.unique(truth[box.slices])
        np.testing.assert_array_equal(found, np.searchsorted(np.union1d([0], ids), truth[box.slices]))
        with open_volume(store.path(label.key) / "image.tif") as reader:
            np.testing.assert_array_equal(reader.read(Box((0, 0, 0), box.shape))[0], image[box.slices])
        assert not any("mirrored" in w or "shifted" in w for w in label.result["warnings"])


def test_another_voxel_size_is_asked_about(desk: Desk, tmp_path: Path) -> None:
    def warned(spacing: float, y: float, x: float, **more: Any) -> bool:
        path = tmp_path / "s-1.tif"
        tifffile.imwrite(
            path,
            drawing().astype(np.uint16),
            imagej=True,
            resolution=(1 / x, 1 / y),
            metadata={"axes": "ZYX", "spacing": spacing, "unit": "um"} | more,
        )
        return any("is it of another image?" in w for w in desk.submit(file=path)[1]["warnings"])

    assert not warned(0.5, 0.1, 0.1)
    assert not warned(0.501, 0.101, 0.1)
    assert not warned(0.5, 7, 7, unit="pixel"), "no unit of length: nobody set it"
    assert warned(0.5, 0.2, 0.2)
    assert warned(1.5, 0.1, 0.1)
