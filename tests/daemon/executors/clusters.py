"""A dask cluster on this machine, as docs/cluster.md starts one: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import time
from pathlib import Path

from daemon.executors.dask import DaskExecutor
from daemon.executors.port import Places

DASK = str(Path(sys.executable).with_name("dask"))
ROOT = Path(__file__).resolve().parents[3]


class RealCluster:
    """Processes end with the context; nothing outside this machine can reach them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self._port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> RealCluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.scheduler):
            if process is not None:
                process.kill()
                process.wait()

    def _start(self, name: str, *words: str, folder: Path | None = None) -> subprocess.Popen[bytes]:
        folder = folder or self._folder
        with open(self._folder / f"{name}.log", "ab") as out:
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            if folder != self._folder:
                environment |= {"TMPDIR": str(folder), "HOME": str(folder)}
            return subprocess.Popen([DASK, *words], stdout=out, stderr=out, cwd=folder, env=environment)

    def start_scheduler(self) -> str:
        """Returns its address, once it can be reached."""
        words = ("--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard")
        self.scheduler = self._start("scheduler", "scheduler", *words)
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return self.address
            assert time.monotonic() < until and self.scheduler.poll() is None, "no scheduler came up"
            time.sleep(0.05)

    def start_worker(self, address: str, *words: str) -> str:
        """Returns the address of the scheduler. words: more options of `dask worker`."""
        usual = ("--nthreads", "2", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1", "--death-timeout", "60")
        self.workers.append(self._start(f"worker-{len(self.workers)}", "worker", address, *usual, *words))
        return address

    def start_host(self, host: str) -> subprocess.Popen[bytes]:
        """A worker as on a machine of that name, which shares nothing with others: home, temporary and working folder are its own."""
        folder = self._folder / host
        folder.mkdir()
        (folder / "named.py").write_text(f"import socket\nsocket.gethostname = lambda: {host!r}\n")
        usual = ("--nthreads", "2", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1", "--name", host)
        own = ("--preload", str(folder / "named.py"), "--local-directory", str(folder / "dask"))
        self.workers.append(self._start(host, "worker", self.address, *usual, *own, folder=folder))
        return self.workers[-1]


def connected(address: str, places: Places, reports: queue.SimpleQueue, gpu: bool = False) -> DaskExecutor:
    """An executor that has found workers."""
    made = DaskExecutor(places, reports, address, gpu, 1, 0)
    until = time.monotonic() + 60
    while not made.free(False, "volume"):
        assert time.monotonic() < until, [reports.get() for _ in range(reports.qsize())]
        time.sleep(0.02)
    return made
