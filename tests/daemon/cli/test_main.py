"""The command line as a whole: quick, and one line for an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli.main import main
from daemon.config import load
from daemon.config_file import workspace_of
from daemon.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
HEAVY = (
    "torch",
    "numpy",
    "nnunetv2",
    "faiss",
    "skimage",
    "tifffile",
    "sqlite_utils",
    "watchdog",
    "apscheduler",
    "pydantic",
)


def imported_by(*arguments: str) -> set[str]:
    """Top-level modules that a command imports."""
    code = (
        "import sys; from daemon.cli.main import main; main(sys.argv[1:]);"
        "sys.stderr.write('\\n' + ' '.join({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


def test_help_imports_no_command_and_nothing_heavy():
    assert imported_by("--help").isdisjoint({*HEAVY, "rich", "sqlite3"})


@pytest.mark.parametrize(
    "command", [("status",), ("status", "--json"), ("queue",), ("jobs",), ("volumes",), ("models",)]
)
def test_reading_commands_import_nothing_heavy(scene, command):
    scene.live()
    assert imported_by("--config", str(scene.config), *command).isdisjoint(HEAVY)


def test_a_misspelt_command_is_recognised(capsys):
    assert main(["statsu"]) == 2
    assert "did you mean 'status'?" in capsys.readouterr().err


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("alscope 0.")


def test_no_config_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALSCOPE_CONFIG", raising=False)
    assert main(["status"]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("alscope: config.toml: no such configuration file")
    assert "alscope init" in err
    assert err.count("\n") == 1


def test_a_hostile_path_in_a_message_stays_on_its_line(tmp_path, capsys):
    assert main(["--config", str(tmp_path / "a\x1b[31m\nb.toml"), "status"]) == 78
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 1


def test_config_before_or_after_the_command_or_in_the_environment(scene, monkeypatch, capsys):
    assert main(["status", "--config", str(scene.config), "--json"]) == 0
    monkeypatch.setenv("ALSCOPE_CONFIG", str(scene.config))
    assert main(["status", "--json"]) == 0


@pytest.mark.parametrize("command", ["queue", "jobs", "volumes", "label list"])
def test_before_the_first_run_each_command_says_so(tmp_path, command, capsys):
    (tmp_path / "config.toml").write_text('[[watch]]\nfolder = "in"\n')
    code = main(["--config", str(tmp_path / "config.toml"), *command.split()])
    out, err = capsys.readouterr()
    assert code in (0, 73)
    assert "alscope" in out + err
    assert err.count("\n") <= 1


@pytest.mark.parametrize(
    "text", ["", 'workspace = "a/b"\n', 'workspace = "/tmp/x"\n', 'workspace = "~/x"\n', 'workspace = "../y"\n']
)
def test_the_workspace_is_the_one_of_the_whole_configuration(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text + '[[watch]]\nfolder = "in"\n')
    assert workspace_of(path) == load(path).workspace


@pytest.mark.parametrize("text", ["workspace = 3\n", "workspace = \n", "\xff"])
def test_a_workspace_that_cannot_be_known_is_an_error(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="config"):
        workspace_of(path)


def test_output_survives_a_terminal_that_is_not_utf8_and_a_reader_that_leaves(scene):
    scene.troubled().running()
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "daemon.cli.main", "--config", str(scene.config)]
    done = subprocess.run([*command, "status"], capture_output=True, cwd=ROOT, env=ascii_only, check=True)
    assert b"\\u2717" in done.stdout
    piped = subprocess.run(
        f"{' '.join(command)} status | head -c 1", shell=True, capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "Traceback" not in piped.stderr


def test_status_json_carries_what_scripts_rely_on(scene, alscope):
    scene.troubled().running()
    data = alscope("status", "--json").data
    assert data["daemon"]["pid"] == os.getpid()
    assert {"state", "pid", "since", "version"} <= data["daemon"].keys()
    assert {"id", "volume", "start", "shape", "rank", "distance", "state", "reason"} <= data["queue"][0].keys()
    assert {"stage", "progress", "note"} <= data["jobs"]["running"][0].keys()
    assert data["jobs"]["by_state"]["failed"] == 1
    assert {"version", "kind", "parent", "n_labels", "scores", "state"} <= data["models"][0].keys()
    assert {"volumes", "patches", "labels", "rounds", "problems"} <= data.keys()
    json.dumps(data)


def test_status_says_how_it_is_in_its_exit_code_when_asked(scene, alscope):
    assert alscope("status").code == 0
    assert alscope("status", "--check").code == 69
    scene.running()
    assert alscope("status", "--check").code == 0
    scene.set_aside("cut.tif", "cut.tif: cut")
    assert alscope("status", "--check").code == 1


def test_the_dashboard_prints_once_into_a_pipe(scene, alscope):
    scene.troubled().running()
    for arguments in (["dashboard"], ["dashboard", "--once"]):
        done = alscope(*arguments)
        assert done.code == 0
        assert "fine-tuning, round 3" in done.out
        assert "\x1b" not in done.out
