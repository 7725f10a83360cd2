"""What the daemon costs when there is nothing to do, and how long `alscope status` takes. `python -m benchmarks.footprint`.

Limits (issue "The whole loop runs"): idle under 150 MB RSS and under 1 % of a core; status under 0.5 s.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.table import Row, show

IDLE_S = 60.0
STATUS_RUNS = 9
ALSCOPE = [sys.executable, "-m", "daemon.cli.main"]


def main() -> int:
    """Start a daemon on an empty folder, let it idle, measure it, ask it for its status, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "in").mkdir()
        config = root / "config.toml"
        config.write_text('workspace = "ws"\n[[watch]]\nfolder = "in"\n')
        log = open(root / "log", "wb")  # noqa: SIM115 - closed with the daemon
        daemon = subprocess.Popen([*ALSCOPE, "--config", str(config), "run"], stderr=log)
        try:
            rows = [*idle(daemon.pid), *status(config), *stop(daemon)]
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
            log.close()
    return show("footprint", rows)


def idle(pid: int) -> list[Row]:
    """Memory and processor use of the daemon and its children over a minute of nothing."""
    time.sleep(8.0)  # start-up is not idling
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    before, began = sum(sum(p.cpu_times()[:2]) for p in family), time.monotonic()
    time.sleep(IDLE_S)
    used = sum(sum(p.cpu_times()[:2]) for p in family) - before
    rss = sum(p.memory_info().rss for p in family)
    return [
        Row("idle daemon, RSS with children", rss / 1e6, "MB", 150.0),
        Row("idle daemon, share of a core", 100 * used / (time.monotonic() - began), "%", 1.0),
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
