"""Logs have a cap: the beginning goes, the end stays, also while somebody writes to them."""

from __future__ import annotations

import os
from pathlib import Path

CAP_BYTES = 20_000_000
"""A log that is larger is shortened."""
TAIL_BYTES = 2_000_000
"""So much of its end stays."""
WORKERS_LOG = "workers.log"
"""In the folder of all jobs: what workers say outside of any job."""


def shorten(path: Path, cap: int = CAP_BYTES, tail: int = TAIL_BYTES) -> bool:
    """Cut a log that is longer than `cap` down to its last `tail` bytes, from the beginning of a line. True when it was.

    Whoever has it open for appending goes on in the same file. Lines that are written in this moment may be lost, or stand
    before the others; so may the end, if the process is killed in this moment. The log is no record: that is in the database.
    """
    try:
        size = path.stat().st_size
        if size <= cap:
            return False
        with open(path, "rb+") as f:
            f.seek(size - tail)
            kept = f.read(tail)
            kept = kept[kept.find(b"\n") + 1 :]
            f.truncate(0)  # first, as there may be no room for a copy
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(
                fd, b"[%d MB before this line were removed: a log has %d MB at most]\n" % (size // 10**6, cap // 10**6)
            )
            left = memoryview(kept)
            while left:
                left = left[os.write(fd, left) :]
        finally:
            os.close(fd)
    except FileNotFoundError:
        return False
    return True
