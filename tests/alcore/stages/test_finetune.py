"""Stage finetune: from scratch when there is no pre-trained model, and never without labels or objects."""

from __future__ import annotations

import json

import pytest

from alcore.artifact import MANIFEST
from alcore.errors import PermanentError
from alcore.types import Box
from tests.alcore.stages.training_bench import QUICK, SHAPE, Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def test_from_scratch_with_a_plan_made_from_the_labels(bench: Bench) -> None:
    manifest, made = bench.run("finetune", {"label": bench.labels}, {"schedule": QUICK, "seed": 1, "plan": "tiny"})
    assert manifest.result["n_cases"] == 3
    assert len(json.loads((made.path / "dataset_fingerprint.json").read_text())["spacings"]) == 3


def test_some_labels_say_when_to_stop_once_there_are_enough(bench: Bench) -> None:
    params = {"schedule": QUICK, "seed": 2, "plan": "tiny"}
    manifest, _ = bench.run("finetune", {"label": bench.labels}, {**params, "validation_share": 0.5})
    assert manifest.result["n_held_out"] == 0
    assert "3 labels are too few" in manifest.result["stop"]
    more = [*bench.labels, bench.label(7, Box((0, 0, 16), (8, 64, 32)))]
    manifest, _ = bench.run("finetune", {"label": more}, {**params, "validation_share": 0.5})
    assert manifest.result["n_held_out"] == 2
    assert manifest.result["best_epoch"] in (1, 2)
    assert "stop" not in manifest.result


def test_labels_that_the_plan_does_not_take_are_left_out_and_told(bench: Bench) -> None:
    params = {"schedule": QUICK, "seed": 3, "plan": "tiny"}
    _, model = bench.pretrain(bench.pseudo)
    thick = bench.label(8, Box((0, 0, 8), (8, 64, 32)))
    about = json.loads((thick.path / "label.json").read_text())
    (thick.path / "label.json").write_text(json.dumps(about | {"voxel_um": [0.4, 0.01, 0.01]}))
    manifest, _ = bench.run("finetune", {"model": [model], "label": [*bench.labels[:2], thick]}, params)
    assert (manifest.result["n_cases"], manifest.result["n_other"]) == (2, 1)
    assert "1 labels of other data" in manifest.result["notes"][0]
    with pytest.raises(PermanentError, match=r"0.04 x 0.01 x 0.01 um.*0.4 x 0.01 x 0.01 um: .*--replan"):
        bench.run("finetune", {"model": [model], "label": [thick]}, params)


def test_a_plan_that_was_tampered_with_is_refused(bench: Bench) -> None:
    _, model = bench.pretrain(bench.pseudo)
    copy = bench.folder("tampered")
    for path in (p for p in model.path.iterdir() if p.name != MANIFEST):  # with it, no file may differ
        (copy.path / path.name).write_bytes(path.read_bytes())
    plans = json.loads((copy.path / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["batch_size"] = 64
    (copy.path / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(PermanentError, match=r"plans.json: is not the plan"):
        bench.run("finetune", {"model": [copy], "label": bench.labels}, {"schedule": QUICK, "seed": 4, "plan": "tiny"})


@pytest.mark.parametrize(("wrong", "word"), [({"mix_share": 1.0}, "mix_share"), ({"schedule": {"x": 1}}, "schedule.x")])
def test_wrong_params_are_named(bench: Bench, wrong: dict[str, object], word: str) -> None:
    inputs = {"label": bench.labels[:1], "volume": [bench.volume], "source": [bench.source], "pseudo": [bench.pseudo]}
    patches = [{"volume": 0, "start": [0, 0, 0], "shape": list(SHAPE)}]
    params = {"schedule": QUICK, "seed": 1, "plan": "tiny", "read": [{}], "patches": patches, **wrong}
    with pytest.raises(PermanentError, match=word):
        bench.run("finetune", inputs, params)


def test_nothing_to_learn_from_is_refused(bench: Bench) -> None:
    params = {"schedule": QUICK, "seed": 1, "plan": "tiny"}
    with pytest.raises(PermanentError, match="at least one label"):
        bench.run("finetune", {"label": []}, params)
    bench.truth[:] = 0
    empty = bench.label(9, Box((0, 0, 0), (8, 64, 32)))
    with pytest.raises(PermanentError, match="holds an object"):
        bench.run("finetune", {"label": [empty]}, params)


def test_a_model_that_tells_objects_apart_in_another_way_is_refused(bench: Bench) -> None:
    _, model = bench.pretrain(bench.pseudo)
    params = {"schedule": QUICK, "seed": 5, "plan": {"name": "tiny", "instances": "border-core"}}
    with pytest.raises(PermanentError, match=r'components, but training.instances = "border-core": .*--replan'):
        bench.run("finetune", {"model": [model], "label": bench.labels}, params)
    manifest, made = bench.run("finetune", {"label": bench.labels}, params)
    assert manifest.result["plan"]["instances"] == "border-core"
    about = json.loads((made.path / "model.json").read_text())
    assert about["instances"] == "border-core" and about["border"] == {"px": 2.0, "in_plane": True}
    assert json.loads((made.path / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "core": 1,
        "border": 2,
        "ignore": 3,
    }
    evaluated, _ = bench.run("evaluate", {"model": [made], "label": bench.labels}, {})
    assert evaluated.result["scores"]["n_true"] > 0
