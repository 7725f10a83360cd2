"""Taking patches from the command line and as the annotation window does it, with somebody who plays the daemon."""

from __future__ import annotations

import time

import pytest

from daemon.cli import claiming
from daemon.cli.asking import RefusedError
from daemon.cli.session import Session
from daemon.errors import NotRunningError, UsageError
from daemon.store.schema_claims import SKIP_REASONS


@pytest.fixture
def session(scene) -> Session:
    made = Session()
    made.option = scene.config
    return made


@pytest.fixture
def queued(scene):
    """Two volumes, four patches in the queue."""
    for name in ("a.tif", "b.tif"):
        scene.volume(name)
    scene.suggest(4)
    return scene


def heard(session: Session, name: str, user: str | None) -> None:
    """Wait until the daemon has heard what was merely left for it."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        held = claiming.holder(session, name)
        if (held.user if held else None) == user and not list(session.workspace.commands.glob("[0-9]*.json")):
            return
        time.sleep(0.02)
    raise AssertionError(f"{name}: {claiming.holder(session, name)}, expected {user}")


def test_a_sitting_as_the_window_does_it(queued, session, attended):
    with attended():
        first = claiming.claim(session, None, "ana")
        assert first == "s00001"
        assert claiming.claim(session, None, "ana") == first  # opened again after it crashed
        assert claiming.claim(session, None, "ben") == "s00002"
        held = claiming.holder(session, first)
        assert held.user == "ana"
        assert held.left_s == pytest.approx(600, abs=30)
        with pytest.raises(RefusedError, match="ana has s00001, for about 10 more min"):
            claiming.claim(session, first, "ben")
        assert claiming.claim(session, first, "ben", take_over=True) == first
        claiming.renew(session, first, "ana")  # she is told by the holder, not by an error
        heard(session, first, "ben")
        claiming.release(session, first, "ana")  # not hers to give back
        heard(session, first, "ben")
        claiming.release(session, first, "ben")
        heard(session, first, None)
        work = {"active_s": 90.0, "clicks": 3, "changed_voxels": 0, "open_s": 100.0}
        claiming.skip(session, "s00002", "ben", "out of focus", "the whole plane", work)
        assert queued.store.annotation.suggestion("s00002").state == "skipped"
        assert claiming.progress_today(session, "ben")["skipped_minutes"] == 1.5
        for name in ("s00001", "s00003", "s00004"):
            claiming.claim(session, name, "cleo")
        with pytest.raises(claiming.NothingWaitsError, match="3 patches are in the hands of others"):
            claiming.claim(session, None, "ana")


def test_what_makes_no_sense_is_refused_before_anybody_is_asked(queued, session):
    with pytest.raises(UsageError, match="did you mean 's00004'"):
        claiming.claim(session, "s0004", "ana")
    with pytest.raises(UsageError, match="say who you are"):
        claiming.claim(session, "s00001", " \n")
    with pytest.raises(UsageError, match="artefact, out of focus, nothing here, too hard, other"):
        claiming.skip(session, "s00001", "ana", "ugly")
    assert not list(session.workspace.commands.iterdir())


def test_without_a_daemon_only_what_has_to_be_known_is_an_error(queued, session):
    with pytest.raises(NotRunningError):
        claiming.claim(session, "s00001", "ana")
    for path in session.workspace.commands.iterdir():
        path.unlink()
    claiming.renew(session, "s00001", "ana")
    claiming.release(session, "s00001", "ana")
    assert not list(session.workspace.commands.iterdir())


def test_hostile_names_are_text(queued, session, attended, alscope):
    with attended():
        claiming.claim(session, "s00001", "a[red]\x1b[31mna\n" + "x" * 200)
        told = alscope("queue").out
    assert "\x1b[31mna" not in told
    assert "a[red]" in told


def test_today_is_told_in_one_line(queued, session):
    assert claiming.progress_today(session, "ana")["words"] == "no label yet today"
    suggestion = queued.store.annotation.suggestion("s00001")
    note = {"user": "ana", "work": {"active_s": 150, "clicks": 4, "changed_voxels": 9, "open_s": 200}}
    number = queued.store.labels.receive(suggestion, b"/x.tif", "sha", note, queued.now)
    (received,) = queued.store.labels.received("id = ?", [number])
    queued.store.labels.accept(received, queued.artifact("label-1"), "train", 7, [], queued.now)
    today = claiming.progress_today(session, "ana")
    if time.localtime(queued.now).tm_mday == time.localtime().tm_mday:  # not over midnight
        assert today == {
            "labels": 1,
            "objects": 7,
            "minutes": 2.5,
            "skipped": 0,
            "skipped_minutes": 0.0,
            "since_round": 1,
            "words": "1 label today (7 objects, 2 min)",
        }


def test_the_commands(queued, attended, alscope, monkeypatch):
    monkeypatch.setattr(claiming, "login", lambda: "dora")
    with attended():
        assert alscope("queue", "claim").out == "s00001\n"
        assert alscope("queue", "claim", "--user", "ana").out == "s00002\n"
        refused = alscope("queue", "claim", "s00001", "--user", "ana")
        assert (refused.code, refused.out) == (1, "")
        assert "dora has s00001" in refused.err
        shown = alscope("queue").out
        assert "dora, 10 min" in shown and "ana, 10 min" in shown
        assert {q["id"]: q["user"] for q in alscope("queue", "--json").data}["s00002"] == "ana"
        assert "ana, for about 10 more min" in alscope("queue", "show", "s00002").out
        assert alscope("queue", "show", "s00002", "--json").data["user"] == "ana"
        assert alscope("queue", "release", "s00002").code == 1
        assert "back in the queue" in alscope("queue", "release", "s00002", "--user", "ana").out
        assert alscope("queue", "skip", "s00003", "--kind", "artefact").out == "s00003 skipped\n"
        assert alscope("queue", "skip", "s00004", "--kind", "dull").code == 2
        assert "ana has" not in alscope("status").out
        assert "1 of them in somebody's hands" in alscope("status").out
    skipped = queued.store.selection.skipped("artefact")
    assert sum(len(rows) for rows in skipped.values()) == 1
    assert " ".join(alscope("queue", "minutes").out.split()).startswith(
        "skipped by patches minutes why dora 1 artefact 1"
    )


def test_nothing_spent_is_said_in_a_line(queued, alscope):
    assert alscope("queue", "minutes").out.startswith("no label was accepted yet")


def test_the_ledger_in_a_table(queued, alscope):
    for i, name in enumerate(("s00001", "s00002", "s00003")):
        suggestion = queued.store.annotation.suggestion(name)
        note = {"user": "ana"} | ({"work": {"active_s": 120 * i, "clicks": 5, "changed_voxels": 70}} if i else {})
        number = queued.store.labels.receive(suggestion, b"/x.tif", "sha", note, queued.now)
        (received,) = queued.store.labels.received("id = ?", [number])
        queued.store.labels.accept(received, queued.artifact(f"label-{i}"), "train", 7, [], queued.now)
    told = alscope("queue", "minutes").out
    assert "3 (2 timed)" in told and "6 min" in told and "3.0" in told
    assert "expected to take 1.0 min and 0.25 min per object: as config.toml says" in told
    data = alscope("queue", "minutes", "--json").data
    assert data["users"]["ana"]["minutes"] == 6.0
    assert [x["minutes"] for x in data["labels"]] == [None, 2.0, 4.0]
    assert "6 min on 2 labels of 3, 3.0 min each" in alscope("status").out
    assert set(SKIP_REASONS) >= {"artefact"}
