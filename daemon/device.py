"""What this machine computes with, found without importing torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.config import Run


def has_cuda() -> bool:
    """Is there an NVIDIA GPU with its driver loaded, and not hidden by CUDA_VISIBLE_DEVICES?"""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return False
    return Path("/dev/nvidia0").exists() or any(Path("/proc/driver/nvidia/gpus").glob("*"))


def device(run: Run) -> str:
    """ "cpu" or "cuda", as config.toml says or as found."""
    if run.device != "auto":
        return run.device
    return "cuda" if has_cuda() else "cpu"


def threads(run: Run) -> int:
    """CPU threads of a long job: as config.toml says, or every core this process may use."""
    return run.threads or affinity()


def affinity() -> int:
    """Every core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
