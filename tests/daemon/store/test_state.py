"""Volumes, suggestions, labels, rounds and models: what must never be lost, doubled or silently replaced."""

from __future__ import annotations

import sqlite3

import pytest

from daemon.errors import DamagedError, IllegalTransitionError
from daemon.store.connection import open_writer
from daemon.store.report import snapshot
from daemon.store.rows import Picked
from tests.daemon.sightings import arriving, settled


def accept(store, suggestion_id, role="train", now=5.0):
    """Let a label for a suggestion be received and accepted; returns the label's id."""
    suggestion = store.annotation.suggestion(suggestion_id)
    number = store.labels.receive(suggestion, b"/ws/inbox/x.tif", "sha", {"user": "anna"}, now)
    (received,) = store.labels.received("id = ?", [number])
    store.learning.add_artifact(f"label-{number}", "label", 1, 0.1, now)
    return store.labels.accept(received, f"label-{number}", role, 3, [], now)


def test_the_same_bytes_under_two_names_are_one_volume(store, add_volume):
    first = add_volume("a.tif", "aa")
    store.sources.settled(settled(b"/in/copy.tif"), 2.0)
    (source,) = store.sources.to_read(True)
    result = {"volumes": [{"info": {"sha256": "aa"}, "patches": []}], "refused": []}
    assert store.volumes.ingest(source.id, "{}", "volume-aa", result, 2.0) == []
    assert [v.id for v in store.volumes.readable()] == [first]
    store.sources.set_gone(b"/in/a.tif", True)
    assert [v.path for v in store.volumes.readable()] == [b"/in/copy.tif"]


def test_two_volumes_of_one_name_get_files_of_their_own(store, add_volume):
    a, b = add_volume("x/a.tif", "aa"), add_volume("y/a.tif", "bb")
    assert store.volumes.export_name(a) != store.volumes.export_name(b)


def test_hostile_names_survive(store, add_volume):
    name = "a[red]b \U0001f52c\n..tif"
    path = b"/in/" + name.encode() + b"\xff.tif"
    store.sources.arriving(arriving(path), 1.0)
    row = next(store.volumes._db.query("SELECT path, name FROM source"))
    assert bytes(row["path"]) == path
    assert row["name"].isprintable()
    assert "[red]" in row["name"]


def test_a_source_that_changed_while_it_was_read_keeps_its_newer_state(store):
    store.sources.settled(settled(b"/in/a.tif", "old"), 1.0)
    (source,) = store.sources.to_read(True)
    store.sources.arriving(arriving(b"/in/a.tif", "new"), 2.0)
    store.sources.set_aside(source.id, "old", "too short", 3.0)
    row = next(store.volumes._db.query("SELECT state, fingerprint FROM source"))
    assert row == {"state": "arriving", "fingerprint": "new"}


def test_a_file_that_vanishes_before_it_is_whole_was_a_temporary_one(store):
    store.sources.arriving(arriving(b"/in/a.tif"), 1.0)
    store.sources.set_gone(b"/in/a.tif", True)
    assert store.sources.n_arriving() == 0
    assert not list(store.volumes._db.query("SELECT 1 FROM source"))


def test_a_patch_is_suggested_once(store, add_volume):
    volume = add_volume()
    assert store.annotation.suggest([Picked(volume, 0, 0.5, "far"), Picked(volume, 1, 0.4, "far")], 1.0) == [
        "s00001",
        "s00002",
    ]
    assert store.annotation.suggest([Picked(volume, 1, 0.4, "far"), Picked(volume, 2, None, "seed")], 2.0) == ["s00003"]
    assert store.selection.covered() == {volume: [0, 1, 2]}


def test_a_later_label_supersedes_and_keeps_its_role(store, add_volume):
    store.annotation.suggest([Picked(add_volume(), 0, 0.5, "far")], 1.0)
    first = accept(store, "s00001", "gate")
    second = accept(store, "s00001", "train", 6.0)
    assert [(x.id, x.role) for x in store.labels.current()] == [(second, "gate")]
    rows = {r["id"]: r["superseded_by"] for r in store.annotation._db.query("SELECT id, superseded_by FROM label")}
    assert rows == {first: second, second: None}


def test_a_rejected_label_can_be_mended(store, add_volume):
    store.annotation.suggest([Picked(add_volume(), 0, 0.5, "far")], 1.0)
    number = store.labels.receive(store.annotation.suggestion("s00001"), b"/x", "sha", {}, 2.0)
    (received,) = store.labels.received("id = ?", [number])
    store.labels.reject(received, "wrong shape", 3.0)
    assert store.annotation.n_waiting_for_expert() == 1
    accept(store, "s00001")
    assert store.annotation.suggestion("s00001").state == "accepted"


def test_a_suggestion_under_check_takes_no_second_label(store, add_volume):
    store.annotation.suggest([Picked(add_volume(), 0, 0.5, "far")], 1.0)
    suggestion = store.annotation.suggestion("s00001")
    store.labels.receive(suggestion, b"/x", "sha", {}, 2.0)
    with pytest.raises(IllegalTransitionError):
        store.labels.receive(store.annotation.suggestion("s00001"), b"/x", "sha", {}, 2.0)
    assert len(store.labels.received("1 = 1")) == 1


def test_a_round_freezes_its_labels_and_only_one_is_active(store, add_volume):
    volume = add_volume()
    store.annotation.suggest([Picked(volume, i, 0.5, "far") for i in range(3)], 1.0)
    accept(store, "s00001")
    accept(store, "s00002", "gate")
    number = store.learning.open_round(store.labels.current(), "digest", 0.5, 9.0)
    accept(store, "s00003")
    round_ = store.learning.active_round()
    assert (round_.number, len(round_.train), len(round_.gate)) == (number, 1, 1)
    assert store.training.n_new_labels() == 1
    with pytest.raises(sqlite3.IntegrityError):
        store.learning.open_round(store.labels.current(), "digest", 0.5, 9.0)


def test_a_rejected_candidate_leaves_the_promoted_model_in_place(store, add_volume, tmp_path):
    store.annotation.suggest([Picked(add_volume(), 0, 0.5, "far")], 1.0)
    accept(store, "s00001")
    for number, (promoted, f1) in enumerate([(True, 0.6), (False, 0.4)], start=1):
        store.learning.open_round(store.labels.current(), "digest", 0.5, 9.0)
        store.learning.add_artifact(f"finetune-{number}", "finetune", 1, 1.0, 9.0)
        store.learning.add_model(
            f"M_f-{number:03d}", "finetuned", "candidate", f"finetune-{number}", None, [], "d", 9.0
        )
        store.learning.judge(number, f"M_f-{number:03d}")
        store.learning.finish_round(store.learning.active_round(), promoted, "said why", {"f1": f1}, None, 10.0)
    assert store.learning.promoted().version == "M_f-001"
    shot = snapshot(tmp_path, 11.0)
    assert [(m.version, m.state) for m in shot.models] == [("M_f-001", "promoted"), ("M_f-002", "rejected")]
    assert [r.promoted for r in shot.rounds] == [True, False]


def test_a_damaged_database_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "alscope.db"
    path.write_bytes(b"SQLite format 3\0" + bytes(200))
    with pytest.raises(DamagedError, match="alscope restore"):
        open_writer(path)
