"""The content hash of an acquisition, computed beside the measuring of its voxels so that each byte comes from the disk once."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from alcore.errors import SourceChangedError, SourceMissingError
from alcore.fileset import is_temporary, members_of

READ_BYTES = 4 << 20
AHEAD_BYTES = 256 << 20
"""The hash and the voxels stay so close together that one finds in the page cache what the other has read."""


class SourceHash:
    """Hashes a fileset in a thread of its own, kept level with the reader by `level`. A context manager.

    A single file has the sha256 of its bytes; a fileset that of one line per file, in order of name:
    "<length of name>:<name>:<bytes>:<sha256 of the file>". The name of the folder is left out: the same tree under two names
    is one acquisition.
    """

    def __init__(self, path: Path, members: tuple[str, ...] | None) -> None:
        self._path, self._names = os.fsencode(path), members
        try:
            self._files = [(name, s.st_size) for name, s in members_of(self._path, members) if _counts(name)]
        except OSError as e:
            raise SourceMissingError(f"{path}: cannot be reached now ({e.strerror})") from e
        self._size = max(1, sum(size for _, size in self._files))
        self._done, self._allowed = 0, AHEAD_BYTES
        self._moved = threading.Condition()
        self._ended = False
        self._error: Exception | None = None
        self._result = ""
        self._thread = threading.Thread(target=self._run, name="hash", daemon=True)

    def __enter__(self) -> SourceHash:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._moved:
            self._ended = self._ended or kind is not None
            self._allowed = self._size
            self._moved.notify_all()
        self._thread.join()

    def level(self, done: float) -> None:
        """The voxels of this share (0..1) of the acquisition are read: let the hash follow, and wait if it is far behind."""
        position = int(done * self._size)
        with self._moved:
            self._allowed = position + AHEAD_BYTES
            self._moved.notify_all()
            self._moved.wait_for(lambda: self._done > position - AHEAD_BYTES or not self._thread.is_alive())

    def digest(self) -> str:
        """The finished hash, hexadecimal. Raises SourceChangedError or SourceMissingError when the files would not be read."""
        with self._moved:
            self._allowed = self._size
            self._moved.notify_all()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            if len(self._files) == 1 and not self._files[0][0]:
                self._result = self._file(self._path, self._files[0][1])
                return
            folder = self._path if self._names is None else os.path.dirname(self._path)
            whole = hashlib.sha256()
            for name, size in self._files:
                digest = self._file(os.path.join(folder, name), size)
                whole.update(b"%d:%s:%d:%s\n" % (len(name), name, size, digest.encode()))
            self._result = whole.hexdigest()
        except _EndedError:
            pass
        except Exception as e:  # raised where the hash is asked for
            self._error = e
        finally:
            with self._moved:
                self._done = self._size + 1
                self._moved.notify_all()

    def _file(self, path: bytes, size: int) -> str:
        digest = hashlib.sha256()
        try:
            with open(path, "rb", buffering=0) as f:
                for wanted in _steps(size):
                    self._wait()
                    part = f.read(wanted)
                    while part is not None and len(part) < wanted:
                        more = f.read(wanted - len(part))
                        if not more:
                            raise SourceChangedError(f"{os.fsdecode(path)}: became shorter while it was hashed")
                        part += more
                    digest.update(part)
                    with self._moved:
                        self._done += wanted
                        self._moved.notify_all()
        except OSError as e:
            raise SourceMissingError(f"{os.fsdecode(path)}: cannot be reached now ({e.strerror})") from e
        return digest.hexdigest()

    def _wait(self) -> None:
        with self._moved:
            self._moved.wait_for(lambda: self._done < self._allowed or self._ended)
            if self._ended:
                raise _EndedError


class _EndedError(Exception):
    """Nobody wants the hash any more."""


def _counts(name: bytes) -> bool:
    """Files that a copier left behind are no part of the content."""
    base = os.fsdecode(os.path.basename(name))
    return not name or base.startswith(".z") or not is_temporary(base)


def _steps(size: int) -> Iterator[int]:
    while size > 0:
        yield min(READ_BYTES, size)
        size -= READ_BYTES
