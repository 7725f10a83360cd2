"""Faults of real daemons with real workers on small real volumes, from their arrival to a queue that is ready."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import tifffile

from alcore.arrays.synthetic import em_volume
from daemon.store.connection import DATABASE
from daemon.store.views import Snapshot
from tests.daemon.daemons import RealDaemon, real_daemon
from tests.faults.campaign.judge import Found
from tests.faults.campaign.points import Plan, environment
from tests.faults.invariants import check, digests

N_VOLUMES, QUEUE, KILLS = 2, 3, 6
DAEMON, WORKER = "daemon.cli.main", "daemon.executors.worker"
UNMOUNTED = "watched folder unmounted"
MARK = "ALSCOPE_TEST_FAMILY"
CONFIG = f"""
workspace = "ws"
[[watch]]
folder = "in"
settle_s = 0.2
[patch]
shape_px = [8, 48, 48]
[encoder]
size = "descriptor"
[selection]
queue_depth = {QUEUE}
[training]
pretrain = false
every = 1000
[pseudo]
backend = "threshold"
[inbox]
settle_s = 0.2
[run]
min_free_gb = 0.0
rescan_s = 2.0
nice = 10
workers = 1
threads = 1
"""


@dataclass
class Run:
    """One watched folder and its workspace, and what was found."""

    root: Path
    rng: random.Random
    found: Found = field(default_factory=Found)
    faults: int = 0
    points: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "in").mkdir(parents=True)
        for n in range(N_VOLUMES):
            image, _ = em_volume((8, 96, 96), (0.04, 0.02, 0.02), np.random.default_rng(n))
            tifffile.imwrite(self.root / "in" / f"{n}.tif", image, metadata={"axes": "ZYX"})
        self.watched = digests(self.root / "in")
        self.mark = uuid.uuid4().hex

    def judge(self) -> None:
        """The daemon is dead: is all of its family, and does all hold that must?"""
        until = time.monotonic() + 15
        while left := self.family():
            if time.monotonic() > until:
                self.found.violations.append(f"left running: {[p.cmdline() for p in left]}")
                for process in left:
                    process.kill()
                break
            time.sleep(0.1)
        if digests(self.root / "in") != self.watched:
            self.found.violations.append("the watched folder was changed")
        try:
            check(self.root / "ws")
        except (AssertionError, OSError, LookupError, ValueError) as e:
            self.found.violations.append(f"{type(e).__name__}: {e}"[:500])
        except sqlite3.OperationalError as e:
            if "no such table" not in str(e) and "unable to open" not in str(e):  # killed before there was anything
                self.found.violations.append(str(e))

    def family(self) -> list[psutil.Process]:
        """Every process that came from this run's daemons, whoever its parent is now."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found

    def to_the_end(self, daemon: RealDaemon) -> None:
        """Left in peace, the daemon gets everything done, and ends in good order."""
        try:
            shot = daemon.wait(lambda shot: done(shot) and self._has_taken_over(daemon), 120)
            if shot.volumes["ingested"] != N_VOLUMES:
                self.found.duplicated.append(f"{shot.volumes['ingested']} volumes of {N_VOLUMES}")
            self.found.stuck += failed(self.root / "ws")
            if daemon.stop(60) != 0:
                self.found.violations.append("it did not stop in good order")
        except AssertionError as e:
            self.found.stuck.append(str(e)[-500:])
            with contextlib.suppress(AssertionError):
                daemon.kill()
        self.judge()

    def _has_taken_over(self, daemon: RealDaemon) -> bool:
        """Everything may have been done by those before it: one that is still starting may end of a SIGTERM as it likes."""
        assert daemon.process is not None
        with contextlib.closing(sqlite3.connect(f"file:{self.root / 'ws' / DATABASE}?mode=ro", uri=True)) as db:
            return db.execute("SELECT pid FROM daemon").fetchall() == [(daemon.process.pid,)]


def done(shot: Snapshot) -> bool:
    """All volumes are read, looked at and embedded, and the queue is ready."""
    unfinished = sum(shot.jobs.get(state, 0) for state in ("waiting", "ready", "running"))
    volumes = [shot.volumes[what] for what in ("ingested", "pseudo_labelled", "embedded")]
    return not unfinished and min(volumes) >= N_VOLUMES and sum(q.ready for q in shot.queue) == QUEUE


