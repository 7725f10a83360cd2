"""Commands that the daemon carries out: its answer, its refusal, its absence."""

from __future__ import annotations

import json
import time

import pytest

from daemon.cli import asking, label


def test_pause_resume_skip_retry_cancel(scene, alscope, attended):
    scene.troubled()
    (failed,) = alscope("jobs", "--state", "failed", "--json").data
    running = alscope("jobs", "--state", "running", "--json").data[0]
    with attended() as attendant:
        assert "paused" in alscope("pause", "--for", "2h").out
        until = alscope("status", "--json").data["daemon"]["paused_until"]
        assert until == pytest.approx(time.time() + 7200, abs=60)
        assert alscope("resume").code == 0
        assert alscope("status", "--json").data["daemon"]["state"] == "running"
        assert "s00006 skipped" in alscope("queue", "skip", "s00006", "--reason", "blurred").out
        assert alscope("queue", "show", "s00006", "--json").data["note"] == "blurred"
        assert "tried again" in alscope("jobs", "retry", str(failed["id"])).out
        assert "cancelled" in alscope("jobs", "cancel", str(running["id"])).out
        assert attendant.killed == [running["id"]]


def test_a_refusal_gives_the_reason(scene, alscope, attended):
    scene.live()
    with attended():
        done = alscope("train")
        assert done.code == 1
        assert done.err == "alscope: no round opened: there is no accepted label to train on yet\n"
        again = alscope("jobs", "retry", "1")
        assert again.code == 1
        assert "cannot go from 'done' to 'ready'" in again.err


def test_without_a_daemon_the_wish_is_kept(scene, alscope):
    scene.live()
    done = alscope("pause", "--for", "90s")
    assert done.code == 69
    assert "is kept" in done.err
    (kept,) = scene.workspace.commands.glob("*.json")
    assert json.loads(kept.read_text()) == {"verb": "pause", "arguments": {"seconds": 90.0}}


def test_a_daemon_that_does_not_answer_is_not_waited_for_long(scene, alscope, monkeypatch):
    scene.live().running()
    monkeypatch.setattr(asking, "ANSWER_S", 0.3)
    done = alscope("resume")
    assert done.code == 69
    assert "not answered" in done.err


@pytest.mark.parametrize("words", [["queue", "skip", "s99"], ["jobs", "retry", "99"], ["jobs", "cancel", "99"]])
def test_what_does_not_exist_is_not_asked_for(scene, alscope, words):
    scene.live()
    assert alscope(*words).code == 64
    assert not list(scene.workspace.commands.iterdir())


@pytest.mark.parametrize("text", ["2x", "0h", "h", "-1h", "1 2h", "nan h", "infh"])
def test_lengths_of_time_that_are_none(alscope, text):
    assert alscope("pause", "--for", text).code == 2


def add(alscope, tmp_path, *more: str, content: bytes = b"good", target: str = "s00005"):
    file = tmp_path / "mine.tif"
    file.write_bytes(content)
    return alscope("label", "add", str(file), "--for", target, *more)


def test_an_accepted_label(scene, alscope, attended, tmp_path):
    scene.live()
    with attended() as attendant:
        done = add(alscope, tmp_path, "--user", "ana", "--empty")
    assert done.code == 0
    assert done.out == "s00005: accepted: 5 objects, for training (1 speck)\n"
    assert attendant.notes == [{"empty": True, "user": "ana"}]
    assert (tmp_path / "mine.tif").exists()
    assert not list(scene.workspace.inbox.iterdir())
    newest = alscope("label", "list", "--json").data[0]
    assert (newest["suggestion"], newest["state"], newest["author"], newest["current"]) == (
        "s00005",
        "accepted",
        "ana",
        True,
    )


def test_a_rejected_label_says_why_and_may_be_mended(scene, alscope, attended, tmp_path):
    scene.live()
    with attended():
        done = add(alscope, tmp_path, content=b"bad")
        assert done.code == 65
        assert done.err == "alscope: rejected: s00005.tif: shape (1, 2, 3), but the patch is (32, 256, 256)\n"
        as_data = add(alscope, tmp_path, "--json", content=b"bad again")
        assert as_data.code == 65
        assert as_data.data["state"] == "rejected"
        assert add(alscope, tmp_path).code == 0


def test_without_a_daemon_a_label_is_kept_and_never_overwritten(scene, alscope, tmp_path):
    scene.live()
    done = add(alscope, tmp_path)
    assert done.code == 0
    assert "kept in the inbox; it is checked when the daemon starts" in done.out
    (kept,) = scene.workspace.inbox.iterdir()
    assert kept.name == "s00005.tif"
    other = add(alscope, tmp_path, content=b"somebody else's")
    assert other.code == 73
    assert "a label waits there" in other.err
    assert kept.read_bytes() == b"good"
    assert len(list(scene.workspace.inbox.iterdir())) == 1


def test_a_slow_verdict_is_not_waited_for_for_ever(scene, alscope, tmp_path, monkeypatch):
    scene.live().running()
    monkeypatch.setattr(label, "VERDICT_S", 0.3)
    done = add(alscope, tmp_path)
    assert done.code == 0
    assert "alscope label list" in done.out
    assert "`alscope label list`" in add(alscope, tmp_path, "--no-wait", target="s00006").out


def test_a_file_that_the_daemon_puts_away_at_once_is_rejected(scene, alscope, tmp_path):
    from daemon.cli import inbox
    from daemon.cli.session import Session

    scene.live()
    session = Session()
    session.option = scene.config
    assert inbox.verdict(session, "s00005", 0, "x")[0] == "rejected"  # gone, and nobody says why
    (scene.workspace.rejected / "s00005.tif.txt").write_text("larger than inbox.max_gb = 4; not a label?\n")
    assert inbox.verdict(session, "s00005", 0, "x") == (
        "rejected",
        "rejected: larger than inbox.max_gb = 4; not a label?",
    )


@pytest.mark.parametrize("name", ["nowhere.tif", "label.png"])
def test_what_is_no_label_file_is_refused_at_once(scene, alscope, tmp_path, name):
    scene.live()
    (tmp_path / "label.png").write_bytes(b"x")
    done = alscope("label", "add", str(tmp_path / name), "--for", "s00005")
    assert done.code == 64
    assert name in done.err
    assert alscope("label", "add", str(tmp_path / name), "--for", "s7").code == 64
