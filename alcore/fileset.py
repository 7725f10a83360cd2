"""Which files make up one acquisition, and the fingerprint that changes when any of them does. Nothing but `os`: light for the daemon.

A *fileset* is what a Volume is read from: a single file; a *tree* (OME-Zarr: every file below a folder); *slices* (the image
files directly in a folder); or a *set* (several files of one folder that name each other, as multi-file OME-TIFF does).
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

ZARR_METADATA = (b"zarr.json", b".zattrs", b".zgroup", b".zarray")
SLICE_SUFFIXES = (".tif", ".tiff", ".png")
TEMPORARY = (".*", "*~", "*.tmp", "*.part", "*.partial", "*.crdownload", "Thumbs.db", "~$*")


def names_like(patterns: Sequence[str]) -> re.Pattern[str]:
    """Matches the names that any of these patterns of the shell matches: one question instead of one for each."""
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or r"(?!)")


_TEMPORARY = names_like(TEMPORARY)


def is_temporary(name: str) -> bool:
    """Names under which writers and copiers keep unfinished files (those of rsync begin with a point)."""
    return _TEMPORARY.match(name) is not None


@dataclass(frozen=True)
class Fingerprint:
    """What `stat` says of a fileset; any change of its bytes changes at least one of these.

    size: bytes in all. mtime_ns: of the newest file. content: name, inode, size and modification time of every file, and what
    makes one fileset of them.
    status: their change times, which a rename, a link or a change of permissions moves as well. The device number is left
    out: after a remount it may be another one, and nothing has changed.
    """

    files: int
    size: int
    mtime_ns: int
    content: str
    status: str

    def to_text(self) -> str:
        """Canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Fingerprint:
        """Inverse of `to_text`, after `json.loads`."""
        return cls(**value)


def is_tree(folder: bytes) -> bool:
    """Is this folder an OME-Zarr (by its name, which is there first, or by its metadata)?"""
    if folder.lower().endswith(b".zarr"):
        return True
    return any(os.path.lexists(os.path.join(folder, name)) for name in ZARR_METADATA)


def members_of(path: bytes, members: Sequence[str] | None = None) -> Iterator[tuple[bytes, os.stat_result]]:
    """(name, lstat) of every regular file of a fileset that is there, in order of name.

    Names are relative to the folder of a set and to the tree or slice folder itself; a single file has the name b"".
    members: names of a set beside `path`; None for everything else. Links are never followed.
    Raises FileNotFoundError when there is nothing at `path`, another OSError when it cannot be looked at.
    """
    if members is not None:
        folder = os.path.dirname(path)
        for name in sorted(os.fsencode(m) for m in members):
            try:
                found = os.lstat(os.path.join(folder, name))
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISREG(found.st_mode):
                yield name, found
        return
    found = os.lstat(path)
    if stat.S_ISREG(found.st_mode):
        yield b"", found
    elif stat.S_ISDIR(found.st_mode):
        yield from sorted(_tree(path) if is_tree(path) else _slices(path))


def _tree(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Every file below a folder; what vanishes meanwhile is left out, as it is by the next look."""
    prefixes = [b""]
    while prefixes:
        prefix = prefixes.pop()
        try:
            with os.scandir(os.path.join(root, prefix)) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        prefixes.append(prefix + entry.name + b"/")
                    elif entry.is_file(follow_symlinks=False) and (found := _lstat(entry)) is not None:
                        yield prefix + entry.name, found
        except (FileNotFoundError, NotADirectoryError):
            if not prefix:
                raise


def _slices(folder: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if (
                is_slice(os.fsdecode(entry.name))
                and entry.is_file(follow_symlinks=False)
                and (found := _lstat(entry)) is not None
            ):
                yield entry.name, found


def _lstat(entry: os.DirEntry[bytes]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_slice(name: str) -> bool:
    """Is a file of this name, in a folder of slices, one of them?"""
    return name.lower().endswith(SLICE_SUFFIXES) and not is_temporary(name)


def _kind(path: bytes, members: Sequence[str] | None) -> bytes:
    """What tells filesets of the same files apart that are read differently, or lack different files; nothing for a tree."""
    if members is not None:
        return b"set;" + b"".join(b"%d:%s;" % (len(name), name) for name in sorted(os.fsencode(m) for m in members))
    return b"" if is_tree(path) else b"slices;"


def fingerprint_of(path: bytes, members: Sequence[str] | None = None) -> Fingerprint | None:
    """The fingerprint of a fileset, or None when none of it is there.

    Raises OSError when it cannot be looked at: it may be there as well as not.
    """
    try:
        found = list(members_of(path, members))
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not found:
        return None
    if len(found) == 1 and not found[0][0]:
        s = found[0][1]
        return Fingerprint(1, s.st_size, s.st_mtime_ns, f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}", str(s.st_ctime_ns))
    content, status = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    content.update(_kind(path, members))
    for name, s in found:
        content.update(b"%d:%s:%d:%d:%d;" % (len(name), name, s.st_ino, s.st_size, s.st_mtime_ns))
        status.update(b"%d;" % s.st_ctime_ns)
    return Fingerprint(
        files=len(found),
        size=sum(s.st_size for _, s in found),
        mtime_ns=max(s.st_mtime_ns for _, s in found),
        content=content.hexdigest(),
        status=status.hexdigest(),
    )
