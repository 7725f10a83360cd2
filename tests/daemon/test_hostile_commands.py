"""Whatever lies in commands/ and whoever put it there: it is answered or set aside, and the daemon lives on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon import commands
from tests.daemon.play import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    made = Stage(tmp_path)
    yield made
    made.store.close()


def told(verb: str, **arguments: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({"verb": verb, "arguments": arguments}))


@pytest.mark.parametrize(
    ("leave", "says"),
    [
        (lambda path: path.write_text("[" * 200_000), "not a command"),
        (lambda path: path.write_bytes(b" " * (commands.MOST_COMMAND + 1)), "larger than 1 MB"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not a command"),
        (lambda path: os.mkfifo(path), "is no plain file"),
        (lambda path: path.symlink_to("/etc/passwd"), "is no plain file"),
        (told("\ud800"), "is not something the daemon can do"),
        (told("pause", seconds="soon"), "pause cannot be done with what was said"),
        (told("retry", id="x"), "retry cannot be done"),
        (told("retry", id=1 << 70), "retry cannot be done"),
        (told("cancel", id=[1]), "cancel cannot be done"),
    ],
    ids=["deep", "large", "no text", "pipe", "link", "no verb", "no number", "no id", "huge id", "list"],
)
def test_what_is_no_command_is_answered_and_goes(stage: Stage, leave: Callable[[Path], object], says: str) -> None:
    path = stage.workspace.commands / "1.json"
    leave(path)
    assert commands.obey(stage.engine, stage.now) == 1
    ok, words = stage.store.state.command_outcome("1")
    assert not ok
    assert says in words
    assert not os.path.lexists(path)


def test_a_folder_is_no_command(stage: Stage) -> None:
    (stage.workspace.commands / "1.json").mkdir()
    assert commands.obey(stage.engine, stage.now) == 0


@pytest.mark.parametrize("kind", ["deep", "pipe", "link"])
def test_what_is_said_about_a_label_may_be_anything(stage: Stage, tmp_path: Path, kind: str) -> None:
    note = stage.workspace.commands / "label-s00001.note"
    if kind == "deep":
        note.write_text("[" * 60_000)
    elif kind == "pipe":
        os.mkfifo(note)
    else:
        (tmp_path / "other.json").write_text('{"user": "somebody else"}')
        note.symlink_to(tmp_path / "other.json")
    assert commands.label_note(stage.workspace, "s00001") == {}
