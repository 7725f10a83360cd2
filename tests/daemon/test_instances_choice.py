"""How objects are told apart is part of the plan: another way takes another M_p, and no round starts from the wrong one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from daemon.config import from_mapping
from daemon.errors import ConfigError
from daemon.policy import plan_request
from tests.daemon.pool import Pool
from tests.daemon.test_training_plans import FINE, LABEL, PLAN, ingested, pretrained

DATA = {"channels": 1, "voxel_um": list(FINE)}
BORDER_CORE = {"instances": "border-core", "border_um": 0.02}


def asked(training: dict[str, Any]) -> object:
    raw = {"workspace": "ws", "watch": [{"folder": "in"}], "training": training}
    return plan_request(from_mapping(raw, Path("config.toml")), "cpu")


def test_the_plan_says_it_only_where_it_is_not_as_in_the_paper() -> None:
    assert asked({}) == asked({"instances": "components", "border_um": 0.1}) == "tiny"
    assert asked(BORDER_CORE) == {"name": "tiny", "instances": "border-core", "border_um": 0.02}
    with pytest.raises(ConfigError, match=r"training.instances"):
        asked({"instances": "watershed"})


def test_another_way_of_telling_objects_apart_takes_a_new_pretraining(tmp_path: Path) -> None:
    with contextlib.closing(Pool(tmp_path)) as pool:
        pool.executor.slots = {False: 0, True: 0}
        ingested(pool, 0, 2)
        version = pretrained(pool, DATA)
        assert list(pool.planning.training.pretraining()) == []
        assert [m.version for m, _ in pool.planning.training._pretrained()] == [version]
    with contextlib.closing(Pool(tmp_path, training=BORDER_CORE)) as pool:
        pool.executor.slots = {False: 0, True: 0}
        training = pool.planning.training
        assert training._pretrained() == []  # no round can start from the old one
        (wanted,) = training.pretraining()
        assert wanted.params["plan"] == {"name": "tiny"} | BORDER_CORE
        job = pool.done(wanted, {"plan": PLAN["plan"] | {"instances": "border-core"}, "notes": [], "data": DATA})
        pool.store.learning.add_model("M_p-002", "pretrained", "baseline", job.key, None, [], "", pool.now)
        assert list(training.pretraining()) == []
        assert [m.version for m, _ in training._pretrained()] == ["M_p-002"]
    with contextlib.closing(Pool(tmp_path)) as pool:  # and back: the first one still serves
        assert list(pool.planning.training.pretraining()) == []
        assert [m.version for m, _ in pool.planning.training._pretrained()] == [version]


def test_the_least_volume_goes_to_prediction_and_judgement(tmp_path: Path) -> None:
    with contextlib.closing(Pool(tmp_path)) as pool:
        assert pool.planning.planner.predict_params() == {"min_voxels": None}
        assert "min_um3" not in pool.planning.planner.evaluate(None, [LABEL]).params
    with contextlib.closing(Pool(tmp_path, prediction={"min_object_um3": 0.5, "min_object_voxels": 9})) as pool:
        limits = {"min_voxels": 9, "min_um3": 0.5}
        assert pool.planning.planner.predict_params() == limits
        assert limits.items() <= pool.planning.planner.evaluate(None, [LABEL]).params.items()
