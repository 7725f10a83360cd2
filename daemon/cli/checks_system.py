"""Checks of `alscope doctor`: Python and its packages, SQLite, the clock, memory."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import sqlite3
import sys
import time
from pathlib import Path

import daemon
from daemon.cli.checking import Check
from daemon.config import Settings
from daemon.wording import count

LEAST_SQLITE = (3, 37, 0)
"""STRICT tables."""
WAL_RESET_FIXED = (3, 51, 3)
CGROUP = Path("/sys/fs/cgroup/memory.max")
UNSYNCHRONISED = 5
"""What adjtimex returns where nothing keeps the clock (TIME_ERROR)."""


def python() -> Check:
    """New enough?"""
    found = f"{sys.version.split()[0]} at {sys.executable}"
    state = "ok" if sys.version_info >= (3, 11) else "fail"
    return Check(
        "python", state, found, "" if state == "ok" else "alscope needs Python 3.11 or newer: make a new environment"
    )


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def import_name() -> Check:
    """`daemon` is also the import name of the python-daemon package, which would overwrite ours."""
    folder = Path(daemon.__file__ or "").parent
    if version := _version("python-daemon"):
        mend = "pip uninstall python-daemon, then install alscope again"
        return Check("import name", "fail", f"python-daemon {version} is installed and shares the name `daemon`", mend)
    if not (folder / "engine.py").is_file():
        return Check("import name", "fail", f"`daemon` is {folder}, which is not alscope's", "install alscope again")
    return Check("import name", "ok", str(folder))


def faiss_package() -> Check:
    """One of faiss-cpu and faiss-gpu: both write the same files, and the last one wins."""
    there = {name: version for name in ("faiss-gpu", "faiss-cpu") if (version := _version(name))}
    if len(there) == 1:
        return Check("faiss package", "ok", " ".join(next(iter(there.items()))))
    return Check(
        "faiss package",
        "fail",
        f"{' and '.join(there)} are installed, and overwrite each other"
        if there
        else "neither faiss-gpu nor faiss-cpu",
        f"pip uninstall {' '.join(there)}; pip install faiss-gpu (Linux x86-64) or faiss-cpu (elsewhere)"
        if there
        else "pip install faiss-gpu (Linux x86-64) or faiss-cpu (elsewhere)",
    )


def sqlite() -> Check:
    """New enough?"""
    version = sqlite3.sqlite_version_info
    text = sqlite3.sqlite_version
    if version < LEAST_SQLITE:
        return Check(
            "sqlite", "fail", text, f"needs {'.'.join(map(str, LEAST_SQLITE))} or newer: use another Python build"
        )
    old = version < WAL_RESET_FIXED
    note = " (before 3.51.3 only one process may fold the log; alscope keeps to that)" if old else ""
    return Check("sqlite", "ok", text + note)


def clock() -> Check:
    """Is the year one that can be, and does a time server keep the clock?"""
    year = time.localtime().tm_year
    if not 2024 <= year < 2100:
        return Check(
            "clock", "fail", time.strftime("%Y-%m-%d %H:%M"), "set the clock, best by NTP (timedatectl set-ntp true)"
        )
    kept = kept_by_a_server()
    note = {True: ", kept by a time server", False: ", no time server keeps it (timedatectl set-ntp true)", None: ""}
    return Check("clock", "ok", time.strftime("%Y-%m-%d %H:%M %Z") + note[kept])


def kept_by_a_server() -> bool | None:
    """What the kernel knows of it; None where it does not say."""
    ask = getattr(ctypes.CDLL(None), "adjtimex", None)
    if ask is None:
        return None
    answer: int = ask(ctypes.create_string_buffer(512))  # struct timex, all zero: change nothing
    return None if answer < 0 else answer != UNSYNCHRONISED


def memory(settings: Settings) -> Check:
    """Does this machine have what config.toml lets jobs use?"""
    run = settings.run
    wanted, there = (run.workers + 1) * run.ram_gb, _memory_gb()
    found = f"{there:.0f} GB; {count(run.workers + 1, 'job')} at a time may use {run.ram_gb:g} GB each for their blocks"
    if wanted <= 0.8 * there:
        return Check("memory", "ok", found)
    least = max(0.5, 0.8 * there / (run.workers + 1))
    return Check("memory", "warn", found, f"set run.ram_gb = {least:.1f} or less, or fewer run.workers")


def _memory_gb() -> float:
    """Of the machine, or of the container where that is less; in GB (2**30)."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):
        found = min(found, int(CGROUP.read_text()))
    return found / 2**30
