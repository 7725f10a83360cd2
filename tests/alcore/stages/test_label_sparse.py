"""Stage label: labels of which a part was looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.errors import BadLabelError
from alcore.volumes.labels import read_labels
from tests.alcore.stages.label_desk import Desk, drawing
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
