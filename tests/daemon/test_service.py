"""The daemon as a process: one per workspace, quick to end, talks to systemd, imports nothing heavy."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon.executors.port import Order, Progress
from daemon.patience import until_checkpoint
from daemon.service import Pulse, Wake, _once_each
from tests.daemon.daemons import real_daemon

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "pandas", "nnunetv2", "faiss", "skimage", "matplotlib", "napari", "micro_sam")


def test_a_second_daemon_is_refused_with_the_holders_pid(tmp_path):
    with real_daemon(tmp_path) as daemon:
        daemon.start()
        daemon.ready()
        second = daemon.alscope("run")
        assert second.returncode == 75
        assert str(daemon.process.pid) in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1
        assert daemon.stop() == 0
        daemon.start()
        daemon.ready()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_seconds(tmp_path, number):
    with real_daemon(tmp_path) as daemon:
        process = daemon.start()
        daemon.ready()
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 8
        assert daemon.status()["daemon"]["state"] == "stopped"


def test_a_missing_folder_is_a_problem_that_goes_away(tmp_path):
    with real_daemon(tmp_path) as daemon:
        daemon.folder.rmdir()
        daemon.start()
        shot = daemon.wait(lambda s: any(p.kind == "folder" for p in s.problems))
        (problem,) = [p for p in shot.problems if p.kind == "folder"]
        assert str(daemon.folder) in problem.message
        daemon.folder.mkdir()
        daemon.wait(lambda s: not any(p.kind == "folder" for p in s.problems), 60)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ('[[watch]]\nfolder = "in"\nsettle = 3', "did you mean 'watch.settle_s'"),
        ("", "key 'watch' is missing"),
        ("x=", "not valid TOML"),
    ],
)
def test_a_bad_config_is_one_line_and_its_own_exit_code(tmp_path, config, says):
    with real_daemon(tmp_path) as daemon:
        daemon.config.write_text(config)
        ended = daemon.alscope("run")
        assert ended.returncode == 78
        assert says in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


def test_daemon_and_reading_commands_import_nothing_heavy(tmp_path):
    """By looking at what a fresh interpreter has loaded after importing the service, and after `alscope status`."""
    code = (
        "import sys, json\n"
        "import daemon.service, daemon.engine, daemon.dashboard, daemon.status\n"
        "print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(HEAVY) & set(json.loads(out.stdout))
    with real_daemon(tmp_path) as daemon:
        daemon.start()
        daemon.ready()
        for command in (["status"], ["queue"], ["volumes"], ["jobs"], ["models"], ["dashboard", "--once"]):
            ended = subprocess.run(
                [sys.executable, "-X", "importtime", "-m", "daemon.cli.main", "--config", str(daemon.config), *command],
                capture_output=True,
                text=True,
                check=True,
            )
            loaded = {
                line.rsplit("|", 1)[-1].strip().split(".")[0] for line in ended.stderr.splitlines() if "|" in line
            }
            assert not set(HEAVY) & loaded, command


def test_the_package_named_daemon_is_ours():
    import daemon

    assert Path(daemon.__file__).resolve() == ROOT / "daemon" / "__init__.py"


def test_what_is_said_again_while_nothing_can_be_written_is_kept_once_and_in_the_order_of_its_last_time():
    first, second = Progress(1, 1, 0.1, ""), Progress(1, 1, 0.2, "")
    assert _once_each([first, Wake(), second, Progress(1, 1, 0.1, ""), Pulse()]) == [second, first]


def test_a_stop_waits_for_the_checkpoint_of_a_training_that_learns_and_for_nothing_else(tmp_path, monkeypatch):
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        hurrying: list[bool] = []
        patient = until_checkpoint(lambda: bool(hurrying))
        assert not patient(order("predict"), 0.5)
        assert not patient(order("finetune"), 0.0)  # still preparing: nothing is lost
        assert patient(order("finetune"), 0.2)
        assert "EXTEND_TIMEOUT_USEC=" in systemd.recv(1000).decode()
        hurrying.append(True)
        assert not patient(order("finetune"), 0.2)
        hurrying.clear()
        monkeypatch.setattr("daemon.patience.CHECKPOINT_S", 0.0)
        assert not until_checkpoint(lambda: False)(order("finetune"), 0.2)


def order(stage: str) -> Order:
    return Order(1, 1, "key", stage, {}, {}, "cpu", 1, 1, True, True, 60.0)
