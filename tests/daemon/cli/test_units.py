"""The systemd units: accepted without a word, closed as far as CUDA allows, and written for this machine by `alscope service`."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli import service
from daemon.cli.main import main
from daemon.units import DASK, HOME, PROGRAM, for_a_cluster, quoted, shipped

ROOT = Path(__file__).resolve().parents[3]
needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian package systemd)"
)
MOST_EXPOSED = 25
"""In tenths, of 10 (wide open)."""


def analyze(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`verify` exits 0 on unknown keys and bad values: its standard error is what counts."""
    environment = os.environ | {"XDG_RUNTIME_DIR": str(path.parent)}
    command = ["systemd-analyze", *words, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def verified(text: str, path: Path, user: bool) -> str:
    path.write_text(text)
    return analyze(path, *(["--user"] if user else []), "verify", "--recursive-errors=no").stderr


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in a folder with an awkward name; nothing of this machine is touched."""
    folder = tmp_path / 'a "b" $HOME 100% é'
    (folder / "in").mkdir(parents=True)
    (folder / "ws").mkdir()
    (folder / "config.toml").write_text('workspace = "ws"\n[[watch]]\nfolder = "in"\n')
    if os.geteuid() == 0:
        os.chown(folder / "ws", 1, 1)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setattr(service, "SYSTEM_UNITS", tmp_path / "system")
    monkeypatch.setattr(service, "BOOTED", tmp_path)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    systemctl(tmp_path, "ActiveState=inactive")
    return folder


def systemctl(root: Path, answer: str) -> None:
    """A program of that name, with one answer."""
    path = root / "bin" / "systemctl"
    path.write_text(f"#!/bin/sh\ncat <<.\n{answer}\n.\n")
    path.chmod(0o755)


def alscope(folder: Path, *words: str) -> int:
    return main(["--config", str(folder / "config.toml"), "service", *words])


def test_the_units_in_the_repository_are_those_that_the_command_writes():
    units = shipped() | for_a_cluster()
    assert {name: (ROOT / "systemd" / name).read_text() for name in units} == units
    assert {p.name for p in (ROOT / "systemd").rglob("*") if p.is_file()} == {Path(name).name for name in units}


@needs_analyze
@pytest.mark.parametrize("name", list(for_a_cluster()))
def test_systemd_accepts_the_units_of_a_cluster_without_a_word(tmp_path, name):
    text = for_a_cluster()[name].replace(DASK, sys.executable).replace(PROGRAM, sys.executable)
    assert verified(text, tmp_path / name, False) == ""


@needs_analyze
@pytest.mark.parametrize("name", list(shipped()))
def test_systemd_accepts_the_units_without_a_word_and_finds_them_closed(tmp_path, name):
    text = shipped()[name].replace(PROGRAM, sys.executable).replace("%h/alscope/.venv/bin/alscope", sys.executable)
    path = tmp_path / Path(name).name
    user = name.startswith("user/")
    assert verified(text, path, user) == ""
    assert "Unknown" in verified(text.replace("[Service]\n", "[Service]\nNice=10\nNonsense=1\n"), path, user)
    if not user:
        path.write_text(text)
        ended = analyze(path, "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}")
        assert ended.returncode == 0, ended.stdout.splitlines()[-1]


@needs_analyze
@pytest.mark.parametrize("scope", ["--system", "--user"])
def test_the_unit_for_this_machine_is_accepted_whatever_the_folder_is_called(workspace, tmp_path, capsys, scope):
    assert alscope(workspace, "install", "--print", scope) == 0
    text = capsys.readouterr().out
    assert verified(text, tmp_path / "alscope.service", scope == "--user") == ""
    assert ("ReadWritePaths=" in text) == (scope == "--system")
    if scope == "--system" and os.geteuid() == 0:
        assert f"User={pwd.getpwuid(1).pw_name}\n" in text


def test_a_word_is_read_back_by_systemd_as_it_was():
    assert quoted("plain/%i") == "plain/%i"
    assert quoted('a "b" $x 5%', True) == '"a \\"b\\" $$x 5%%"'
    assert HOME in shipped()["alscope@.service"]


def test_it_is_installed_once_brought_up_to_date_and_removed(workspace, tmp_path, capsys):
    path = tmp_path / "configuration" / "systemd" / "user" / "alscope-em.service"
    words = ("--user", "--name", "em")
    assert alscope(workspace, "status", *words) == 69
    assert "is not there" in capsys.readouterr().out
    assert alscope(workspace, "install", *words) == 0
    told = capsys.readouterr().out
    assert f"{path}: written" in told
    assert "`systemctl --user enable --now alscope-em.service`" in told
    assert "enable-linger" in told
    before = path.stat().st_mtime_ns
    assert path.stat().st_mode & 0o777 == 0o644
    assert alscope(workspace, "install", *words) == 0
    assert "is as it should be" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == before
    path.write_text(path.read_text().replace("Nice=10", "Nice=11"))
    systemctl(tmp_path, "ActiveState=active\nUnitFileState=enabled\nStatusText=running | idle")
    assert alscope(workspace, "status", *words) == 0
    told = capsys.readouterr().out
    assert "enabled, active; it is not that of this config.toml" in told
    assert "running | idle" in told
    assert alscope(workspace, "status", "--json", *words) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["installed"], found["current"], found["systemd"]["ActiveState"]) == (True, False, "active")
    assert alscope(workspace, "install", *words) == 0
    assert "Nice=10" in path.read_text()
    assert alscope(workspace, "uninstall", *words) == 64
    assert "disable --now alscope-em.service" in capsys.readouterr().err
    systemctl(tmp_path, "ActiveState=inactive\nUnitFileState=disabled")
    assert alscope(workspace, "uninstall", *words) == 0
    assert not path.exists()
    assert alscope(workspace, "uninstall", *words) == 0


def test_a_unit_of_somebody_else_is_left_alone(workspace, tmp_path, capsys):
    path = tmp_path / "configuration" / "systemd" / "user" / "alscope.service"
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\n")
    assert alscope(workspace, "install", "--user") == 64
    assert alscope(workspace, "uninstall", "--user") == 64
    assert capsys.readouterr().err.count("somebody else wrote it") == 2
    assert path.read_text() == "[Service]\n"


def test_without_systemd_it_says_so_in_one_line(workspace, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(service, "BOOTED", tmp_path / "nowhere")
    assert alscope(workspace, "install", "--user") == 69
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "systemd does not run this machine" in told[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to own a folder as root")
def test_it_does_not_run_as_root(workspace, capsys):
    os.chown(workspace / "ws", 0, 0)
    assert alscope(workspace, "install", "--system") == 64
    assert "belongs to root" in capsys.readouterr().err


def test_a_name_that_is_a_path_is_refused(workspace, capsys):
    assert alscope(workspace, "install", "--user", "--name", "../x") == 64
    assert "--name" in capsys.readouterr().err
