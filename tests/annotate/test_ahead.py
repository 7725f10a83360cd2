"""Segment Anything looks at the patches that wait, and at no others; what it saw goes with the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon import commands
from daemon.config import from_mapping
from daemon.errors import ConfigError
from daemon.executors.port import Order
from daemon.sam_cache import cache_of
from tests.daemon.play import Stage
from tests.daemon.scripted import results

STAGE = "sam_embedding"


@pytest.fixture
def play(tmp_path: Path, monkeypatch) -> Iterator[Callable[..., Stage]]:
    """A daemon whose jobs are scripted; those that look ahead never end while `made[0].held` says so."""
    monkeypatch.setattr("alcore.annotate.weights.packages.missing", lambda name: [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "micro"))
    made: list[Stage] = []

    def make(held: bool = False, weights: bool = True, **annotation: Any) -> Stage:
        def script(order: Order) -> dict[str, Any] | None:
            if order.stage != STAGE:
                return results(order)
            folder = made[0].workspace.places.cache / STAGE.replace("embedding", "embeddings")
            (folder / order.inputs["package"][0].key / "model-1").mkdir(parents=True)
            return None if held else {"slices": 8}

        (tmp_path / "weights").mkdir()
        for name in ("vit_b_lm", "vit_b_lm_decoder") if weights else ():
            (tmp_path / "weights" / name).write_bytes(b"weights")
        options = {"annotation": annotation, "pseudo": {"weights": str(tmp_path / "weights")}}
        made.append(Stage(tmp_path, script, selection={"queue_depth": 4}, **options))
        return made[-1]

    yield make
    for stage in made:
        stage.store.close()


def looked_at(stage: Stage) -> list[str]:
    return [o.inputs["package"][0].key for o in stage.executor.orders if o.stage == STAGE]


def waiting(stage: Stage) -> dict[str, str]:
    return dict(stage.store.annotating.waiting())


def test_every_patch_that_waits_is_looked_at_once_the_next_one_first(play) -> None:
    stage = play(precompute=True)
    stage.drop("a.tif", b"first")
    stage.run()
    assert len(waiting(stage)) == 4 and looked_at(stage) == list(waiting(stage).values())
    stage.restart()
    stage.run()
    assert looked_at(stage) == []
    assert stage.store.jobs.of_stage(STAGE)[0] == ("suggestion:s00001", "done")


def test_what_it_saw_goes_with_the_answer_and_work_on_it_is_not_begun(play) -> None:
    stage = play(precompute=True)
    stage.drop("a.tif", b"first")
    stage.run()
    first, second = list(waiting(stage).items())[:2]
    assert all(cache_of(stage.workspace, package).is_dir() for _, package in (first, second))
    stage.label(first[0])
    commands.ask(stage.workspace, "skip", {"id": second[0], "user": "ana", "kind": "artefact", "reason": ""})
    stage.run()
    assert first[0] not in waiting(stage) and second[0] not in waiting(stage)
    assert not any(cache_of(stage.workspace, package).exists() for _, package in (first, second))
    for package in waiting(stage).values():
        assert cache_of(stage.workspace, package).is_dir()


def test_a_job_that_has_not_begun_is_withdrawn_with_the_answer(play) -> None:
    stage = play(precompute=True, held=True)
    stage.executor.slots[True] = 0  # on a CPU it waits in the long lane
    stage.drop("a.tif", b"first")
    stage.run()
    assert looked_at(stage) == [] and {s for _, s in stage.store.jobs.of_stage(STAGE)} == {"ready"}
    stage.label("s00001")
    stage.run()
    assert dict(stage.store.jobs.of_stage(STAGE))["suggestion:s00001"] == "cancelled"


@pytest.mark.parametrize(
    "options",
    [
        {"precompute": "auto"},
        {"precompute": False},
        {"model": "none", "precompute": True},
        {"weights": False, "precompute": True},
    ],
)
def test_on_a_cpu_or_without_weights_nothing_is_looked_at_unless_asked(play, options: dict[str, Any]) -> None:
    stage = play(**options)
    stage.drop("a.tif", b"first")
    stage.run()
    assert waiting(stage) and looked_at(stage) == []


def test_weights_that_come_later_are_noticed_and_those_that_go_stop_nothing(play, tmp_path: Path) -> None:
    stage = play(precompute=True, weights=False)
    stage.drop("a.tif", b"first")
    stage.run()
    files = [tmp_path / "weights" / name for name in ("vit_b_lm", "vit_b_lm_decoder")]
    for file in files:
        file.write_bytes(b"weights")
    stage.run()
    assert len(looked_at(stage)) == 4
    for file in files:
        file.unlink()
    stage.drop("b.tif", b"second")
    stage.run()
    assert len(looked_at(stage)) == 4


def test_config_knows_models_and_when_to_look(tmp_path: Path) -> None:
    def settings(**annotation: Any) -> Any:
        raw = {"watch": [{"folder": "in"}], "annotation": annotation}
        return from_mapping(raw, tmp_path / "config.toml").annotation

    assert (settings().model, settings().precompute) == ("auto", "auto")
    assert settings(model="./mine.pt").model == str(tmp_path / "mine.pt")
    assert settings(precompute=False).precompute is False
    with pytest.raises(ConfigError, match=r"annotation.model = 'vit_b_ml': no such model; there are .*vit_b_lm"):
        settings(model="vit_b_ml")
    with pytest.raises(ConfigError, match=r"annotation.precompute"):
        settings(precompute="always")
