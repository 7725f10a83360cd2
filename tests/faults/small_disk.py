"""A disk of a few megabytes (tmpfs) and what fills it, for tests of a disk that is really full."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """`folder`, made here, on a file system of its own; the test is skipped, with the reason, where that cannot be."""
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a file system to fill can only be mounted by root on Linux")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"a file system to fill cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        if subprocess.run(["umount", str(folder)], capture_output=True).returncode:
            subprocess.run(["umount", "-l", str(folder)], check=True)


class Ballast:
    """Takes all room on a disk but `spare` bytes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self, spare: int = 0) -> None:
        with contextlib.suppress(OSError), open(self._path, "ab", buffering=0) as f:
            for block in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while f.write(bytes(block)) == block:
                        pass
        if spare:
            os.truncate(self._path, self._path.stat().st_size - spare)

    def drop(self) -> None:
        self._path.unlink()
