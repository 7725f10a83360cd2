"""What `alscope doctor` looks at: each check finds out one thing for real, and says how to mend it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import daemon
from daemon.cli.checking import Check
from daemon.cli.checks_annotate import annotation
from daemon.cli.checks_pseudo import pseudo_labels
from daemon.config import Settings, Watch
from daemon.device import device, has_cuda
from daemon.disk import free_gb
from daemon.policy import encoder_kind, idle_encoder_settings
from daemon.store.connection import DATABASE, NETWORK_FILE_SYSTEMS, file_system_of
from daemon.wording import count, duration
from daemon.workspace import read_holder

LEAST_SQLITE = (3, 37, 0)
"""STRICT tables."""
WAL_RESET_FIXED = (3, 51, 3)
MANY = 20_000
"""So many folders or files are looked at; more are not counted."""
DEEP_S = 180


def machine() -> Iterator[Check]:
    """Checks that need no configuration."""
    yield _python()
    yield _import_name()
    yield _sqlite()
    yield _clock()


def configured(settings: Settings) -> Iterator[Check]:
    """Checks of what config.toml names."""
    yield from _workspace(settings)
    yield _room(settings)
    yield _database(settings)
    yield _gpu(settings)
    yield _encoder(settings)
    yield from pseudo_labels(settings)
    yield from annotation(settings)
    for watch in settings.watch:
        yield from _folder(watch, settings.run.rescan_s)
    yield _inotify(settings)


def deep() -> Iterator[Check]:
    """Checks that import the heavy parts, in a process of their own because such an import can crash."""
    yield _torch()
    yield _faiss()


def _python() -> Check:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    state = "ok" if sys.version_info >= (3, 11) else "fail"
    return Check(
        "python", state, found, "" if state == "ok" else "alscope needs Python 3.11 or newer: make a new environment"
    )


def _import_name() -> Check:
    """`daemon` is also the import name of the python-daemon package, which would overwrite ours."""
    folder = Path(daemon.__file__ or "").parent
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version("python-daemon")
        mend = "pip uninstall python-daemon, then install alscope again"
        return Check("import name", "fail", f"python-daemon {version} is installed and shares the name `daemon`", mend)
    if not (folder / "engine.py").is_file():
        return Check("import name", "fail", f"`daemon` is {folder}, which is not alscope's", "install alscope again")
    return Check("import name", "ok", str(folder))


def _sqlite() -> Check:
    version = sqlite3.sqlite_version_info
    text = sqlite3.sqlite_version
    if version < LEAST_SQLITE:
        return Check(
            "sqlite", "fail", text, f"needs {'.'.join(map(str, LEAST_SQLITE))} or newer: use another Python build"
        )
    old = version < WAL_RESET_FIXED
    note = " (before 3.51.3 only one process may fold the log; alscope keeps to that)" if old else ""
    return Check("sqlite", "ok", text + note)


def _clock() -> Check:
    year = time.localtime().tm_year
    if not 2024 <= year < 2100:
        return Check(
            "clock", "fail", time.strftime("%Y-%m-%d %H:%M"), "set the clock, best by NTP (timedatectl set-ntp true)"
        )
    return Check("clock", "ok", time.strftime("%Y-%m-%d %H:%M %Z"))


def _workspace(settings: Settings) -> Iterator[Check]:
    root = settings.workspace
    there = next(p for p in (root, *root.parents) if p.exists())
    kind = file_system_of(there)
    if kind in NETWORK_FILE_SYSTEMS:
        mend = (
            "set `workspace` in config.toml to a folder on a local disk: SQLite can lose data on network file systems"
        )
        yield Check("workspace", "fail", f"{root}: on a network file system ({kind})", mend)
        return
    probe = there / f".alscope-doctor-{uuid.uuid4().hex[:8]}"
    try:
        with open(probe, "wb") as f:
            f.write(b"x")
            os.fsync(f.fileno())
        os.rename(probe, probe.with_suffix(".moved"))
    except OSError as e:
        yield Check(
            "workspace", "fail", f"{there}: cannot be written ({e.strerror})", "give this user the right to write there"
        )
        return
    finally:
        probe.unlink(missing_ok=True)
        probe.with_suffix(".moved").unlink(missing_ok=True)
    yield Check("workspace", "ok", f"{root} ({kind})" + ("" if there == root else ", made at the first start"))


def _room(settings: Settings) -> Check:
    there = next(p for p in (settings.workspace, *settings.workspace.parents) if p.exists())
    free, least = free_gb(there), settings.run.min_free_gb
    found = f"{free:.1f} GB free, run.min_free_gb = {least:g}"
    mend = f"free some space on the disk of {there}, or put the workspace elsewhere"
    if free < least:
        return Check("disk", "fail", found + ": no work is started", mend)
    return Check("disk", "ok", found) if free > 5 * least else Check("disk", "warn", found, mend)


def _database(settings: Settings) -> Check:
    path = settings.workspace / DATABASE
    holder = read_holder(settings.workspace / "alscope.lock")
    who = f"the daemon runs (pid {holder['pid']:.0f})" if holder else "the daemon is not running"
    if not path.is_file():
        return Check("database", "ok", f"made at the first start; {who}")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
        with contextlib.closing(connection):
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as e:
        verdict = str(e)
    if verdict != "ok":
        return Check(
            "database", "fail", f"{path}: {verdict}", "stop the daemon and move the file aside, or restore a copy"
        )
    return Check("database", "ok", f"sound; {who}")


def _gpu(settings: Settings) -> Check:
    if has_cuda():
        version = Path("/proc/driver/nvidia/version")
        driver = version.read_text().splitlines()[0].strip() if version.is_file() else "driver version unknown"
        note = (
            " (not used: run.device = 'cpu')" if settings.run.device == "cpu" else " (`doctor --deep` asks torch, too)"
        )
        return Check("gpu", "ok", driver + note)
    if settings.run.device == "cuda":
        return Check(
            "gpu",
            "fail",
            "none found, but run.device = 'cuda'",
            "install the NVIDIA driver, or set run.device = 'auto'",
        )
    return Check("gpu", "ok", "none: everything runs on the CPU, training with the tiny plan")


def _encoder(settings: Settings) -> Check:
    where = device(settings.run)
    kind, idle = encoder_kind(settings.encoder, where), idle_encoder_settings(settings.encoder, where)
    if kind == "mae":
        return Check("encoder", "ok", "first a descriptor, then a masked autoencoder trained on the pool")
    found = f"a descriptor, which is not trained (encoder.size = {settings.encoder.size!r} on {where})"
    if not idle:
        return Check("encoder", "ok", found)
    mend = 'name a size (encoder.size = "micro", "tiny", "small" or "base"), or take these settings out of config.toml'
    return Check(
        "encoder", "warn", f"{found}: {', '.join(idle)} {'acts' if len(idle) == 1 else 'act'} on nothing", mend
    )


def _folder(watch: Watch, rescan_s: float) -> Iterator[Check]:
    name, folder = "watched folder", watch.folder
    try:
        with os.scandir(folder) as entries:
            newest = max((e.stat().st_mtime for e in itertools.islice(entries, MANY)), default=0.0)
    except OSError as e:
        mend = "make it, mount it, or correct `folder` in config.toml; give this user the right to read it"
        yield Check(name, "fail", f"{folder}: {e.strerror}", mend)
        return
    kind = file_system_of(folder)
    how = f" ({kind}: no file events from other machines, found by the scan every {rescan_s:g} s)"
    yield Check(name, "ok", f"{folder}" + (how if kind in NETWORK_FILE_SYSTEMS else f" ({kind})"))
    ahead = newest - time.time()
    if ahead > 60:
        mend = (
            "set the clocks of the microscope and of this machine by the same NTP server; alscope itself does not mind"
        )
        yield Check(name, "warn", f"{folder}: its newest file is {duration(ahead)} in the future", mend)


def _inotify(settings: Settings) -> Check:
    try:
        limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return Check("file events", "ok", "no inotify on this system; files are found by the scan")
    n = 0
    for watch in settings.watch:
        n += sum(1 for _ in itertools.islice(os.walk(watch.folder), MANY))
    found = f"{count(n, 'folder')} to watch, {limit} inotify watches allowed"
    if n * 2 > limit:
        mend = f"sysctl fs.inotify.max_user_watches={max(8 * n, 524288)}; until then the scan finds files, later"
        return Check("file events", "warn", found, mend)
    return Check("file events", "ok", found)


_TORCH = """
import json, torch
seen = torch.cuda.is_available()
device = "cuda" if seen else "cpu"
x = torch.ones(64, 64, device=device)
print(json.dumps({"version": torch.__version__, "cuda": seen, "right": float((x @ x).sum()) == 64.0**3,
                  "name": torch.cuda.get_device_name(0) if seen else "cpu"}))
