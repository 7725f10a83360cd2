"""Where drafts lie, whose they are, and that one window at a time writes them: looked up without reading a voxel.

`drafts/<suggestion>/<user>/` belongs to one person. A draft in `drafts/<suggestion>/` itself is of a time when people shared that
folder; it is found, and no longer written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from alcore.errors import PermanentError

DRAFT, UNCOMMITTED, AUTOMATIC, OTHERS, ABOUT = (
    "draft.tif",
    "uncommitted.tif",
    "automatic.tif",
    "others.tif",
    "draft.json",
)
ASIDE = "put.aside"
"""Folder beside a draft with what "Start again" put aside: a draft, too."""
LOCK = "window.lock"
NAME_LENGTH = 40

Stamp = tuple[int, int, int]
"""Tells one writing of a draft from another."""


class DraftInUseError(PermanentError):
    """Another window has this draft open."""


def own_folder(patch: Path, user: str) -> Path:
    """Folder of one user below that of a patch. Two users never share one, also where a file system takes "Ana" for "ana"."""
    name = user.strip()
    plain = re.sub(r"[^a-z0-9_-]", "_", name.lower())[:NAME_LENGTH]
    if plain == name and name:
        return patch / name
    return patch / f"{plain}.{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"


def drafted_by(folder: Path) -> str | None:
    """Who drew the draft in a folder, "" where that was not written down; None where there is no draft."""
    if not (folder / DRAFT).is_file():
        return None
    try:
        about = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError):  # killed before it was written the first time
        return ""
    return str(about.get("user", "")) if isinstance(about, dict) else ""


def begun(patch: Path, user: str) -> bool | None:
    """Did this user begin to draw a patch (True), somebody else only (False), or nobody (None)?"""
    if (own_folder(patch, user) / DRAFT).is_file() or drafted_by(patch) == user:
        return True
    return False if any(_drafts_below(patch)) else None


def to_begin_with(patch: Path, user: str) -> list[Path]:
    """Folders whose draft a user may go on from, best first: their own, what they put aside, then the newest."""
    own = own_folder(patch, user)
    mine = [own, *([patch] if drafted_by(patch) == user else []), own / ASIDE]
    others = sorted(_drafts_below(patch), key=lambda folder: -(stamp(folder) or (0, 0, 0))[0])
    return [folder for folder in mine if stamp(folder)] + [folder for folder in others if folder not in mine]


def _drafts_below(patch: Path) -> Iterator[Path]:
    """Folders of everybody that hold a draft."""
    if not patch.is_dir():
        return
    for folder in (patch, *sorted(p for p in patch.iterdir() if p.is_dir())):
        if stamp(folder):
            yield folder


def stamp(folder: Path) -> Stamp | None:
    """Which draft lies in a folder; another one after every writing, None where there is none."""
    try:
        found = (folder / DRAFT).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def forget_draft(folder: Path) -> None:
    """Remove a draft and what was put aside for it, and nothing else that lies there."""
    for name in (DRAFT, UNCOMMITTED, AUTOMATIC, OTHERS, ABOUT):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / ASIDE, ignore_errors=True)


def drafts_of(patch: Path, user: str) -> dict[Path, Stamp | None]:
    """What a user kept of a patch, to be forgotten by `forget_unchanged` once their label was accepted."""
    own = own_folder(patch, user)
    return {folder: stamp(folder) for folder in (own, *([patch] if drafted_by(patch) == user else []))}


def forget_unchanged(drafts: dict[Path, Stamp | None]) -> None:
    """Remove drafts that are still as they were, and that no window has open: what was drawn since is another draft."""
    for folder, was in drafts.items():
        with contextlib.suppress(DraftInUseError), one_window(folder):
            if stamp(folder) == was:
                forget_draft(folder)


@contextlib.contextmanager
def one_window(folder: Path) -> Iterator[None]:
    """No other window opens the drafts of a folder meanwhile; the kernel lets go whatever happens to this process.

    Raises DraftInUseError at once when one has them open.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DraftInUseError(
                f"{folder}: another window has this draft open; go on there, or close it first"
            ) from None
        yield
    finally:
        os.close(fd)
