"""Stage finetune: from scratch when there is no pre-trained model, and never without labels or objects."""

from __future__ import annotations

import json

import pytest

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
