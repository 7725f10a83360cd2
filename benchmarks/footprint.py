"""What the daemon costs when there is nothing to do, with 10,000 volumes that it knows. `python -m benchmarks.footprint`.

Limits: idle under 100 MB RSS and 0.5 % of a core, ready within 2 s, status under 0.5 s.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from alcore.fileset import fingerprint_of
from benchmarks.table import Row, show
from daemon.store.backups import NIGHTLY, back_up
from daemon.store.connection import DATABASE, open_reader
from tests.daemon.pool import PATCHES, Pool, name

IDLE_S = 300.0
STATUS_RUNS = 9
ALSCOPE = [sys.executable, "-m", "daemon.cli.main"]


def main() -> int:
    """Start a daemon on 10,000 known volumes, let it idle, measure it, ask it for its status, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=10_000, help="volumes that are known and there [default: 10000]")
    parser.add_argument(
        "--idle", type=float, default=IDLE_S, help="seconds of nothing that are measured [default: 300]"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = known_volumes(Path(folder), arguments.volumes)
        with running(config) as (daemon, systemd, ready_s):
            ready = Row("start to ready", ready_s, "s", 2.0)
            rows = [ready, *idle(daemon.pid, systemd, arguments.idle), *status(config), *stop(daemon)]
        check(config, arguments.volumes)
    return show(f"footprint, {arguments.volumes} volumes", rows)


@contextlib.contextmanager
def running(config: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket, float]]:
    """A daemon that said it is ready, the socket on which it says more, and the seconds that it took."""
    root = config.parent
    with (
        contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd,
        open(root / "log", "wb") as log,
    ):
        systemd.bind(str(root / "notify"))
        systemd.settimeout(120)
        environment = os.environ | {"NOTIFY_SOCKET": str(root / "notify")}
        began = time.monotonic()
        daemon = subprocess.Popen([*ALSCOPE, "--config", str(config), "run"], stderr=log, env=environment)
        try:
            while systemd.recv(4096) != b"READY=1":
                pass
            yield daemon, systemd, time.monotonic() - began
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()


def known_volumes(root: Path, n: int, patches: Sequence[dict[str, list[int]]] = PATCHES) -> Path:
    """A workspace in which nothing is left to do, and the files of its volumes. Returns its config.toml."""
    with contextlib.closing(Pool(root, patches)) as pool:
        pool.at_rest(n)
        pool.config.write_text(pool.config.read_text() + '[encoder]\nsize = "micro"\n')  # as the pool has it
        with pool.store.transaction():
            for number in range(n):
                path = pool.folder / name(number)
                path.write_bytes(b"%d" % number)
                found = fingerprint_of(os.fsencode(path))
                assert found is not None
                pool.store._db.execute(
                    "UPDATE source SET fingerprint = ? WHERE path = ?", [found.to_text(), os.fsencode(path)]
                )
        back_up(pool.workspace.root, NIGHTLY, time.time())  # one a night, not one in the minutes that are measured
        return pool.config


def check(config: Path, n: int) -> None:
    """Did the daemon know all of them, and find nothing to do?"""
    with contextlib.closing(open_reader(config.parent / "ws" / DATABASE)) as db:
        states = dict(db.execute("SELECT state, COUNT(*) FROM source WHERE gone = 0 GROUP BY state").fetchall())
        undone = db.execute("SELECT COUNT(*) FROM job WHERE state <> 'done'").fetchone()[0]
    assert states == {"ingested": n}, states
    assert undone == 0, f"{undone} jobs were wanted"


def idle(pid: int, systemd: socket.socket, seconds: float) -> list[Row]:
    """Memory and processor use of the daemon and its children over some minutes of nothing."""
    time.sleep(12.0)  # start-up is not idling
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    before, began = sum(sum(p.cpu_times()[:2]) for p in family), time.monotonic()
    while time.monotonic() < began + seconds:
        time.sleep(min(5.0, seconds))
        systemd.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while systemd.recv(4096):
                pass
    used = sum(sum(p.cpu_times()[:2]) for p in family) - before
    rss = sum(p.memory_info().rss for p in family)
    return [
        Row("idle daemon, RSS with children", rss / 1e6, "MB", 100.0),
        Row("idle daemon, share of a core", 100 * used / (time.monotonic() - began), "%", 0.5),
    ]


def status(config: Path) -> list[Row]:
    """Wall time of the command, interpreter start included."""
    seconds = []
    for _ in range(STATUS_RUNS):
        began = time.monotonic()
        subprocess.run([*ALSCOPE, "--config", str(config), "status"], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.monotonic() - began)
    return [
        Row(f"alscope status, median of {STATUS_RUNS}", statistics.median(seconds), "s", 0.5),
        Row("alscope status, slowest", max(seconds), "s", 0.5),
    ]


def stop(daemon: subprocess.Popen[bytes]) -> list[Row]:
    """Time from SIGTERM to the end."""
    began = time.monotonic()
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(30)
    return [Row("SIGTERM to exit", time.monotonic() - began, "s", 5.0)]


if __name__ == "__main__":
    sys.exit(main())
