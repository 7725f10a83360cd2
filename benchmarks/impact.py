"""What a microscope loses when alscope works flat out beside it. `python -m benchmarks.impact`, on an idle machine.

A writer appends to a file in the watched folder as fast as the disk takes it, in turns without and with a daemon that has volumes
to read and a training to do. With the rule of config.toml (`run.yield_to_acquisition`), and without it. Limit: 5 % lost.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.table import Row, show
from tests.daemon.daemons import RealDaemon, real_daemon

LOST = 5.0
BLOCK = 8 << 20
CONFIG = """workspace = "ws"
[[watch]]
folder = "in"
settle_s = 2.0
[patch]
shape_px = [16, 64, 64]
[training.pretrain_schedule]
epochs = 1000
[encoder]
size = "descriptor"
[run]
yield_to_acquisition = "{rule}"
yield_at_most_min = 600.0
min_free_gb = 1.0
"""


def main() -> int:
    """Both rules, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=8.0, help="written at a time [default: 8]")
    parser.add_argument("--turns", type=int, default=5, help="with and without the daemon, each [default: 5]")
    parser.add_argument("--rules", default="off,growing", help="of run.yield_to_acquisition [default: off,growing]")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured [default: the one for temporary files]")
    arguments = parser.parse_args()
    rows = []
    for rule in arguments.rules.split(","):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            rows += compared(Path(folder), rule, arguments.gb, arguments.turns)
    return show("impact on a writer", rows)


def compared(root: Path, rule: str, gb: float, turns: int) -> list[Row]:
    """Throughput without and with the daemon, taken in turns, so that a disk that tires does so for both."""
    alone, beside, busy = [], [], []
    with real_daemon(root, CONFIG.replace("{rule}", rule)) as daemon:
        drop(daemon.folder, 6)
        file = daemon.folder / "acquired.tif"
        written(file, gb / 4)  # the first one pays for what is cold
        for _ in range(turns):
            alone.append(written(file, gb))
            removed(file)
            daemon.start()
            training(daemon)
            before, began = processor_s(daemon), time.monotonic()
            beside.append(written(file, gb))
            after, seconds = processor_s(daemon), time.monotonic() - began
            busy.append(sum(after[pid] - before.get(pid, 0.0) for pid in after) / seconds)
            removed(file)
            daemon.stop(90)
    lost = 100 * (1 - statistics.median(b / a for a, b in zip(alone, beside, strict=True)))
    name = f'{gb:g} GB, yield_to_acquisition = "{rule}"'
    return [
        Row(f"{name}: alone, median of {turns}", statistics.median(alone), "MB/s"),
        Row(f"{name}: beside a training", statistics.median(beside), "MB/s"),
        Row(f"{name}: cores that alscope had meanwhile", statistics.median(busy), ""),
        Row(f"{name}: lost", lost, "%", LOST),
    ]


def drop(folder: Path, n: int) -> None:
    """Volumes with bright balls, so that there is something to train on."""
    import tifffile

    z, y, x = np.ogrid[:16, :128, :128]
    for number in range(n):
        rng = np.random.default_rng(number)
        image = rng.normal(60, 8, (16, 128, 128))
        for centre in rng.uniform((3, 10, 10), (13, 118, 118), (12, 3)):
            inside = sum((a - c) ** 2 for a, c in zip((2 * z, y, x), centre * (2, 1, 1), strict=True)) < 49
            image[inside] += 90
        tifffile.imwrite(
            folder / f"stack_{number}.tif",
            image.clip(0, 255).astype(np.uint8),
            photometric="minisblack",
            metadata={"axes": "ZYX"},
        )


def training(daemon: RealDaemon) -> None:
    """Wait until a training is under way."""
    daemon.wait(lambda s: any(j.stage == "pretrain" and j.progress > 0.1 for j in s.running), 600)


def written(path: Path, gb: float) -> float:
    """Write a file that grows, block by block, to the disk; MB/s.

    What is on the disk leaves the page cache: else the speed is that at which a virtual machine gets memory from its host, 400 to
    1,200 MB/s here from one file to the next.
    """
    block = np.random.default_rng(0).bytes(BLOCK)
    began = time.monotonic()
    with open(path, "wb", buffering=0) as f:
        for number in itertools.count():
            if number * BLOCK >= gb * 1e9:
                break
            f.write(block)
            if number % 8 == 7:
                os.fdatasync(f.fileno())
                os.posix_fadvise(f.fileno(), (number - 7) * BLOCK, 8 * BLOCK, os.POSIX_FADV_DONTNEED)
        os.fsync(f.fileno())
    return number * BLOCK / 1e6 / (time.monotonic() - began)


def removed(path: Path) -> None:
    """Away with it, from the disk as well."""
    path.unlink()
    os.sync()


def processor_s(daemon: RealDaemon) -> dict[int, float]:
    """Processor time of the daemon and of the workers that it has now, by process."""
    assert daemon.process is not None
    family = [psutil.Process(daemon.process.pid), *daemon.family()]
    return {p.pid: sum(p.cpu_times()[:2]) for p in family if p.is_running()}


if __name__ == "__main__":
    raise SystemExit(main())
