"""A disk that is as slow as those beside microscopes: reading is throttled by the kernel (control groups version 1, needs root)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup/blkio")


@contextlib.contextmanager
def reading_at(folder: Path, mb_per_s: float) -> Iterator[None]:
    """This process and its children read so fast, and no faster, from the disk that holds `folder`.

    Raises OSError where that cannot be done.
    """
    group = GROUPS / f"alscope-benchmark-{os.getpid()}"
    device = folder.stat().st_dev
    group.mkdir()
    try:
        limit = f"{os.major(device)}:{os.minor(device)} {int(mb_per_s * 1e6)}"
        (group / "blkio.throttle.read_bps_device").write_text(limit)
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        with contextlib.suppress(OSError):
            (GROUPS / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()
