"""Encoders, why a patch was suggested, the QC queue, novelty and the control arm in SQL; rows that mean nothing are refused."""

from __future__ import annotations

import sqlite3

import pytest

from daemon.store.queue_listing import held_back
from daemon.store.rows import Flaw, Novelty, Picked

ARTIFACTS = ("encoder-a", "encoder-b", "encoder-c")


@pytest.fixture
def made(store):
    for key in ARTIFACTS:
        store.learning.add_artifact(key, "encoder", 1, 0.1, 1.0)
    return store


def add(store, key: str, kind: str = "mae", n: int = 8, spare: bool = False):
    return store.encoders.add(key, kind, "design", n, {"dim": 8}, 2.0, spare)


def states(store) -> dict[str, str]:
    return {r["recipe"]: r["state"] for r in store.encoders._db.query("SELECT recipe, state FROM encoder")}


def test_an_encoder_serves_when_it_is_switched_to_and_a_refused_one_never(made):
    add(made, "encoder-a", "descriptor", spare=True)
    made.encoders.switch(made.encoders.in_use()["embedding"].id)
    made.encoders.reject(
        "encoder-x", "mae", "design", 8, "self-retrieval 0.4", {"selftest": {"self_retrieval": 0.4}}, 3.0
    )
    assert states(made) == {"encoder-a": "current", "encoder-x": "rejected"}
    assert made.encoders.tried_on("mae", "design") == 8
    assert made.encoders.tried_on("mae", "another design") is None
    add(made, "encoder-b")
    assert {s: e.kind for s, e in made.encoders.in_use().items()} == {"current": "descriptor", "embedding": "mae"}


def test_a_spare_encoder_never_takes_over_from_the_other_kind(made):
    add(made, "encoder-a")
    assert add(made, "encoder-b", "descriptor", spare=True).state == "retired"
    assert states(made) == {"encoder-a": "embedding", "encoder-b": "retired"}
    assert made.encoders.revive("descriptor").artifact == "encoder-b"
    assert states(made) == {"encoder-a": "retired", "encoder-b": "embedding"}


def test_an_encoder_that_is_overtaken_while_it_embeds_serves_as_it_is_if_there_is_no_other(made):
    add(made, "encoder-a", "descriptor", spare=True)
    add(made, "encoder-b")
    assert states(made) == {"encoder-a": "current", "encoder-b": "embedding"}
    add(made, "encoder-c")
    assert states(made) == {"encoder-a": "current", "encoder-b": "retired", "encoder-c": "embedding"}
    made.encoders.refuse(3, "of no use")
    assert states(made)["encoder-c"] == "rejected"


