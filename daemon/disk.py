"""How much room there is."""

from __future__ import annotations

import os
from pathlib import Path


def free_gb(path: Path) -> float:
    """Free space, for this user, on the file system that holds `path`, in GB (1e9 bytes)."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize / 1e9
