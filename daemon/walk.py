"""Finds the acquisitions in a watched folder: single files, OME-Zarr trees, folders of slices. Links are never followed."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from alcore.fileset import Fingerprint, fingerprint_of, is_slice, is_temporary, is_tree, members_of
from daemon.sets import Sets
from daemon.settle import is_wanted

INBOX = -1
"""The `watch` number of the label inbox."""


@dataclass(frozen=True)
class Folder:
    """A folder to scan. watch: its number in config.toml, or INBOX.

    include, exclude: patterns of names. slices: patterns of the paths, below this folder, of folders of which each is one
    volume of single slices ("." is the folder itself). marker: where a writer says that an acquisition is done, with {name}
    and {stem} for its name, beside it; or None.
    """

    path: Path
    watch: int
    settle_s: float
    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    marker: str | None = None


@dataclass(frozen=True)
class Found:
    """An acquisition in a watched folder. whole_folder: a tree or slices, which may grow by more files."""

    path: bytes
    fingerprint: Fingerprint
    whole_folder: bool = False


def walk(folder: Folder, sets: Sets, blocked: Callable[[bytes, str], None]) -> Iterator[Found]:
    """Every acquisition in a folder that is wanted; a set when any of its files is.

    blocked: called with a subfolder that cannot be listed, or an acquisition that cannot be looked at, and why; what
    vanishes is skipped. Raises OSError when the folder itself cannot be listed.
    """
    root = os.fsencode(folder.path)
    waiting = [(root, ".")]
    while waiting:
        path, inside = waiting.pop()
        try:
            if path != root and folder.watch != INBOX and is_tree(path):
                yield from _tree(path, folder)
                continue
            yield from _slices(path, inside, folder)
            yield from _list(path, inside, folder, sets, blocked, waiting)
        except (FileNotFoundError, NotADirectoryError):
            if path == root:
                raise
        except OSError as e:
            if path == root:
                raise
            blocked(path, e.strerror or str(e))


def _tree(path: bytes, folder: Folder) -> Iterator[Found]:
    wanted = _tree_is_wanted(os.fsdecode(os.path.basename(path)), folder)
    if wanted and (fingerprint := fingerprint_of(path)) is not None:
        yield Found(path, fingerprint, True)


def _list(
    path: bytes,
    inside: str,
    folder: Folder,
    sets: Sets,
    blocked: Callable[[bytes, str], None],
    waiting: list[tuple[bytes, str]],
) -> Iterator[Found]:
    """The acquisitions directly in one folder; its subfolders are put into `waiting`."""
    holds_slices = _are_slices(inside, folder)
    owners: set[bytes] = set()
    with os.scandir(path) as entries:
        for entry in entries:
            name = os.fsdecode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                if not is_temporary(name):
                    waiting.append((entry.path, name if inside == "." else f"{inside}/{name}"))
            elif (
                is_wanted(name, folder.include, folder.exclude)
                and not (holds_slices and is_slice(name))
                and entry.is_file(follow_symlinks=False)
            ):
                if standing := sets.owners(entry.path):
                    owners |= standing
                elif (fingerprint := _looked_at(entry.path, None, blocked)) is not None:
                    yield Found(entry.path, fingerprint)
    for owner in owners:
        members = sets.members(owner)
        if members is not None and (fingerprint := _looked_at(owner, members, blocked)) is not None:
            yield Found(owner, fingerprint, True)


def _looked_at(
    path: bytes, members: tuple[str, ...] | None, blocked: Callable[[bytes, str], None]
) -> Fingerprint | None:
    try:
        return fingerprint_of(path, members)
    except PermissionError:
        raise  # those of the folder are the reason, and the same for all in it
    except OSError as e:
        blocked(path, e.strerror or str(e))
        return None


def _slices(path: bytes, inside: str, folder: Folder) -> Iterator[Found]:
    if _are_slices(inside, folder) and (fingerprint := fingerprint_of(path)) is not None:
        yield Found(path, fingerprint, True)


def _are_slices(inside: str, folder: Folder) -> bool:
    return any(
        inside == "." if pattern == "." else inside != "." and fnmatch.fnmatchcase(inside, pattern)
        for pattern in folder.slices
    )


def _tree_is_wanted(name: str, folder: Folder) -> bool:
    """A tree may be called anything: its metadata say what it is."""
    named = name if name.lower().endswith(".zarr") else f"{name}.zarr"
    return is_wanted(named, folder.include, folder.exclude) and not is_wanted(name, folder.exclude, ())


def change_times_s(path: bytes, members: tuple[str, ...] | None) -> list[float]:
    """When each file of a fileset was last changed, by the clock of its file system."""
    try:
        return [s.st_ctime for _, s in members_of(path, members)]
    except OSError:
        return []


def newest_files(path: bytes, members: tuple[str, ...] | None, most: int) -> list[bytes]:
    """Paths of the files of a fileset that were changed last: if one is still being written, it is among them."""
    folder = os.path.dirname(path) if members is not None else path
    try:
        found = sorted(members_of(path, members), key=lambda f: -f[1].st_ctime_ns)[:most]
    except OSError:
        return []
    return [os.path.join(folder, name) if name else path for name, _ in found]


def is_marked(path: bytes, members: tuple[str, ...] | None, folder: Folder) -> bool:
    """Has the writer left its marker file for this acquisition, after the last change of its files?

    By the change times, which the file system itself sets: a copy keeps modification times, also those of a marker that
    comes before its acquisition.
    """
    if folder.marker is None:
        return False
    name = os.fsdecode(os.path.basename(path))
    said = folder.marker.format(name=name, stem=_stem(path, name))
    try:
        found = os.stat(os.path.join(os.path.dirname(path), os.fsencode(said)))
        return found.st_ctime_ns >= max(
            (s.st_ctime_ns for _, s in members_of(path, members)), default=found.st_ctime_ns + 1
        )
    except (OSError, ValueError):
        return False


def _stem(path: bytes, name: str) -> str:
    """An acquisition's name without what says its format; a folder of slices may have a point in its name."""
    if os.path.isdir(path) and not name.lower().endswith(".zarr"):
        return name
    return os.path.splitext(name)[0].removesuffix(".ome")


def missing_members(path: bytes, members: tuple[str, ...]) -> list[str]:
    """Names of the files of a set that are not there."""
    try:
        there = {os.fsdecode(name) for name, _ in members_of(path, members)}
    except OSError:
        there = set()
    return sorted(name for name in members if name not in there)