def test_trying_a_refused_encoder_again_replaces_its_refusal(made):
    made.encoders.reject("encoder-a", "mae", "design", 8, "too alike", {}, 3.0)
    add(made, "encoder-a")
    assert states(made) == {"encoder-a": "embedding"}


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE encoder SET state = 'current'",  # two of them
        "UPDATE encoder SET state = 'rejected' WHERE id = 1",  # with an artifact and without a reason
        "UPDATE encoder SET artifact = NULL WHERE id = 1",
        "UPDATE encoder SET kind = 'vae' WHERE id = 1",
        "UPDATE encoder SET result = '[]' WHERE id = 1",
        "UPDATE encoder SET artifact = 'encoder-c' WHERE id = 1",  # not what its recipe makes
        "UPDATE suggestion SET arm = 'guessed'",
        "UPDATE suggestion SET why = '[1]'",
        "UPDATE suggestion SET why = 'so'",
        "UPDATE suggestion SET nearest = 999",
        "INSERT INTO qc (patch_id, reason, score, state, found_at) VALUES (2, '', 1, 'held', 1)",
        "INSERT INTO qc (patch_id, reason, score, state, found_at) VALUES (999, 'blank', 1, 'held', 1)",
        "INSERT INTO qc (patch_id, reason, score, state, found_at) VALUES (2, 'blank', 1, 'lost', 1)",
        "INSERT INTO novelty (volume_id, encoder_id, max, median, duplicates, at) VALUES (1, 1, 0.1, 0.2, 0, 1)",
        "INSERT INTO novelty (volume_id, encoder_id, max, median, duplicates, at) VALUES (1, 1, NULL, 0.2, 0, 1)",
        "INSERT INTO novelty (volume_id, encoder_id, duplicates, alarm, at) VALUES (1, 1, 0, 'new', 1)",
        "INSERT INTO novelty (volume_id, encoder_id, duplicates, at) VALUES (1, 1, -1, 1)",
        "INSERT INTO control (round, n, n_gate, metric, words, at) VALUES (7, 1, 1, 'Dice', 'so', 1)",
        "INSERT INTO control (round, n, n_gate, metric, words, difference, at) VALUES (1, 1, 1, 'Dice', 'so', 0.1, 1)",
        "INSERT INTO control (round, n, n_gate, metric, words, difference, low, high, at)"
        " VALUES (1, 1, 1, 'Dice', 'so', 0.1, 0.3, 0.2, 1)",
        "UPDATE job SET long = 2",
    ],
)
def test_rows_that_mean_nothing_cannot_be_stored(made, add_volume, want, sql):
    volume = add_volume()
    add(made, "encoder-a")
    made.encoders.switch(1)
    add(made, "encoder-b")
    made.jobs.want(want(), 1.0)
    made.annotation.suggest([Picked(volume, 0, 0.5, "far")], 1.0)
    made.learning.open_round([], "digest", 0.5, 9.0)
    with pytest.raises(sqlite3.IntegrityError):
        made.encoders._db.conn.execute(sql)


def test_a_suggestion_keeps_its_reasons_and_its_neighbours(store, add_volume):
    volume = add_volume()
    picks = [Picked(volume, 0, None, "seed"), Picked(volume, 1, 0.4, "far", "control", {"minutes": 2.5}, (volume, 0))]
    store.annotation.suggest(picks, 1.0)
    store.annotation.suggest([Picked(volume, 2, 0.3, "like", neighbours=[(volume, 1, 0.3), (volume, 0, 0.6)])], 2.0)
    first, second = (store.annotation.suggestion(s) for s in ("s00001", "s00002"))
    assert (first.arm, first.why) == ("selected", {})
    assert (second.arm, second.why) == ("control", {"minutes": 2.5})
    assert [(n.suggestion, n.distance) for n in store.annotation.neighbours("s00003")] == [
        ("s00002", 0.3),
        ("s00001", 0.6),
    ]
    assert store.selection.n_made() == 3


def test_the_qc_queue_is_what_looks_broken_now_and_a_person_has_the_last_word(store, add_volume):
    volume = add_volume()
    selection = store.selection
    assert selection.hold_back([Flaw(volume, 0, "blank", 2.0), Flaw(volume, 1, "unsharp", 1.5)], 1.0) == 2
    assert selection.hold_back([Flaw(volume, 1, "folded", 1.2), Flaw(volume, 2, "blank", 3.0)], 2.0) == 1
    db = store.selection._db.conn
    db.row_factory = sqlite3.Row
    assert [(h.id, h.reason, h.score) for h in held_back(db)] == [("q00003", "blank", 3.0), ("q00002", "folded", 1.2)]
    assert selection.held_back(3) == (volume, 2, "blank")
    assert selection.held_back(1) is None
    store.annotation.suggest([Picked(volume, 2, None, "it is fine", "asked")], 3.0)
    assert selection.hold_back([Flaw(volume, 1, "folded", 1.2), Flaw(volume, 2, "blank", 3.0)], 4.0) == 0
    assert [h.id for h in held_back(db)] == ["q00002"]
    assert selection.n_made() == 0  # people's own wishes are no part of any arm


