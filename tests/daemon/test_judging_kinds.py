"""With data of two kinds in one workspace, a model is judged on, and compared with, what was made for the same kind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from alcore.run import key_of
from daemon.store.rows import ModelRow
from tests.daemon.pool import Pool
from tests.daemon.scripted import evaluation
from tests.daemon.test_training_plans import FINE, PLAN, THICK, ingested, pretrained

KINDS = {"fine": FINE, "thick": THICK}
PARENT = {"fine": "M_p-001", "thick": "M_p-002"}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """Four volumes of either kind, an M_p for both (that for the thick ones is the newer), and answered suggestions of both."""
    with contextlib.closing(Pool(tmp_path, training={"every": 1, "gate_min_patches": 1})) as made:
        made.executor.slots = {False: 0, True: 0}
        for number, voxel_um in enumerate(KINDS.values()):
            ingested(made, 4 * number, 4, voxel_um)
            pretrained(made, {"channels": 1, "voxel_um": list(voxel_um)})
        made.encoder()
        made.embedded()
        made.labelled(made.queued(8))
        yield made


@dataclass(frozen=True)
class Judged:
    """models: that were scored; kinds: of the held-out labels that they were scored on."""

    models: set[str]
    kinds: set[str]
    verdict: str
    promoted: bool


def candidate(pool: Pool, kind: str, says_so: bool = True) -> ModelRow:
    """A round's model for data of this kind, to be judged. says_so: its training wrote down what data it is for."""
    learning = pool.store.learning
    assert pool.planning.learning.open_round(pool.now) == ""
    (wanted,) = pool.planning.learning.round(pool.now)
    data = {"data": {"channels": 1, "voxel_um": list(KINDS[kind])}} if says_so else {}
    job, active = pool.done(wanted, PLAN | data), learning.active_round()
    assert active is not None
    version = f"M_f-{active.number:03d}"
    learning.add_model(version, "finetuned", "candidate", job.key, PARENT[kind], active.train, "d", pool.now)
    learning.judge(active.number, version)
    made = learning.model(version)
    assert made is not None
    return made


def judge(pool: Pool, f1: Mapping[str, float]) -> Judged:
    """Score whoever is to be scored, with this F1 on every label, and give the verdict."""
    learning = pool.store.learning
    active = learning.active_round()
    assert active is not None
    voxel_um = {
        label.artifact: pool.store.training.kinds([label.volume_id])[label.volume_id].voxel_um for label in active.gate
    }
    models, kinds = set(), set()
    for wanted in list(pool.planning.learning.round(pool.now)):
        row = learning.model_of_artifact(wanted.inputs["model"][0].key) if wanted.inputs["model"] else None
        scored = evaluation(wanted, 0.1 if row is None else f1[row.version])
        kinds |= {name for name, size in KINDS.items() for i in wanted.inputs["label"] if voxel_um[i.key] == size}
        models |= set() if row is None else {row.version}
        if pool.store.jobs.by_key(key_of(wanted.stage, wanted.inputs, wanted.params)) is not None:
            continue  # the same model on the same labels, in a round before
        job = pool.done(wanted, scored)
        learning.add_evaluation(job.key, row and row.version, "d", scored, pool.now)
    list(pool.planning.learning.round(pool.now))
    assert learning.active_round() is None
    state, _, verdict = pool.store.models.states()[f"M_f-{active.number:03d}"]
    return Judged(models, kinds, verdict, state == "promoted")


def test_the_first_model_is_compared_with_the_pretrained_one_of_its_kind(pool: Pool) -> None:
    candidate(pool, "fine")
    found = judge(pool, {"M_f-001": 0.6, "M_p-001": 0.5})  # M_p-002, the newest, is for the thick ones
    assert found.models == {"M_f-001", "M_p-001"}
    assert found.kinds == {"fine"}
    assert found.promoted


def test_a_model_for_other_data_is_neither_an_opponent_nor_taken_out_of_use(pool: Pool) -> None:
    candidate(pool, "fine")
    assert judge(pool, {"M_f-001": 0.6, "M_p-001": 0.5}).promoted
    candidate(pool, "thick")
    found = judge(pool, {"M_f-002": 0.9, "M_p-002": 0.5})
    assert found.models == {"M_f-002", "M_p-002"}
    assert found.kinds == {"thick"}
    assert not found.promoted
    assert "M_f-001, which is in use, is for other data (1 channel, 0.05 x 0.01 x 0.01 um)" in found.verdict
    assert "F1 0.90 against 0.50 of M_p-002" in found.verdict
    promoted = pool.store.learning.promoted()
    assert promoted is not None and promoted.version == "M_f-001"


def test_the_parent_comes_into_use_where_the_first_model_is_lower_but_not_beside_one_for_other_data(pool: Pool) -> None:
    candidate(pool, "fine")
    found = judge(pool, {"M_f-001": 0.4, "M_p-001": 0.5})
    assert not found.promoted
    promoted = pool.store.learning.promoted()
    assert promoted is not None and promoted.version == "M_p-001"
    (record,) = pool.store.models.promotions()
    assert (record.model, record.how, record.previous) == ("M_p-001", "round", None)
    assert record.reason.startswith(
        "M_f-001 ungated (fewer than 2 held-out patches), and lower, so M_p-001 comes into use"
    )
    candidate(pool, "thick")
    assert not judge(pool, {"M_f-002": 0.4, "M_p-002": 0.5}).promoted
    assert pool.store.learning.promoted() == promoted
    candidate(pool, "fine")
    assert judge(pool, {"M_f-003": 0.7, "M_p-001": 0.5}).promoted
    assert pool.store.models.before() == "M_p-001"


def test_a_model_of_the_kind_in_use_is_compared_with_it(pool: Pool) -> None:
    candidate(pool, "fine")
    assert judge(pool, {"M_f-001": 0.6, "M_p-001": 0.5}).promoted
    candidate(pool, "fine", says_so=False)  # of a training from before this was written down: its M_p says it
    found = judge(pool, {"M_f-002": 0.4, "M_f-001": 0.6})
    assert found.models == {"M_f-002", "M_f-001"}
    assert not found.promoted
    assert "F1 0.40 against 0.60 of M_f-001" in found.verdict


def test_without_held_out_labels_of_its_data_a_model_is_ungated(pool: Pool) -> None:
    pool.store._db.execute(
        "UPDATE volume SET info = json_set(info, '$.voxel_um', json('[9.0, 9.0, 9.0]')) WHERE id > 4"
    )
    kinds = pool.store.training.kinds(label.volume_id for label in pool.store.labels.current() if label.role == "gate")
    assert {k.voxel_um for k in kinds.values()} == {FINE, (9.0, 9.0, 9.0)}
    made = candidate(pool, "thick")
    assert pool.planning.training.taken(made, pool.store.learning.active_round().gate) == []
    found = judge(pool, {})
    assert found.models == set()
    assert "ungated: no held-out labels yet of its data" in found.verdict
    assert found.promoted
