"""Is there no room on a disk any more? Libraries say so in many ways; the file system says it in one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

LEAST_BYTES = 4 << 20
"""With less free space than this a disk counts as full: a small result and its entry in a database would not fit."""


def is_full(path: Path) -> bool:
    """True when the file system that holds `path` has next to no bytes, or no inodes, left for this user."""
    found = _room(path)
    if found is None:
        return False
    return found.f_bavail * found.f_frsize < LEAST_BYTES or (found.f_files > 0 and found.f_favail == 0)


def no_space(error: BaseException) -> bool:
    """True when an exception, or one that it was raised from or during, is the system's word for a full disk or quota."""
    return any(isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT) for e in _chain(error))


def full_words(path: Path) -> str:
    """One line for people: which disk, how full, what to do."""
    found = _room(path)
    room = "no space left" if found is None else f"{found.f_bavail * found.f_frsize / 1e6:.0f} MB free"
    return f"{path}: the disk is full ({room}); free some space there, the work then goes on by itself"


def _room(path: Path) -> os.statvfs_result | None:
    """The file system where `path` lies, or would lie."""
    for place in (path, *path.parents):
        try:
            return os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    here: BaseException | None = error
    while here is not None and id(here) not in seen:
        seen.add(id(here))
        yield here
        here = here.__cause__ or here.__context__
