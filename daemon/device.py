"""What this machine computes with, found without importing torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from daemon import gpus

if TYPE_CHECKING:
    from daemon.config import Run


def has_cuda() -> bool:
    """Is there an NVIDIA GPU with its driver loaded, and not hidden by CUDA_VISIBLE_DEVICES?"""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return False
    return Path("/dev/nvidia0").exists() or any(Path("/proc/driver/nvidia/gpus").glob("*"))


def gpu_names() -> tuple[str, ...]:
    """What the driver calls the NVIDIA GPUs of this machine that CUDA_VISIBLE_DEVICES leaves, in the order of their places."""
    found, visible = tuple(gpus.names()), os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    numbers = [word.strip() for word in visible.split(",")]
    return tuple(found[int(n)] for n in numbers if n.isdigit() and int(n) < len(found))


def device(run: Run) -> str:
    """ "cpu" or "cuda", as config.toml says or as found."""
    if run.device != "auto":
        return run.device
    return "cuda" if has_cuda() else "cpu"


def threads(run: Run) -> int:
    """CPU threads of a long job: as config.toml says, or every core this process may use."""
    return run.threads or affinity()


def affinity() -> int:
    """Every core that this process may use; of a batch job of SLURM, which need not bind it to them, those that it was given."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(here, int(given)) if given.isdigit() and int(given) > 0 else here
