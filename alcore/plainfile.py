"""Open a file that others can exchange at any moment: once, never through a link, never a pipe that would hold us up."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotPlainError(OSError):
    """What lies there is a link, a pipe, a folder or a device, whatever it was when it was found."""


def open_plain(path: Path) -> BinaryIO:
    """A regular file, open for reading; what is asked of it afterwards is asked of the open file, not of its name.

    Raises NotPlainError for anything else, without following a link or waiting for a pipe; other OSErrors as `open`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise NotPlainError(errno.EINVAL, "is no plain file", str(path)) from e
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotPlainError(errno.EINVAL, "is no plain file", str(path))
    return os.fdopen(fd, "rb")