def failed(workspace: Path) -> list[str]:
    """Jobs that failed, but for encoders: one made of the first volume alone may fail its self-test, and another is made."""
    with contextlib.closing(sqlite3.connect(f"file:{workspace}/alscope.db?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT stage, error FROM job WHERE state = 'failed' AND stage <> 'encoder'").fetchall()
    return [f"{stage} failed: {error}" for stage, error in rows]


def at_points(who: str, far: int) -> Callable[[Run], None]:
    """The processes whose command line has the word `who` die, one at each time, of one of their first `far` side effects."""

    def play(run: Run) -> None:
        with real_daemon(run.root, CONFIG) as daemon:
            for _ in range(KILLS):
                told, token = run.root / "told", run.root / "token"
                token.touch()
                plan = Plan("kill", run.rng.randint(1, far), str(run.root / "ws"), 0, str(told), str(token), who)
                daemon.environment = os.environ | environment(plan) | {MARK: run.mark}
                process = daemon.start()
                until = time.monotonic() + run.rng.uniform(10, 20)
                while process.poll() is None and token.exists() and time.monotonic() < until:
                    time.sleep(0.05)
                if told.exists():
                    run.faults += 1
                    run.points += told.read_text().splitlines()
                    told.unlink()
                    if who == DAEMON:
                        process.wait(10)
                time.sleep(run.rng.uniform(0.0, 0.5))
                if process.poll() is None:
                    run.faults += 1
                    run.points.append("then the daemon")
                    daemon.kill()
                run.judge()
            _last(run, daemon)

    return play


def _last(run: Run, daemon: RealDaemon) -> None:
    daemon.environment = os.environ | {MARK: run.mark}
    daemon.start()
    run.to_the_end(daemon)


def at_any_time(run: Run) -> None:
    """The daemon, one of its workers or both are killed at random moments."""
    with real_daemon(run.root, CONFIG, {MARK: run.mark}) as daemon:
        for _ in range(KILLS):
            daemon.start()
            until = time.monotonic() + 20
            while not daemon.family() and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(run.rng.uniform(0.0, 3.0))
            for process in run.rng.sample(workers := daemon.family(), min(len(workers), 1)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
                    run.faults += 1
            time.sleep(run.rng.uniform(0.0, 1.0))
            daemon.kill()
            run.faults += 1
            run.judge()
        _last(run, daemon)


def two_daemons(run: Run) -> None:
    """Others are started on the same workspace: they say who has it, and leave everything alone."""
    with real_daemon(run.root, CONFIG, {MARK: run.mark}) as daemon:
        daemon.start()
        daemon.ready()
        for _ in range(2):
            second = daemon.alscope("run")
            run.faults += 1
            if second.returncode != 75 or f"pid {daemon.process.pid if daemon.process else ''}" not in second.stderr:
                run.found.violations.append(f"a second daemon ended with {second.returncode}: {second.stderr[-300:]}")
        run.to_the_end(daemon)


def unmounted(run: Run) -> None:
    """The watched folder is unmounted while its files are read, and comes back."""
    folder, store = run.root / "in", run.root / "store"
    folder.rename(store)
    folder.mkdir()
    mount, umount = ["mount", "--bind", str(store), str(folder)], ["umount", "-l", str(folder)]
    subprocess.run(mount, check=True)
    try:
        with real_daemon(run.root, CONFIG, {MARK: run.mark}) as daemon:
            daemon.start()
            for _ in range(2):
                time.sleep(run.rng.uniform(0.5, 5.0))
                subprocess.run(umount, check=True)
                run.faults += 1
                run.points.append("unmounted")
                time.sleep(run.rng.uniform(0.5, 4.0))
                subprocess.run(mount, check=True)
            run.to_the_end(daemon)
    finally:
        subprocess.run(umount, capture_output=True)


FAULTS: dict[str, Callable[[Run], None]] = {
    "kill -9 of a real daemon at side effects": at_points(DAEMON, 150),
    "kill -9 of real workers at side effects": at_points(WORKER, 40),
    "kill -9 of real daemon and workers at any time": at_any_time,
    "two daemons on one workspace": two_daemons,
    UNMOUNTED: unmounted,
}


def can_mount() -> bool:
    """May this process mount one folder over another?"""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "--bind", folder, folder], capture_output=True).returncode == 0
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)
        return mounted


def play(fault: str, root: Path, number: int, seed: int) -> Run:
    """One run of a fault in a folder that does not exist yet."""
    run = Run(root, random.Random(f"{seed}:{fault}:{number}"))
    FAULTS[fault](run)
    return run
