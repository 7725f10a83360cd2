"""`alscope annotate` from claim to verdict: real windows with a person at them, somebody who plays the daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from alcore.annotate.draft_files import drafted_by
from alcore.annotate.order import OPENED
from daemon.cli import sitting
from daemon.cli.claiming import NothingWaitsError
from daemon.cli.main import main
from daemon.cli.session import Session
from daemon.cli.sitting import NoWindowError, Sitting
from daemon.errors import NotRunningError
from tests.annotate.conftest import DRIVER
from tests.annotate.patches import suggestion
from tests.daemon.cli.conftest import Attendant
from tests.daemon.scene import Scene


@pytest.fixture
def scene(tmp_path: Path, screen: dict[str, str], monkeypatch) -> Iterator[Scene]:
    """Three patches wait, with folders that can be opened."""
    for name, value in screen.items():
        monkeypatch.setenv(name, value)
    made = Scene(tmp_path)
    made.volume("a.tif")
    for name in made.suggest(3):
        (made.workspace.queue / name / "image.tif").unlink()
        (made.workspace.queue / name).rmdir()
        suggestion(made.workspace.queue / name)
    yield made
    made.close()


@pytest.fixture
def attendant(scene: Scene) -> Iterator[Attendant]:
    """Plays the daemon."""
    made = Attendant(scene.running())
    made.start()
    yield made
    made.end()


@pytest.fixture
def sit(scene: Scene) -> Callable[[str], Sitting]:
    """A function from a scenario to a sitting of ana's."""

    def begin(scenario: str) -> Sitting:
        session = Session()
        session.option = scene.config
        return Sitting(session, "ana", True, (sys.executable, str(DRIVER), scenario))

    return begin


def seen(scene: Scene, name: str) -> Any:
    return json.loads((scene.workspace.drafts / name / "ana" / "seen.json").read_text())


def state(scene: Scene, name: str) -> str:
    return str(next(scene.store.state._db.query("SELECT state FROM suggestion WHERE id = ?", [name]))["state"])


def given_back(scene: Scene, name: str) -> bool:
    """A patch is given back without waiting for the daemon, who comes to it a moment later."""
    until = time.monotonic() + 10
    while state(scene, name) != "open" and time.monotonic() < until:
        time.sleep(0.05)
    return state(scene, name) == "open"


def test_patch_after_patch_is_handed_in_skipped_or_given_back(scene, attendant, sit, capsys) -> None:
    assert sit("draw_and_go_on").run(None, False) == 0
    said = capsys.readouterr().out
    assert given_back(scene, "s00003")
    attendant.end()
    assert [state(scene, f"s0000{n}") for n in (1, 2, 3)] == ["accepted", "skipped", "open"]
    (drawn,) = attendant.notes
    assert drawn["user"] == "ana" and not drawn["empty"] and drawn["tool"] == "alscope annotate, napari"
    assert drawn["work"]["clicks"] >= 3 and drawn["work"]["changed_voxels"] > 0 and drawn["work"]["open_s"] > 0
    first = seen(scene, "s00001")
    assert ["why", "far from the rest"] in first["facts"] and len(first["progress"]) == 1
    assert any("s00001: accepted" in line for line in seen(scene, "s00003")["news"] + seen(scene, "s00002")["news"])
    drafts = scene.workspace.drafts
    assert [drafted_by(drafts / f"s0000{n}" / "ana") is not None for n in (1, 3)] == [False, True]
    assert "s00002: skipped (out of focus)" in said and "draft is kept, the patch is back in the queue" in said
    assert not list(drafts.glob("window-*.log"))


def test_a_window_that_dies_gives_the_patch_back_and_harms_nobody(scene, attendant, sit) -> None:
    with pytest.raises(NoWindowError, match="s00001: the window ended without a word"):
        sit("draw_and_die").run("s00001", False)
    assert given_back(scene, "s00001") and attendant.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_when_the_command_ends_the_window_closes_and_keeps_the_draft(scene, attendant, how: signal.Signals) -> None:
    code = (
        "import sys; from daemon.cli import sitting; from daemon.cli.main import main\n"
        f"sitting.PROGRAM = {(sys.executable, str(DRIVER), 'wait')!r}\n"
        "sitting.Sitting.__init__.__defaults__ = (sitting.PROGRAM,)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["--config", str(scene.config), "annotate", "s00002", "--user", "ana", "--plain"]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    work = scene.workspace.drafts / "s00002" / "ana"
    until = time.monotonic() + 120
    while not (work / "seen.json").exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.1)
    assert (work / OPENED).exists() and state(scene, "s00002") == "claimed"
    time.sleep(0.5)
    windows = psutil.Process(process.pid).children(recursive=True)
    assert windows
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    _, left = psutil.wait_procs(windows, timeout=30)
    assert not left, "orphans"
    assert drafted_by(work) is not None
    if how == signal.SIGKILL:
        assert state(scene, "s00002") == "claimed", "until its lease is over: nobody was left to give it back"
    else:
        assert process.returncode == 130, err.decode()
        assert given_back(scene, "s00002")


def test_what_stands_in_the_way_is_one_line(scene, capsys, monkeypatch) -> None:
    def run(*arguments: str) -> SimpleNamespace:
        code = main(["--config", str(scene.config), "annotate", *arguments])
        return SimpleNamespace(code=code, err=capsys.readouterr().err)

    assert run("--plain").code == NotRunningError.exit_code
    missing = run("s99999", "--plain")
    assert missing.code == 64 and "there is no suggestion 's99999'" in missing.err
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert "there is no screen here" in run().err
    monkeypatch.setattr(sitting, "missing_window", lambda: ["napari"])
    assert 'the annotation window needs napari, not installed: pip install ".[annotate]"' in run().err
    assert os.path.isdir(scene.workspace.drafts)


def test_the_window_loads_its_libraries_while_the_patch_is_still_claimed(scene, attendant, sit, monkeypatch) -> None:
    begun: list[list[str]] = []

    def claim(*given: Any) -> str:
        begun.append([c.name() for c in psutil.Process().children()])
        raise NothingWaitsError("nothing waits for ana")

    monkeypatch.setattr(sitting.claiming, "claim", claim)
    before = [c.name() for c in psutil.Process().children()]
    assert sit("wait").run(None, False) == 0
    assert len(begun[0]) == len(before) + 1
    assert [c.name() for c in psutil.Process().children()] == before, "nobody needs it any more"


def test_without_a_daemon_nothing_is_begun_and_no_wish_is_left(scene, sit) -> None:
    with pytest.raises(NotRunningError, match="the daemon is not running"):
        sit("wait").run(None, False)
    assert not list(scene.workspace.commands.iterdir())
