"""Does somebody on this machine hold a file open for writing? Asked of the kernel by taking a lease for an instant."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable


def open_for_writing(path: bytes) -> bool | None:
    """Does a process of this machine hold the file open for writing? None when that cannot be known.

    A read lease is refused by the kernel while a writer exists. SIGIO, which would announce a writer that comes while
    the lease is held, must be ignored by the process (`service` does).
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(fd)


def any_open_for_writing(paths: Iterable[bytes]) -> bool | None:
    """The same of several files: True when one is, None when that is not known of all others."""
    answers = []
    for path in paths:
        answers.append(open_for_writing(path))
        if answers[-1]:
            return True
    return None if None in answers else False
