"""Stage control on real label artifacts: a better arm, equal arms, too few labels, empty labels, wrong indices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.arrays.synthetic import em_volume
from alcore.errors import PermanentError, Preempted
from alcore.run import QuietContext
from alcore.stage import Input
from alcore.stages import control
from alcore.stages.control import LEAST_GATE, LEAST_LABELS, STAGE
from alcore.volumes.writers import write_image_tiff, write_labels_tiff

VOXEL_UM = (0.04, 0.01, 0.01)
SHAPE = (8, 96, 96)


def _label(folder: Path, name: str, image: np.ndarray, labels: np.ndarray) -> Input:
    """A label artifact as stage `label` writes it."""
    path = folder / name
    path.mkdir()
    write_image_tiff(path / "image.tif", image[None], VOXEL_UM)
    write_labels_tiff(path / "label.tif", labels.astype(np.uint32), SHAPE, "uint32", VOXEL_UM, {})
    stats = {
        "mean": float(image.mean()),
        "std": float(image.std()),
        "minimum": float(image.min()),
        "maximum": float(image.max()),
        "percentile_00_5": float(np.percentile(image, 0.5)),
        "percentile_99_5": float(np.percentile(image, 99.5)),
    }
    box = {"start": [0, 0, 0], "shape": list(SHAPE)}
    (path / "label.json").write_text(json.dumps({"box": box, "voxel_um": VOXEL_UM, "stats": [stats]}))
    return Input(path, f"label-{name}")


@pytest.fixture(autouse=True)
def fewer_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fraction of the work of the real stage."""
    monkeypatch.setattr(control, "REPEATS", 8)
    monkeypatch.setattr(control, "PER_LABEL", 150)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Input]]:
    """good: 14 labels of tissue. blank: 6 patches where the objects were erased. gate: 4 of tissue."""
    folder = tmp_path_factory.mktemp("labels")
    made: dict[str, list[Input]] = {"good": [], "gate": [], "blank": []}
    for n in range(18):
        image, truth = em_volume(SHAPE, VOXEL_UM, np.random.default_rng(n), fraction=0.12)
        made["good" if n < 14 else "gate"].append(_label(folder, f"tissue-{n}", image, truth))
    for n in range(6):
        image, _ = em_volume(SHAPE, VOXEL_UM, np.random.default_rng(100 + n), fraction=0.0)
        made["blank"].append(_label(folder, f"blank-{n}", image, np.zeros(SHAPE)))
    return made


def _run(
    tmp_path: Path, selected: list[Input], control: list[Input], gate: list[Input], ctx: Any = None, more: Any = ()
) -> dict[str, Any]:
    n, m = len(selected), len(control)
    params = {
        "selected": list(range(n)),
        "control": list(range(n, n + m)),
        "gate": list(range(n + m, n + m + len(gate))),
        "seed": 0,
    } | dict(more)
    ctx = ctx or QuietContext(tmp_path / "scratch", tmp_path / "cache")
    return STAGE.run({"label": [*selected, *control, *gate]}, params, tmp_path, ctx)


def test_an_arm_that_shows_objects_beats_one_that_shows_none(labels: dict[str, list[Input]], tmp_path: Path) -> None:
    found = _run(tmp_path, labels["good"][:7], labels["blank"], labels["gate"])
    assert (found["n"], found["n_gate"], found["metric"]) == (6, 4, "Dice")
    assert found["low"] > 0 and found["selected"] > 0.3 and found["control"] == 0
    assert found["difference"] == pytest.approx(found["selected"] - found["control"], abs=2e-4)
    assert found["words"].startswith("Selection helps: Dice 0.")
    mirrored = _run(tmp_path, labels["blank"], labels["good"][:7], labels["gate"])
    assert mirrored["high"] < 0 and mirrored["words"].startswith("Selection harms")


def test_arms_of_the_same_kind_are_not_told_apart(labels: dict[str, list[Input]], tmp_path: Path) -> None:
    found = _run(tmp_path, labels["good"][:7], labels["good"][7:14], labels["gate"])
    assert found["low"] < 0 < found["high"]
    assert found["words"].startswith("No difference between selection and chance can be shown")
    assert _run(tmp_path, labels["good"][:7], labels["good"][7:14], labels["gate"]) == found


def test_too_few_labels_say_how_many_are_missing(labels: dict[str, list[Input]], tmp_path: Path) -> None:
    good = labels["good"]
    found = _run(tmp_path, good[:LEAST_LABELS], good[5:6], labels["gate"][: LEAST_GATE - 1])
    assert found["difference"] is None and found["low"] is None and found["selected"] is None
    assert (found["n"], found["n_gate"]) == (1, LEAST_GATE - 1)
    assert found["words"] == (
        "Whether selection helps cannot be told yet: "
        "4 more labels of randomly drawn patches and 1 more gate label are needed."
    )
    nothing = _run(tmp_path, [], [], [])
    assert nothing["n"] == 0 and nothing["difference"] is None and "5 more labels of selected" in nothing["words"]
    json.dumps(nothing, allow_nan=False)


def test_labels_that_are_all_empty_are_no_failure(labels: dict[str, list[Input]], tmp_path: Path) -> None:
    blank = labels["blank"]
    found = _run(tmp_path, blank[:5], blank[1:6], blank[:3])
    assert (found["selected"], found["control"], found["difference"]) == (1, 1, 0)
    assert found["low"] == found["high"] == 0 and found["words"].startswith("No difference")
    json.dumps(found, allow_nan=False)


def test_indices_that_cannot_be_are_refused(labels: dict[str, list[Input]], tmp_path: Path) -> None:
    good, gate = labels["good"], labels["gate"]
    with pytest.raises(PermanentError, match=r"control names the labels \[99\]"):
        _run(tmp_path, good[:5], good[5:10], gate, more={"control": [99]})
    with pytest.raises(PermanentError, match=r"share the labels \[0\]"):
        _run(tmp_path, good[:5], good[5:10], gate, more={"gate": [0, 10, 11]})


def test_it_stops_when_asked(labels: dict[str, list[Input]], tmp_path: Path) -> None:
    class Stops(QuietContext):
        def should_stop(self) -> bool:
            return len(self.notes) > 12

    ctx = Stops(tmp_path / "scratch", tmp_path / "cache")
    with pytest.raises(Preempted):
        _run(tmp_path, labels["good"][:5], labels["good"][5:10], labels["gate"], ctx)
