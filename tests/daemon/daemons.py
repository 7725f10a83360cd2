"""Real daemons in child processes, for tests that start, kill and question them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from daemon.store.connection import DATABASE, open_reader
from daemon.store.report import snapshot
from daemon.store.views import Snapshot


class RealDaemon:
    """`alscope run` on a folder of its own: root/in is watched, root/ws is the workspace.

    prefix: words in front of the daemon's command line, such as a program that starts it with fewer rights.
    """

    prefix: tuple[str, ...] = ()

    def __init__(self, root: Path, config: str = "", environment: dict[str, str] | None = None) -> None:
        self.root = root
        self.folder = root / "in"
        self.workspace = root / "ws"
        self.config = root / "config.toml"
        self.folder.mkdir(exist_ok=True)
        self.config.write_text(
            config
            or 'workspace = "ws"\n[[watch]]\nfolder = "in"\nsettle_s = 0.5\n[run]\nmin_free_gb = 0.0\nrescan_s = 2.0\n'
        )
        self.config.chmod(0o640)  # as `alscope init` leaves it
        self.environment = os.environ | (environment or {})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.root / "daemon.log").read_text(errors="replace")

    def alscope(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line on this configuration."""
        return subprocess.run(
            [sys.executable, "-m", "daemon.cli.main", "--config", str(self.config), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.alscope("status", "--json").stdout)
        return found

    def start(self) -> subprocess.Popen[bytes]:
        with open(self.root / "daemon.log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "daemon.cli.main", "--config", str(self.config), "run"],
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        return self.process

    def ready(self, timeout: float = 60) -> None:
        """Wait until the daemon has taken the workspace."""
        pid = self.process.pid if self.process else 0
        self.wait(lambda shot: shot.daemon.pid == pid and shot.daemon.state == "running", timeout)

    def shot(self) -> Snapshot | None:
        if not (self.workspace / "alscope.db").exists():
            return None
        with contextlib.suppress(Exception):
            return snapshot(self.workspace, time.time())
        return None

    def jobs(self, stage: str) -> list[str]:
        """State of every job of a stage, oldest first."""
        with contextlib.closing(open_reader(self.workspace / DATABASE)) as db:
            return [r["state"] for r in db.execute("SELECT state FROM job WHERE stage = ? ORDER BY id", [stage])]

    def wait(self, until: Callable[[Snapshot], bool], timeout: float = 120) -> Snapshot:
        """Wait until the state is as wanted; says what it is when it never gets there."""
        end = time.monotonic() + timeout
        shot = None
        while time.monotonic() < end:
            shot = self.shot()
            if shot is not None and until(shot):
                return shot
            assert self.process is None or self.process.poll() is None, f"the daemon ended:\n{self.log[-3000:]}"
            time.sleep(0.1)
        raise AssertionError(f"not reached within {timeout} s: {shot}\n{self.log[-3000:]}")

    def family(self) -> list[psutil.Process]:
        """The daemon's descendants."""
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def kill(self) -> None:
        """kill -9, and wait until all its workers are gone too."""
        assert self.process is not None
        family = self.family()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        _gone(family)

    def stop(self, timeout: float = 15) -> int:
        """SIGTERM; returns the exit status. Fails when it takes too long or leaves children."""
        assert self.process is not None
        family = self.family()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout)
        _gone(family)
        return status


def _gone(processes: list[psutil.Process], timeout: float = 15) -> None:
    _, alive = psutil.wait_procs(processes, timeout)
    alive = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not alive, f"orphans: {alive}"


@contextlib.contextmanager
def real_daemon(root: Path, config: str = "", environment: dict[str, str] | None = None) -> Iterator[RealDaemon]:
    """A RealDaemon that does not outlive the test."""
    made = RealDaemon(root, config, environment)
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait()
