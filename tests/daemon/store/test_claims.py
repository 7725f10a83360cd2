"""Claims one by one: who is told what when two people want the same patch, and what cannot be stored."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from alcore.annotate.draft_files import own_folder
from daemon.commands_annotation import NotForYouError, TakenError
from daemon.store.rows import Picked
from daemon.store.schema_claims import SKIP_REASONS, TAKEN_BACK
from tests.daemon.store.claim_desk import IDS, LEASE_S, accept, ask, filled, given, receive


@pytest.fixture
def engine(tmp_path):
    made = filled(tmp_path)
    yield made
    made.store.close()


def test_taking_over_tells_who_lost_and_keeps_both_labels(engine):
    given(engine, "ana", id="s00001")
    with pytest.raises(TakenError, match=r"ana has s00001, for about 10 more min .*--take-over"):
        given(engine, "ben", id="s00001")
    given(engine, "ben", id="s00001", take_over=True)
    with pytest.raises(TakenError, match=r"ben has s00001.*your label is kept as well"):
        ask(engine, "renew", user="ana", id="s00001")
    mine = engine.store.claims.latest_of("s00001", "ana")
    assert (mine.ended, mine.ended_by) == ("taken over", "ben")
    accept(engine, receive(engine, "s00001", "ana"))
    accept(engine, receive(engine, "s00001", "ben"))
    rows = list(engine.store.labels._db.query("SELECT author, superseded_by FROM label ORDER BY id"))
    assert rows == [{"author": "ana", "superseded_by": 2}, {"author": "ben", "superseded_by": None}]
    events = [r["message"] for r in engine.store.state._db.query("SELECT message FROM event WHERE kind = 'claim'")]
    assert events == ["ben took s00001 over from ana; a label that ana still saves is kept as well"]


def test_a_label_that_does_not_say_by_whom_is_by_the_one_who_has_the_patch(engine):
    given(engine, "ana", id="s00001")
    number = receive(engine, "s00001", "")
    assert engine.store.labels.received("id = ?", [number])[0].author == "ana"
    ended = engine.store.claims.latest_of("s00001", "ana")
    assert (ended.ended, ended.ended_by) == ("answered", "ana")


def test_a_patch_whose_label_lies_in_the_inbox_is_not_given_out(engine):
    (engine.workspace.inbox / "s00001.tif").write_bytes(b"being saved")
    given(engine, "ana", id="s00002")
    assert given(engine, "ben") == {"id": "s00003"}
    (engine.workspace.inbox / "s00002.nrrd").write_bytes(b"done")
    assert "nothing" in given(engine, "ana")  # what she has is answered, the rest is taken
    with pytest.raises(NotForYouError, match="just being checked"):
        given(engine, "cleo", id="s00001")


@pytest.mark.parametrize(
    ("before", "says"),
    [
        (lambda e: None, ""),
        (lambda e: [given(e, "ben", id=s) for s in IDS], "3 patches are in the hands"),
        (lambda e: [receive(e, s, "ben") for s in IDS], "3 patches are just being checked"),
        (lambda e: [e.store.annotation.set_published(s, False) for s in IDS], "3 patches are being prepared for you"),
    ],
    ids=["ready", "claimed", "checked", "prepared"],
)
def test_nothing_to_give_is_said_in_friendly_words(engine, before, says):
    engine.store.jobs.want(embedded(), 2.0)
    engine.store.jobs.claim(1, "me", 2.0)
    engine.store.jobs.done(1, {}, 3.0)
    before(engine)
    answer = given(engine, "ana")
    assert ("nothing" in answer) == bool(says)
    assert says in answer.get("nothing", "")


def embedded() -> Any:
    from daemon.store.rows import Wanted

    return Wanted("embedding", "volume:1", {}, {}, 50, "spec", 1)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO claim (suggestion_id, user, since, left_s) VALUES ('s00002', 'ben', 1, 1)",  # which is open
        "INSERT INTO claim (suggestion_id, user, since, left_s) VALUES ('s00001', 'ben', 1, 1)",  # which ana has
        "UPDATE suggestion SET state = 'open' WHERE id = 's00001'",  # while ana has it
        "UPDATE claim SET user = ''",
        "UPDATE claim SET left_s = -1",
        "UPDATE claim SET ended = 'forgotten', ended_at = 1",
        "UPDATE claim SET ended = 'released'",  # without when
        "UPDATE suggestion SET skip_kind = 'artefact' WHERE id = 's00002'",  # which nobody skipped
        "UPDATE suggestion SET state = 'skipped', skip_kind = 'ugly' WHERE id = 's00002'",
        "INSERT INTO suggestion (id, patch_id, rank, reason, state, created_at, changed_at) VALUES ('s9', 1, 9, '', 'open', 1, 1)",
        "INSERT INTO suggestion (id, patch_id, rank, reason, state, created_at, changed_at, repeat_of)"
        " VALUES ('s9', 2, 9, '', 'open', 1, 1, 's00001')",  # of another patch
        "INSERT INTO agreement (first, second, counts, f1, dice, at) VALUES ('a', 'volume-1', '{}', 1.2, 1, 1)",
    ],
)
def test_rows_that_mean_nothing_cannot_be_stored(engine, sql):
    given(engine, "ana", id="s00001")
    with pytest.raises(sqlite3.IntegrityError):
        engine.store.claims._db.conn.execute(sql)


def test_a_suggestion_that_was_taken_back_may_come_again_under_its_name(engine):
    annotation = engine.store.annotation
    annotation.take_back("s00002", "others teach more", 4.0)
    volume = annotation.suggestion("s00002").patch.volume_id
    assert engine.store.selection.covered() == {volume: [0, 2]}
    assert (engine.store.selection.n_made(), engine.store.selection.skipped(*SKIP_REASONS)) == (2, {})
    annotation.set_published("s00002", False)
    assert annotation.suggest([Picked(volume, 1, 0.9, "far now", why={"minutes": 2.0})], 5.0, "level") == ["s00002"]
    again = annotation.suggestion("s00002")
    assert (again.state, again.rank, again.reason, again.package) == ("open", 4, "far now", None)
    assert annotation.suggest([Picked(volume, 1, 0.9, "far now")], 6.0) == []
    (row,) = annotation._db.query("SELECT skip_kind, level FROM suggestion WHERE id = 's00002'")
    assert row == {"skip_kind": "", "level": "level"}
    assert TAKEN_BACK not in SKIP_REASONS


def test_a_claimed_suggestion_is_never_taken_back(engine):
    given(engine, "ana", id="s00001")
    volume = engine.store.annotation.suggestion("s00001").patch.volume_id
    assert engine.store.annotation.open_id(volume, 0) is None
    assert engine.store.selection.waiting("level") == {volume: [1, 2]}
    engine.store.selection.considered(volume, [1], "level")
    assert engine.store.selection.waiting("level") == {volume: [2]}


@pytest.mark.parametrize("how", ["released", "expired"])
def test_a_rejected_label_is_still_to_be_mended_after_somebody_had_a_look(engine, how):
    number = receive(engine, "s00002", "ana")
    (received,) = engine.store.labels.received("id = ?", [number])
    engine.store.labels.reject(received, "wrong shape", 7.0)
    assert given(engine, "ben") == {"id": "s00001"}  # not his to mend
    assert given(engine, "ana") == {"id": "s00002"}
    if how == "released":
        ask(engine, "release", user="ana", id="s00002")
    else:
        engine.store.claims.pass_time(LEASE_S, 8.0)
    (row,) = engine.store.claims._db.query("SELECT state, note FROM suggestion WHERE id = 's00002'")
    assert row == {"state": "rejected", "note": "wrong shape"}


def test_the_next_patch_is_the_one_that_its_user_has_begun_and_last_what_others_began(engine):
    drafts = engine.workspace.drafts
    for name, user in (("s00001", "ben"), ("s00003", "ana")):
        (drafts / name).mkdir(parents=True)
        (drafts / name / "draft.tif").write_bytes(b"drawn")
        (drafts / name / "draft.json").write_text(json.dumps({"user": user}))
    assert given(engine, "ana") == {"id": "s00003"}
    assert given(engine, "cleo") == {"id": "s00002"}
    assert given(engine, "dora") == {"id": "s00001"}  # nothing else waits
    ask(engine, "release", user="dora", id="s00001")
    assert given(engine, "ben") == {"id": "s00001"}


def test_two_drafts_of_one_patch_are_each_their_own_persons(engine):
    drafts = engine.workspace.drafts
    for name, user in (("s00002", "ben"), ("s00002", "ana"), ("s00003", "ben")):
        own_folder(drafts / name, user).mkdir(parents=True)
        (own_folder(drafts / name, user) / "draft.tif").write_bytes(b"drawn")
    assert given(engine, "ana") == {"id": "s00002"}
    assert given(engine, "ben") == {"id": "s00003"}
    assert given(engine, "cleo") == {"id": "s00001"}


@pytest.mark.parametrize("about", [None, "", "[]", "not json", '{"user": 7}'])
def test_a_draft_of_nobody_is_nobody_s(engine, about):
    folder = engine.workspace.drafts / "s00001"
    folder.mkdir(parents=True)
    (folder / "draft.tif").write_bytes(b"drawn")
    if about is not None:
        (folder / "draft.json").write_text(about)
    assert given(engine, "ana") == {"id": "s00002"}
