"""SIGHUP: config.toml is read again by a daemon that runs, and systemd is told how it is."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from daemon.config import from_mapping
from daemon.reload import FIXED, differences, reread
from tests.daemon.daemons import RealDaemon, real_daemon

CONFIG = """workspace = "ws"
[[watch]]
folder = "in"
settle_s = 0.3
[run]
min_free_gb = 0.0
"""


class Systemd:
    """The other end of the notify socket."""

    def __init__(self, address: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(address))
        self.socket.settimeout(30)
        self.heard: list[str] = []

    def hear(self, what: str) -> str:
        """Wait for a message that begins like this."""
        while True:
            self.heard.append(self.socket.recv(4096).decode())
            if self.heard[-1].startswith(what):
                return self.heard[-1]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealDaemon, Systemd]]:
    root = tmp_path_factory.mktemp("daemon")
    systemd = Systemd(root / "notify")
    with (
        contextlib.closing(systemd.socket),
        real_daemon(root, CONFIG, {"NOTIFY_SOCKET": str(root / "notify")}) as daemon,
    ):
        daemon.start()
        yield daemon, systemd


def test_it_says_that_it_is_ready_and_then_that_it_lives_and_what_it_does(running):
    _, systemd = running
    systemd.hear("READY=1")
    assert systemd.heard == ["READY=1"]
    systemd.hear("WATCHDOG=1")
    assert systemd.hear("STATUS=").startswith("STATUS=running | idle")
    assert systemd.heard[1] == "WATCHDOG=1"


def test_other_settings_are_in_force_without_a_restart(running):
    daemon, systemd = running
    (daemon.root / "more").mkdir()
    more = '[[watch]]\nfolder = "more"\nsettle_s = 0.3\n'
    text = CONFIG.replace("[run]", more + "[run]\nworkers = 3\nrescan_s = 1.5") + "[selection]\nqueue_depth = 3\n"
    daemon.config.write_text(text)
    pid = daemon.process.pid
    daemon.process.send_signal(signal.SIGHUP)
    assert systemd.hear("RELOADING=1").count("MONOTONIC_USEC=") == 1
    systemd.hear("READY=1")
    volume = np.random.default_rng(0).integers(0, 200, (4, 64, 64)).astype(np.uint8)
    tifffile.imwrite(daemon.root / "more" / "a.tif", volume, metadata={"axes": "ZYX"}, photometric="minisblack")
    shot = daemon.wait(lambda s: s.volumes["ingested"] == 1)
    assert shot.daemon.pid == pid
    said = "now in force: watch.folder, selection.queue_depth, run.rescan_s; after a restart: run.workers"
    assert any(said in e.message for e in shot.events)
    assert [p.message for p in shot.problems if p.kind == "config"] == [
        "changed in config.toml, but in force after a restart: run.workers"
    ]


@pytest.mark.parametrize(
    ("wrong", "names"),
    [("[run]\nnicer = 3\n", "run.nicer"), ("[training]\nevery = 0\n", "training.every"), ("[", "TOML")],
)
def test_a_wrong_config_is_refused_with_its_key_and_the_old_one_stays(running, wrong, names):
    daemon, systemd = running
    before = daemon.config.read_text()
    daemon.config.write_text(CONFIG.partition("[run]")[0] + wrong)
    daemon.process.send_signal(signal.SIGHUP)
    systemd.hear("RELOADING=1")
    systemd.hear("READY=1")
    (told,) = [p.message for p in daemon.shot().problems if p.subject == "config.toml"]
    assert names in told
    assert told.endswith("the settings from before stay in force")
    assert told in daemon.log
    daemon.config.write_text(before)
    daemon.process.send_signal(signal.SIGHUP)
    systemd.hear("RELOADING=1")
    systemd.hear("READY=1")
    assert not [p for p in daemon.shot().problems if p.subject == "config.toml"]
    assert daemon.process.poll() is None


def test_it_says_that_it_stops(running):
    daemon, systemd = running
    assert daemon.stop() == 0
    systemd.hear("STOPPING=1")


@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_is_gone_ends_it(tmp_path, nohup):
    """As the kernel has it: the program that leads the session of a terminal gets a SIGHUP when the terminal goes.

    nohup leaves that signal ignored, as these tests themselves may have been started.
    """
    with real_daemon(tmp_path, CONFIG) as daemon:
        ours, theirs = pty.openpty()
        code = (
            f"import fcntl, signal, termios, sys; signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if nohup else 'SIG_DFL'}); "
            "fcntl.ioctl(0, termios.TIOCSCTTY, 0); from daemon.cli.main import main; sys.exit(main())"
        )
        with open(tmp_path / "daemon.log", "ab") as log:
            daemon.process = subprocess.Popen(
                [sys.executable, "-c", code, "--config", str(daemon.config), "run"],
                stdin=theirs,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(theirs)
        daemon.ready()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait(lambda s: any("config.toml was read again" in e.message for e in s.events))
        os.close(ours)
        if nohup:
            daemon.wait(lambda s: sum("config.toml was read again" in e.message for e in s.events) == 2)
            daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(10) == 0


def settings(root: Path, **tables):
    return from_mapping({"watch": [{"folder": "in"}]} | tables, root / "config.toml")


def test_keys_that_cannot_change_keep_their_values_until_a_restart(tmp_path):
    now = settings(tmp_path)
    cluster = {"executor": "dask", "address": "tcp://10.0.0.5:8786", "device": "cuda"}
    tables = {"run": cluster | {"workers": 2, "nice": 3, "threads": 2, "seed": 7}, "workspace": "other"}
    found = reread(now, settings(tmp_path, **tables))
    assert set(found.waiting) == set(FIXED)
    assert found.changed == ("run.seed",)
    assert differences(now, found.settings) == ("run.seed",)
    assert found.settings.file == now.file


def test_what_changed_in_watched_folders_is_named(tmp_path):
    now = settings(tmp_path)
    other = settings(tmp_path, watch=[{"folder": "in", "axes": "ZYX"}, {"folder": "b"}])
    assert differences(now, other) == ("watch.folder", "watch.axes")
    assert differences(now, settings(tmp_path)) == ()
    assert reread(now, settings(tmp_path)).words() == "config.toml was read again; nothing changed"
