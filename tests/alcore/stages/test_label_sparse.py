"""Stage label: labels of which a part was looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.errors import BadLabelError
from alcore.volumes.labels import read_labels
from tests.alcore.stages.label_desk import Desk, drawing, in_image
from tests.alcore.stages.label_writers import napari_like

Labels = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With a margin: image.tif shows (7, 60, 100) voxels of a volume of (9, 70, 110)."""
    return Desk(tmp_path_factory.mktemp("desk"), margin=(1, 10, 25))


def sparse(value: int, dtype: str = "uint16") -> Labels:
    labels = drawing().astype(dtype)
    labels[:, :, 45:] = value
    return labels


def test_the_reserved_value_is_not_looked_at(desk: Desk, tmp_path: Path) -> None:
    folder, result = desk.submit(file=napari_like(tmp_path / "s-1", sparse(65535)), not_looked_at=65535)
    seen, _ = read_labels(folder / "seen.tif")
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(seen, sparse(65535) != 65535)
    labels, _ = read_labels(folder / "label.tif")
    np.testing.assert_array_equal(labels, np.where(seen, np.select([drawing() == 7, drawing() == 300], [1, 2], 0), 0))
    assert result["seen_fraction"] == 0.75 == json.loads((folder / "label.json").read_text())["seen_fraction"]
    assert "25% of it has the value 65535, not looked at" in result["warnings"]


@pytest.mark.parametrize(
    ("labels", "value", "words"),
    [
        (np.where(drawing() > 0, 65535, 0).astype(np.uint16), 65535, "holds nothing but 0 and 65535"),
        (np.where(drawing() > 0, 255, 0).astype(np.uint8), 255, "holds nothing but 0 and 255"),
        (np.where(drawing() == 7, 254, np.where(drawing() > 0, 255, 0)).astype(np.uint8), 255, "numbers next to 255"),
        (
            np.where(drawing() == 7, 1000, np.where(drawing() > 0, 1001, 0)).astype(np.uint16),
            1000,
            "numbers next to 1000",
        ),
        (np.full((5, 40, 60), 65535, np.uint16), 65535, "nothing was looked at"),
    ],
)
def test_an_object_is_never_taken_for_not_looked_at(
    desk: Desk, labels: Labels, value: int, words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadLabelError, match=words):
        desk.submit(file=napari_like(tmp_path / "s-1", labels), not_looked_at=value)


def test_no_value_is_reserved_when_that_is_switched_off(desk: Desk, tmp_path: Path) -> None:
    folder, result = desk.submit(file=napari_like(tmp_path / "s-1", sparse(65535)), not_looked_at=0)
    assert result["n_objects"] == 3
    assert not (folder / "seen.tif").exists()


def test_slices_and_boxes_that_were_looked_at(desk: Desk, tmp_path: Path) -> None:
    file = napari_like(tmp_path / "s-1", drawing())
    folder, result = desk.submit(file=file, seen={"z": [1, 3]})
    seen, _ = read_labels(folder / "seen.tif")
    assert seen[:, 0, 0].tolist() == [0, 1, 1, 1, 0]
    assert result["seen_fraction"] == 0.6
    folder, result = desk.submit(file=file, seen={"box": [[0, 4], [0, 15], [0, 59]]})
    assert (result["n_objects"], result["seen_fraction"]) == (1, 0.4)
    assert "1 objects lie where nobody looked: they are left out" in result["warnings"]
    folder, result = desk.submit(file=file, seen={"z": [0, 4]})
    assert result["seen_fraction"] == 1.0
    assert not (folder / "seen.tif").exists()
    with pytest.raises(BadLabelError, match="empty"):
        desk.submit(file=file, seen={"box": [[0, 0], [0, 1], [0, 1]]})
    _, result = desk.submit(file=file, seen={"box": [[0, 0], [0, 1], [0, 1]]}, confirm_empty=True)
    assert result["n_objects"] == 0


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"z": [3, 5]}, "slices 3 to 5 were looked at, but the patch has slices 0 to 4"),
        ({"z": [3, 1]}, "slices 3 to 1"),
        ({"z": [-1, 1]}, "slices -1 to 1"),
        ({"z": ["a", 1]}, "not said by slices"),
        ({"z": 3}, "not said by slices"),
        ([3, 4], "not said by slices"),
        ("all", "not said by slices"),
        ({}, "not said by slices"),
        ({"box": [[0, 1], [0, 1]]}, "not said by slices"),
        ({"box": [[0, 1], [0, 1], [0, 60]]}, "columns 0 to 60"),
        ({"z": [0, 1], "box": []}, "not said by slices"),
    ],
)
def test_nonsense_about_what_was_looked_at(desk: Desk, seen: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadLabelError, match=words):
        desk.submit(file=napari_like(tmp_path / "s-1", drawing()), seen=seen)


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("framed", [True, False], ids=["as image.tif", "as the patch"])
def test_a_mask_file_says_what_was_looked_at(desk: Desk, framed: bool, value: int, tmp_path: Path) -> None:
    drawn = np.zeros((5, 40, 60), np.uint8)
    drawn[:, :22] = value
    mask = tmp_path / "s-1.seen.tif"
    tifffile.imwrite(mask, in_image(drawn) if framed else drawn)
    folder, result = desk.submit(file=napari_like(tmp_path / "s-1", drawing()), mask=mask)
    np.testing.assert_array_equal(read_labels(folder / "seen.tif")[0], (drawn > 0).astype(np.uint8))
    assert result["seen_fraction"] == pytest.approx(22 / 40)
    assert not read_labels(folder / "label.tif")[0][:, 22:].any()
    both, _ = desk.submit(file=napari_like(tmp_path / "s-1", drawing()), mask=mask, seen={"z": [1, 2]})
    agreed = drawn.astype(bool)
    agreed[[0, 3, 4]] = False
    np.testing.assert_array_equal(read_labels(both / "seen.tif")[0].astype(bool), agreed)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((5, 40, 60), np.uint8), r"s-1\.seen\.tif: holds nothing but 0.*nothing was looked at"),
        (
            np.arange(5 * 40 * 60, dtype=np.uint16).reshape(5, 40, 60),
            r"s-1\.seen\.tif: holds 11999 numbers besides 0.*is it a label",
        ),
        (np.ones((5, 40, 61), np.uint8), r"s-1\.seen\.tif: shape \(Z, Y, X\) = \(5, 40, 61\)"),
        (np.ones((5, 40, 60, 3), np.uint8), r"s-1\.seen\.tif: a colour image"),
    ],
    ids=["nothing", "a label", "shape", "colour"],
)
def test_a_mask_that_cannot_be_one_is_told_by_its_name(desk: Desk, mask: Labels, words: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s-1.seen.tif", mask, photometric="rgb" if mask.ndim == 4 else "minisblack")
    with pytest.raises(BadLabelError, match=words):
        desk.submit(file=napari_like(tmp_path / "s-1", drawing()), mask=tmp_path / "s-1.seen.tif")


def test_a_mask_of_everything_is_as_none(desk: Desk, tmp_path: Path) -> None:
    mask = tmp_path / "s-1.seen.tif"
    tifffile.imwrite(mask, np.full((5, 40, 60), 3, np.uint8))
    folder, result = desk.submit(file=napari_like(tmp_path / "s-1", drawing()), mask=mask)
    assert result["seen_fraction"] == 1
    assert not (folder / "seen.tif").exists()
