"""The rows of a pool on disk: one file that only grows, and a sidecar that says what in it counts. A cache, rebuilt at need.

The sidecar is replaced as a whole once the rows are durable, so a kill at any point leaves the old pool or the new one, and perhaps
rows at the end that nobody speaks of. Each segment carries its SHA-256: a load believes nothing that it has not read.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.artifact import fsync_dir, write_atomic

Float32 = npt.NDArray[np.float32]

FORMAT = 2
SIDECAR = "pool.json"
ROWS_FILE = "rows-*.f32"
"""Little-endian float32, row by row. A pool that is written anew gets a file of a new name, so that whoever has mapped the
old one goes on reading what it was."""
COMPACT_SHARE = 0.5
"""A file of which more than this share does not count any more is written anew: nothing in it is ever written over."""


@dataclass(frozen=True)
class Segment:
    """The rows of one embedding artifact in the file: first row, how many, SHA-256 of their bytes."""

    first: int
    n: int
    sha256: str


@dataclass(frozen=True)
class Stored:
    """What a sidecar says: the file, its segments by artifact key in the order of the file, and the digest of the sidecar itself."""

    file: str
    segments: Mapping[str, Segment]
    digest: str

    @property
    def end(self) -> int:
        """One past the last row that counts."""
        return max((s.first + s.n for s in self.segments.values()), default=0)


@dataclass
class Mapped:
    """A stored pool in memory: `rows` (end, D) is mapped copy-on-write, so it can neither be changed on disk nor from there."""

    stored: Stored
    rows: Float32 = field(repr=False)


def read(directory: Path, encoder: str, dim: int) -> Mapped:
    """The pool stored in `directory`, every byte verified.

    Raises FileNotFoundError when there is none, ValueError (with KeyError, TypeError, OSError for odd damage) saying what is
    wrong with one that cannot be used.
    """
    text = (directory / SIDECAR).read_bytes()
    outer = json.loads(text)
    about = outer["pool"]
    if outer["sha256"] != _digest(json.dumps(about).encode()):
        raise ValueError(f"the checksum of {SIDECAR} differs")
    for name, wanted in {"format": FORMAT, "encoder": encoder, "dim": dim}.items():
        if about[name] != wanted:
            raise ValueError(f"{name} is {about[name]!r}, expected {wanted!r}")
    found = {str(key): Segment(int(a), int(n), str(sha)) for key, (a, n, sha) in about["segments"].items()}
    segments = dict(sorted(found.items(), key=lambda item: (item[1].first, item[1].n)))
    stored = Stored(str(about["file"]), segments, _digest(text))
    _without_overlap(segments)
    path = directory / stored.file
    if Path(stored.file).name != stored.file or not path.is_file():
        raise ValueError(f"{stored.file} is missing")
    mapped = Mapped(stored, _map(path, stored.end, dim))
    _verify(mapped)
    return mapped


def _without_overlap(segments: Mapping[str, Segment]) -> None:
    end = 0
    for key, segment in segments.items():
        if segment.first < end or segment.n < 0:
            raise ValueError(f"the rows of {key} overlap others")
        end = segment.first + segment.n


def _map(path: Path, n: int, dim: int) -> Float32:
    size = path.stat().st_size
    if size < n * dim * 4:
        raise ValueError(f"{path.name} has {size} bytes, fewer than its {n} rows of {dim} need")
    if not n:
        return np.empty((0, dim), np.float32)
    return np.memmap(path, "<f4", "c", shape=(n, dim)).view(np.ndarray)


def _verify(mapped: Mapped) -> None:
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        segments = mapped.stored.segments
        found = pool.map(lambda s: _sha256(mapped.rows[s.first : s.first + s.n]), segments.values())
        for (key, segment), sha256 in zip(segments.items(), found, strict=True):
            if sha256 != segment.sha256:
                raise ValueError(f"the checksum of {key} differs")


def write(
    directory: Path, encoder: str, dim: int, rows: Mapping[str, Float32], before: Mapped | None, unchanged: Set[str]
) -> Mapped:
    """Make `directory` hold exactly these (N, D) rows by artifact key; returns them mapped.

    before: what was read from there or written there last. unchanged: those of `rows` that are in it. The others are appended
    if the file is still as it was and mostly counts; otherwise everything is written to a new file. Raises OSError where that
    cannot be done.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        name, kept, end = "", dict[str, Segment](), 0
        if before is not None and still(directory, before.stored):
            name = before.stored.file
            kept = {key: segment for key, segment in before.stored.segments.items() if key in unchanged}
            end = -(-(directory / name).stat().st_size // (4 * dim))  # others may have mapped whatever lies before
        if not kept or sum(s.n for s in kept.values()) < (1 - COMPACT_SHARE) * end:
            name, kept, end = ROWS_FILE.replace("*", uuid.uuid4().hex[:12]), {}, 0
        segments = dict(kept)
        fd = os.open(directory / name, os.O_WRONLY | os.O_CREAT, 0o640)
        with os.fdopen(fd, "wb") as f:
            f.seek(end * dim * 4)
            for key, part in rows.items():
                if key not in kept:
                    f.write(_bytes(part))
                    segments[key] = Segment(end, len(part), _sha256(part))
                    end += len(part)
            f.flush()
            os.fsync(f.fileno())
        fsync_dir(directory)
        about = {
            "format": FORMAT,
            "encoder": encoder,
            "dim": dim,
            "file": name,
            "segments": {key: [s.first, s.n, s.sha256] for key, s in segments.items()},
        }
        text = signed(about)
        write_atomic(directory / SIDECAR, text)
        for old in [*directory.glob(ROWS_FILE), *directory.glob(f".{SIDECAR}.*.tmp")]:
            if old.name != name:
                old.unlink(missing_ok=True)
        stored = Stored(name, segments, _digest(text))
        return Mapped(stored, _map(directory / name, stored.end, dim))


def signed(about: Mapping[str, Any]) -> bytes:
    """A sidecar that says so, and its own checksum."""
    text = json.dumps(about)
    return f'{{"pool": {text}, "sha256": "{_digest(text.encode())}"}}'.encode()


def still(directory: Path, stored: Stored) -> bool:
    """Is the stored pool the one we know? Another process may have written its own meanwhile."""
    try:
        return _digest((directory / SIDECAR).read_bytes()) == stored.digest and (directory / stored.file).is_file()
    except OSError:
        return False


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One writer at a time, over all processes."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _bytes(rows: Float32) -> Any:
    return np.ascontiguousarray(rows, "<f4").reshape(-1).view(np.uint8).data


def _sha256(rows: Float32) -> str:
    return hashlib.sha256(_bytes(rows)).hexdigest()


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
