"""How the machine is: processor, memory, disk and GPU, read without waiting for anything."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from daemon.device import has_cuda
from daemon.disk import free_gb

GPU_EVERY_S = 5.0
GPU_QUERY = ("--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Vitals:
    """gpu: "none", or load and memory in words; None: not known yet."""

    cpu_percent: float
    ram_used_gb: float
    ram_total_gb: float
    disk_free_gb: float | None
    gpu: str | None


class VitalsReader:
    """Reads again at each call; nvidia-smi, which takes a while, is asked now and then and heard later."""

    def __init__(self, workspace: Path) -> None:
        import psutil

        self._workspace = workspace
        self._gpu: str | None = None if has_cuda() else "none"
        self._smi = shutil.which("nvidia-smi") if self._gpu is None else None
        self._query: subprocess.Popen[str] | None = None
        self._asked_at = float("-inf")
        psutil.cpu_percent(None)

    def read(self) -> Vitals:
        """As things are now; the processor's load is that since the last call."""
        import psutil

        memory = psutil.virtual_memory()
        try:
            disk = free_gb(next(p for p in (self._workspace, *self._workspace.parents) if p.exists()))
        except OSError:
            disk = None
        used = (memory.total - memory.available) / 1e9
        return Vitals(psutil.cpu_percent(None), used, memory.total / 1e9, disk, self._gpu_words())

    def _gpu_words(self) -> str | None:
        if self._smi is None:
            return self._gpu
        if self._query is None and time.monotonic() - self._asked_at >= GPU_EVERY_S:
            self._asked_at = time.monotonic()
            with contextlib.suppress(OSError):
                self._query = subprocess.Popen(
                    [self._smi, *GPU_QUERY],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
        elif self._query is not None and self._query.poll() is not None:
            out, _ = self._query.communicate()
            self._query = None
            self._gpu = gpu_words(out)
        return self._gpu

    def close(self) -> None:
        """Leave no child behind."""
        if self._query is not None:
            self._query.kill()
            self._query.communicate()
            self._query = None


def gpu_words(csv: str) -> str:
    """nvidia-smi's answer (load %, MiB used, MiB total; a line for each GPU) in words."""
    words = []
    for line in csv.splitlines():
        with contextlib.suppress(ValueError):
            load, used, total = (float(part) for part in line.split(","))
            words.append(f"{load:.0f}% {used * 2**20 / 1e9:.0f}/{total * 2**20 / 1e9:.0f} GB")
    return ", ".join(words) or "does not answer"


def now(workspace: Path, within_s: float = 2.0) -> Vitals:
    """The machine once: waits a moment for the processor's load, and as long as that at most for the GPU's answer."""
    reader = VitalsReader(workspace)
    try:
        until = time.monotonic() + within_s
        time.sleep(0.1)
        found = reader.read()
        while found.gpu is None and time.monotonic() < until:
            time.sleep(0.05)
            found = replace(found, gpu=reader.read().gpu)
        return found
    finally:
        reader.close()


def memory(pid: int) -> tuple[int, int]:
    """Resident memory in bytes of a daemon, and of all its worker processes; 0 for what is not there any more."""
    import psutil

    found = []
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                found.append(one.memory_info().rss)
    return (found[0], sum(found[1:])) if found else (0, 0)
