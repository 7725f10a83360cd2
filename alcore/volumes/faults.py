"""Turns whatever goes wrong inside a file into one clear line of the right class."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from alcore.errors import AlcoreError, SourceMissingError, UnreadableVolumeError


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise UnreadableVolumeError or SourceMissingError, naming the file, for everything that is not one of ours."""
    try:
        yield
    except AlcoreError:
        raise
    except OSError as e:
        if e.errno in (errno.EACCES, errno.EPERM, errno.EISDIR):
            raise UnreadableVolumeError(f"{path}: cannot be opened ({e.strerror}); check its permissions") from e
        if e.errno is not None:
            raise SourceMissingError(f"{path}: cannot be reached now ({e.strerror})") from e
        raise UnreadableVolumeError(f"{path}: damaged file ({e})") from e
    except MemoryError as e:
        raise UnreadableVolumeError(f"{path}: needs more memory than there is to decode; is it damaged?") from e
    except Exception as e:  # decoders raise every kind of exception on damaged bytes
        raise UnreadableVolumeError(f"{path}: damaged file ({type(e).__name__}: {str(e)[:200]})") from e
