"""Looks at files as the volume stage does, in a process of its own with little memory: check, parts, a small box, one sweep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = """
import json, re, resource, sys, time
from pathlib import Path
import numpy as np
import zlib, imagecodecs
from alcore.errors import AlcoreError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from alcore.volumes.sweep import sweep
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 20,) * 2)

def look(path, read):
    found = check.problems(path, read, limit_bytes=8 << 30)
    if found:
        return "set aside", found[0]
    told = []
    for part in parts(path, read):
        with open_volume(path, {**read, **part.select}) as volume:
            c, z, y, x = volume.shape
            corner = Box((z - 1, y - min(y, 8), x - min(x, 8)), (1, min(y, 8), min(x, 8)))
            assert volume.read(corner).shape == (c, *corner.shape)
            if len(told) < 3:
                swept = sweep(path, volume, np.random.default_rng(0))
                told.append(" ".join([part.name, str(volume.shape), volume.dtype.name, *volume.notes, *swept.notes]))
            else:
                told.append("")
    return "read", f"{len(told)} volumes: " + "; ".join(filter(None, told))

# VmHWM and not ru_maxrss, which a process inherits from the one that started it
for line in sys.stdin:
    path, read = json.loads(line)
    began = time.process_time()
    try:
        verdict, told = look(Path(path), read)
    except AlcoreError as e:
        verdict, told = "set aside", str(e).removeprefix(f"{path}: ")
    took = time.process_time() - began
    rss_mb = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10
    print(json.dumps([path, verdict, told, took, rss_mb]), flush=True)
"""


@dataclass(frozen=True)
class Verdict:
    """What became of a file: "read" or "set aside", with what was said, the seconds of a core it took, the peak of memory so far."""

    verdict: str
    told: str
    took_s: float
    rss_mb: int


def examine(paths: Sequence[Path], read: dict[str, Any] | None = None, memory_mb: int = 1500) -> dict[Path, Verdict]:
    """Look at files and folders, one after the other, in a process that may have so much memory (address space)."""
    lines = "".join(json.dumps([str(p), read or {}]) + "\n" for p in paths)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(memory_mb)],
        input=lines,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{paths[len(rows)] if len(rows) < len(paths) else ''}\n{done.stderr[-2000:]}"
    assert len(rows) == len(paths)
    return {Path(path): Verdict(*row) for path, *row in rows}


def table(verdicts: dict[Path, Verdict], root: Path) -> str:
    """One line per file: name, verdict, time, words."""
    lines = []
    for path, v in verdicts.items():
        name = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
        lines.append(f"{name[-52:]:52} {v.verdict:9} {v.took_s * 1e3:5.0f} ms  {v.told[:150]}")
    return "\n".join(lines)
