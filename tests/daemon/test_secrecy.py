"""Secrets come from the environment or a file that others cannot read, reach no worker and no message; nothing listens."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import psutil
import pytest

from daemon.cli.main import main
from daemon.config import load
from daemon.courier import Letter, by_command
from daemon.errors import ConfigError
from daemon.executors.port import Places
from daemon.executors.process import Worker
from daemon.secrecy import SECRETS, WEBHOOK
from daemon.webhook import by_webhook
from tests.daemon.daemons import real_daemon

SECRET = "https://chat.example.org/hooks/T0P5ECRET"


def written(folder: Path, mode: int, alarms: str) -> Path:
    path = folder / "config.toml"
    path.write_text(f'[[watch]]\nfolder = "in"\n[alarms]\n{alarms}\n')
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("mode", "alarms", "says"),
    [
        (0o644, f'webhook = "{SECRET}"', "chmod o-r config.toml"),
        (0o640, f'webhook = "{SECRET}"', ""),
        (0o644, 'webhook = "http://127.0.0.1:9000"', ""),
        (0o644, f'webhook = "${WEBHOOK}"', ""),
        (0o646, f'webhook = "${WEBHOOK}"', ""),
        (0o646, 'command = ["notify-send"]', "chmod o-w config.toml"),
        (0o644, 'command = ["notify-send"]', ""),
        (0o666, "disk_gb = 5.0", ""),
    ],
)
def test_what_others_may_do_with_a_file_that_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, alarms: str, says: str
) -> None:
    monkeypatch.setenv(WEBHOOK, SECRET)
    path = written(tmp_path, mode, alarms)
    if not says:
        load(path)
        return
    with pytest.raises(ConfigError) as e:
        load(path)
    assert says in str(e.value)
    assert "T0P5ECRET" not in str(e.value)


def test_the_address_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, 0o644, f'webhook = "${WEBHOOK}"')
    monkeypatch.setenv(WEBHOOK, SECRET)
    assert load(path).alarms.webhook == SECRET
    assert "T0P5ECRET" not in repr(load(path))
    monkeypatch.setenv(WEBHOOK, "chat.example.org/hooks/T0P5ECRET")
    with pytest.raises(ConfigError, match=r"alarms.webhook = \.\.\.: must be an address") as e:
        load(path)
    assert "T0P5ECRET" not in str(e.value)


def test_without_the_variable_people_can_look_but_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service knows the address; whoever asks for the queue need not."""
    path = written(tmp_path, 0o644, f'webhook = "${WEBHOOK}"')
    monkeypatch.delenv(WEBHOOK, raising=False)
    settings = load(path)
    letter = Letter((1,), "test", "a trial", {})
    assert by_webhook(settings.alarms.webhook, 5)(letter, threading.Event()).endswith(f"{WEBHOOK} is not set")
    assert main(["--config", str(path), "run"]) == ConfigError.exit_code
    assert f"{WEBHOOK} is not set" in capsys.readouterr().err


def test_programs_for_alarms_know_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEBHOOK, SECRET)
    words = [sys.executable, "-c", f"import os, sys; sys.exit({WEBHOOK!r} in os.environ)"]
    assert by_command(words, 20, tmp_path)(Letter((1,), "test", "a trial", {}), threading.Event()) == ""


@pytest.mark.parametrize("content", ["a = " + "[" * 100_000, "# " + "x" * (1 << 20)])
def test_a_config_that_is_none_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.toml: (larger than|not )"):
        load(tmp_path / "config.toml")


def test_workers_know_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They open strangers' files; what they do not know, a file cannot make them tell."""
    for name in (*SECRETS, "WATCHDOG_USEC"):
        monkeypatch.setenv(name, "T0P5ECRET")
    worker = Worker(Places(tmp_path, tmp_path, tmp_path / "jobs"), 0, 1)
    try:
        assert b"T0P5ECRET" not in Path(f"/proc/{worker.pid}/environ").read_bytes()
    finally:
        worker.end()


def test_nothing_listens_and_strangers_may_not_look(tmp_path: Path) -> None:
    """A daemon with its workers, by the settings of a new workspace and the usual umask."""
    before = os.umask(0o022)
    try:
        with real_daemon(tmp_path) as daemon:
            (daemon.folder / "a.tif").write_bytes(b"no image")
            daemon.start()
            daemon.ready()
            daemon.wait(lambda shot: shot.volumes["set_aside"] == 1)  # a worker is there
            assert daemon.process is not None
            top = psutil.Process(daemon.process.pid)
            family = [top, *top.children(recursive=True)]
            assert len(family) > 1
            assert [c for p in family for c in p.net_connections("inet")] == []
            made = [daemon.workspace, *daemon.workspace.iterdir()]
            assert {p.name: oct(stat.S_IMODE(p.stat().st_mode)) for p in made if p.stat().st_mode & 0o007} == {}
            assert stat.S_IMODE(daemon.workspace.stat().st_mode) == 0o750
            daemon.stop()
    finally:
        os.umask(before)