"""
_FAISS = """
import json, numpy, faiss
index = faiss.IndexFlatIP(8)
index.add(numpy.eye(8, dtype="float32"))
_, found = index.search(numpy.eye(8, dtype="float32"), 1)
print(json.dumps({"version": faiss.__version__, "right": found.ravel().tolist() == list(range(8)),
                  "gpus": getattr(faiss, "get_num_gpus", lambda: 0)()}))
"""


def _ask_python(code: str) -> tuple[dict[str, object] | None, str]:
    """(what the code printed as JSON, "") or (None, why there is nothing)."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEEP_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {DEEP_S} s"
    try:
        return json.loads(done.stdout.splitlines()[-1]), ""
    except (ValueError, IndexError):
        return None, (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]


def _torch() -> Check:
    answer, why = _ask_python(_TORCH)
    if answer is None or not answer["right"]:
        return Check(
            "torch",
            "fail",
            why or "wrong results",
            "install torch again; see pytorch.org for the build that fits your driver",
        )
    found = f"{answer['version']} on {answer['name']}"
    if has_cuda() and not answer["cuda"]:
        return Check(
            "torch",
            "warn",
            found,
            "there is a GPU, but torch does not see it: install a CUDA build that fits the driver",
        )
    return Check("torch", "ok", found)


def _faiss() -> Check:
    answer, why = _ask_python(_FAISS)
    if answer is None or not answer["right"]:
        return Check(
            "faiss", "fail", why or "wrong results", "install faiss-gpu (Linux x86-64) or faiss-cpu again, never both"
        )
    return Check("faiss", "ok", f"{answer['version']}, {answer['gpus']} GPUs")
