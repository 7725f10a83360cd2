"""A hard limit of memory around what a stranger's file may make a library do."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

SLACK_BYTES = 512 << 20
"""Room for what libraries map while they are imported, and for thread stacks."""


@contextlib.contextmanager
def memory_limit(limit_bytes: int | None) -> Iterator[None]:
    """Let this process take at most so much more private memory while inside; beyond it, MemoryError. None: no limit.

    RLIMIT_DATA counts the heap and private writable mappings (Linux 4.7 and newer), not mapped files and not address space
    that is only reserved, so that CUDA is not disturbed. Elsewhere there is no such limit and nothing is done.
    """
    if limit_bytes is None or sys.platform != "linux":
        yield
        return
    import resource

    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _private_bytes() + limit_bytes + SLACK_BYTES
    if before != resource.RLIM_INFINITY:
        wanted = min(wanted, before)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _private_bytes() -> int:
    """Private memory of this process now (VmData)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 0
