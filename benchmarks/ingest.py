"""What taking an acquisition in costs: time beside reading it, time to "read", memory, and the planner. `make bench`.

`python -m benchmarks.ingest [--folder F] [--gb 1] [--large F] [--only overhead,disk,latency,memory,scale]`. --large: makes and
reads a sparse BigTIFF of 20 GB in the folder F (minutes). disk: cold reading from slower disks, needs root.
Limits: overhead under 1.5, from the last byte to read under 1 s beyond the settle time, peak memory under 500 MB, a planner
tick with 10,000 volumes under 50 ms.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.arrivals import latency
from benchmarks.scale import best, scale
from benchmarks.slow_disk import reading_at
from benchmarks.stacks import READ_BYTES, make_cold, read_plainly, write_sparse_stack, write_stack
from benchmarks.table import Row, show

OVERHEAD = 1.5
PEAK_MB = 500.0
REPEATS = 3
SLOWER = {500.0: "SATA SSD", 150.0: "hard disk, or a gigabit network"}
"""MB/s -> what reads so fast."""
PYRAMID = "formats/omezarr_v04_v05_fiji/test-shared/resources/ome/zarr/testdata/pyramid_testing/pyramid_v5.zarr"
LARGE_SHAPE = (4883, 2048, 2048)
"""(Z, Y, X) of uint8: 20.5 GB."""
LARGE_EVERY = 61
"""Every so many slices hold something."""


def main() -> int:
    """Measure what was asked for and print one table."""
    parser = argparse.ArgumentParser(description="What taking an acquisition in costs.")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where stacks are written")
    parser.add_argument("--gb", type=float, default=1.0, help="size of the stacks that are read for the overhead")
    parser.add_argument("--large", type=Path, help="a folder for a sparse BigTIFF of 20 GB")
    parser.add_argument("--only", default="overhead,disk,latency,memory,scale")
    chosen = parser.parse_args()
    only = chosen.only.split(",")
    rows: list[Row] = []
    if "overhead" in only:
        for dtype in ("uint8", "uint16"):
            rows += overhead(chosen.folder, dtype, chosen.gb)
    if "disk" in only:
        rows += slower_disks(chosen.folder, chosen.gb)
    if "latency" in only:
        rows += latency(10)
    if "memory" in only:
        rows += memory(chosen.large)
    if "scale" in only:
        rows += scale()
    return show("ingest", rows)


def overhead(folder: Path, dtype: str, gb: float) -> list[Row]:
    """Reading, hashing, measuring and tiling a stack against reading its bytes once; the best of three each."""
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        path = Path(inside) / f"{dtype}.tif"
        width = 2048 if dtype == "uint8" else 1024
        size = write_stack(path, (max(1, round(gb * 1e9 / (1 << 22))), 2048, width), dtype)
        rows = []
        for state, prepare in (("cold", make_cold), ("warm", read_plainly)):
            plain = _timed(lambda prepare=prepare: prepare(path), lambda: read_plainly(path))
            taken = []
            for _ in range(REPEATS):
                prepare(path)
                taken.append(ingest_once(path))
            fastest, worked = (min(t[name] for t in taken) for name in ("seconds", "processor_s"))
            name = f"{dtype}, {size / 1e9:.2f} GB, {state}"
            rows += [
                Row(f"{name}: plain read", plain, "s"),
                Row(f"{name}: ingest", fastest, "s"),
                Row(f"{name}: ingest / plain read", fastest / plain, "", OVERHEAD),
                Row(f"{name}: ingest, processor time", worked, "s"),
            ]
        rows.append(Row(f"{dtype}, warm: SHA-256 alone", best(lambda: _hash(path), REPEATS), "s"))
    return rows


def slower_disks(folder: Path, gb: float) -> list[Row]:
    """The same from disks as slow as those that microscopes write to, cold."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        path = Path(inside) / "uint16.tif"
        size = write_stack(path, (max(1, round(gb * 1e9 / (1 << 22))), 2048, 1024), "uint16")
        for mb_per_s, what in SLOWER.items():
            try:
                with reading_at(path.parent, mb_per_s):
                    plain = _timed(lambda: make_cold(path), lambda: read_plainly(path))
                    taken = []
                    for _ in range(REPEATS):
                        make_cold(path)
                        taken.append(ingest_once(path)["seconds"])
            except OSError as e:
                print(f"{what}: reading cannot be throttled here ({e}); left out", file=sys.stderr)
                return []
            name = f"uint16, {size / 1e9:.2f} GB, cold, {mb_per_s:.0f} MB/s ({what})"
            rows += [
                Row(f"{name}: plain read", plain, "s"),
                Row(f"{name}: ingest", min(taken), "s"),
                Row(f"{name}: ingest / plain read", min(taken) / plain, "", OVERHEAD),
            ]
    return rows


def _timed(prepare: Callable[[], None], action: Callable[[], None]) -> float:
    seconds = []
    for _ in range(REPEATS):
        prepare()
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _hash(path: Path) -> None:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        while block := f.read(READ_BYTES):
            digest.update(block)


def memory(large: Path | None) -> list[Row]:
    """Peak resident memory of a process that reads one acquisition, libraries included."""
    rows = []
    pyramid = Path(os.environ.get("ALSCOPE_DATA", "../shared/data")) / PYRAMID
    if pyramid.exists():
        rows += _peak("pyramid_v5", pyramid)
    else:
        print(f"{pyramid}: is not at hand (set ALSCOPE_DATA to the folder that holds it); left out", file=sys.stderr)
    if large is not None:
        with tempfile.TemporaryDirectory(dir=large) as inside:
            path = Path(inside) / "large.tif"
            size = write_sparse_stack(path, LARGE_SHAPE, "uint8", LARGE_EVERY)
            rows += _peak(f"sparse BigTIFF of {size / 1e9:.1f} GB", path)
    return rows


def _peak(name: str, path: Path) -> list[Row]:
    found = ingest_once(path)
    shape = " x ".join(str(n) for n in found["shapes"][0][1:])
    return [
        Row(f"{name}, {shape}: peak RSS", found["peak_mb"], "MB", PEAK_MB),
        Row(f"{name}: peak RSS before it was read", found["before_mb"], "MB"),
        Row(f"{name}: time", found["seconds"], "s"),
    ]


def ingest_once(path: Path, ram_gb: float = 4.0) -> dict[str, Any]:
    """See `benchmarks.ingest_once`; in a process as the daemon's executor starts them."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.ingest_once", str(path), folder, str(ram_gb)]
        done = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ | one_thread, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    sys.exit(main())
