"""Turns whatever goes wrong inside a file into one clear line of the right class."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from alcore.errors import AlcoreError, SourceMissingError, UnreadableVolumeError

AGAIN = "copy or save it again"
"""What to do about a file that is not whole."""


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise UnreadableVolumeError or SourceMissingError, naming the file, for everything that is not one of ours.

    What a decoder says of damaged bytes helps nobody but us: it is the cause of what is raised, and in the log of the job.
    """
    try:
        yield
    except AlcoreError:
        raise
    except OSError as e:
        if e.errno in (errno.EACCES, errno.EPERM, errno.EISDIR):
            raise UnreadableVolumeError(f"{path}: cannot be opened ({e.strerror}); check its permissions") from e
        if e.errno is not None:
            raise SourceMissingError(f"{path}: cannot be reached now ({e.strerror})") from e
        raise UnreadableVolumeError(f"{path}: damaged: its contents cannot be understood; {AGAIN}") from e
    except MemoryError as e:
        raise UnreadableVolumeError(
            f"{path}: needs more memory to decode than there is; is it damaged? Copy or save it again"
        ) from e
    except Exception as e:  # decoders raise every kind of exception on damaged bytes
        raise UnreadableVolumeError(f"{path}: damaged: its contents cannot be decoded; {AGAIN}") from e