def test_what_was_not_looked_at_stays_held_back(store, add_volume):
    one, two = add_volume(), add_volume("b.tif", "bb")
    selection = store.selection
    flaws = [
        Flaw(one, 0, "blank", 2.0),
        Flaw(one, 1, "blank", 2.0),
        Flaw(two, 0, "blank", 2.0),
        Flaw(two, 1, "flat", 2.0),
    ]
    assert selection.hold_back(flaws, 1.0) == 4

    def held() -> set[int]:
        return {r["patch_id"] for r in selection._db.query("SELECT patch_id FROM qc WHERE state = 'held'")}

    ids = {(r["volume_id"], r["row"]): r["id"] for r in selection._db.query("SELECT id, volume_id, row FROM patch")}
    # of one: row 0 is still blank, row 1 is not; of two nothing was looked at
    assert selection.hold_back(flaws[:1], 2.0, {one: {0, 1}}) == 0
    assert held() == {ids[one, 0], ids[two, 0], ids[two, 1]}
    assert selection.hold_back([], 3.0, {}) == 0
    assert held() == {ids[one, 0], ids[two, 0], ids[two, 1]}
    store.annotation.suggest([Picked(two, 1, None, "it is fine", "asked")], 4.0)
    assert selection.hold_back([], 5.0, {}) == 0
    assert held() == {ids[one, 0], ids[two, 0]}, "what was suggested is not held back any more"
    assert selection.hold_back([], 6.0) == 0
    assert held() == set()


def test_novelty_is_kept_for_each_encoder_and_told_of_a_volume_once(made, add_volume):
    one, two = add_volume(), add_volume("b.tif", "bb")
    for key in ("encoder-a", "encoder-b"):
        encoder = add(made, key).id
        assert made.selection.without_novelty(encoder, "spec") == []
        assert made.selection.add_novelty(one, encoder, Novelty(None, None, None, None, 0), "", 3.0) is (encoder == 1)
        assert made.selection.add_novelty(two, encoder, Novelty(0.4, 0.2, 1, (one, 3), 2), "new", 3.0) is (encoder == 1)
    rows = list(made.selection._db.query("SELECT * FROM novelty WHERE volume_id = ? ORDER BY encoder_id", [two]))
    assert [(r["max"], r["median"], r["nearest"], r["duplicates"], r["alarm"]) for r in rows] == [
        (0.4, 0.2, 4, 2, "new")
    ] * 2
    assert made.selection.usual_novelty(1, two + 1, 9) == [0.2]
    assert made.selection.usual_novelty(1, two, 9) == []


def test_a_finished_job_on_the_whole_pool_is_forgotten_but_for_what_is_small(store, want):
    from dataclasses import replace
    from pathlib import Path

    from alcore.stage import Input

    inputs = {"embedding": [Input(Path(f"/a/{i}"), f"embedding-{i:040d}") for i in range(10_000)]}
    params = {"covered": {f"embedding-{i:040d}": [0, 1] for i in range(5_000)}, "n": 8}
    wanted = replace(want(), inputs=inputs, params=params, stage="suggestions")
    number = store.jobs.want(wanted, 1.0)
    assert stored(store, number) > 1_000_000
    store.jobs.claim(number, "me", 2.0)
    store.jobs.done(number, {"pool": 80_000, "qc": [{"reason": "blank"}] * 500}, 3.0)
    store.jobs.forget(number)
    job = store.jobs.get(number)
    assert stored(store, number) < 1_000
    assert job.inputs == {}
    assert job.params == {
        "n": 8,
        "forgotten": {"inputs.embedding": 10_000, "params.covered": 5_000, "result.qc": 500},
    }
    assert job.result == {"pool": 80_000}
    assert store.jobs.want(wanted, 4.0) is None  # its recipe is known as before
    assert store.jobs.known("suggestions", "spec")


def stored(store, number: int) -> int:
    sql = "SELECT LENGTH(inputs) + LENGTH(params) + COALESCE(LENGTH(result), 0) AS n FROM job WHERE id = ?"
    return next(store.jobs._db.query(sql, [number]))["n"]
