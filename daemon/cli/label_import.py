"""`alscope label import`: ground truth of a whole volume becomes a label of each of its patches."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from daemon.cli.session import Session
from daemon.errors import AlscopeError, NotRunningError, UsageError
from daemon.nearest import did_you_mean

POLL_S = 0.5
TRUTHS = (".tif", ".tiff", ".nrrd", ".nii", ".gz", ".h5", ".hdf5", ".mrc", ".rec", ".zarr", ".png")
"""Endings of files in a folder that may be masks."""
MOST_NAMES = 5


class ImportFailedError(AlscopeError):
    """The mask could not be used; the reason says why."""

    exit_code = 65


def import_truth(
    session: Session, path: Path, volume: str, user: str, skip_empty: bool, replace: bool, wait: bool
) -> tuple[str, str]:
    """(state, words): done with what became of the patches, or reading when it was not waited for.

    Raises ImportFailedError with the reason, UsageError for a name that no volume has, NotRunningError without a daemon.
    """
    from daemon.cli.asking import ask_and_wait
    from daemon.look import reading
    from daemon.store.label_listing import imported
    from daemon.workspace import read_holder

    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    number = _volume(session, volume)
    arguments = {
        "path": str(in_folder(path, volume).absolute()),
        "volume": number,
        "user": user,
        "skip_empty": skip_empty,
        "replace": replace,
    }
    number = int(ask_and_wait(session, "import-labels", arguments))
    while wait:
        with reading(session.workspace.root) as db:
            found = imported(db, number)
        if found is not None and found.state == "failed":
            raise ImportFailedError(f"not imported: {found.outcome}")
        if found is not None and found.state == "done":
            return "done", found.outcome
        if read_holder(session.workspace.lock_file) is None:
            raise NotRunningError("the daemon has stopped; the import goes on when it starts (`alscope run`)")
        time.sleep(POLL_S)
    return "reading", f"import {number} is under way; `alscope label list` shows the labels when it is done"


def in_folder(path: Path, volume: str) -> Path:
    """What in a folder is the truth of a volume: the file that bears its name, with or without more behind it
    ("stack_03_labels.tif" for stack_03.tif). A folder of slices, an OME-Zarr and a file are what they are.

    Raises UsageError when several files bear the name, or when there are files of several volumes and none does.
    """
    from alcore.fileset import is_tree

    if not path.is_dir() or is_tree(os.fsencode(path)):
        return path
    files = sorted(p for p in path.iterdir() if not p.name.startswith(".") and p.suffix.lower() in TRUTHS)
    stem = _stem(Path(volume).name)
    rests = {p: _stem(p.name).removeprefix(stem) for p in files if _stem(p.name).startswith(stem)}
    named = [p for p, rest in rests.items() if not rest or re.fullmatch(r"[ ._-]\D.*", rest)]
    if len(named) == 1:
        return named[0]
    if named:
        raise UsageError(
            f"{path}: several files are called after {volume!r}: {_names(named)}; name the one that is its truth"
        )
    if len({re.sub(r"\d+", "", p.name) for p in files}) > 1:  # slices differ in their numbers alone
        raise UsageError(
            f"{path}: no file in it is called after {volume!r} ({_names(files)}); name the one that is its truth"
        )
    return path


def _stem(name: str) -> str:
    """A file name without its ending, of which some have two."""
    return re.sub(r"(\.(ome|nii|seg|labels))?\.[^.]*$", "", name, flags=re.IGNORECASE).lower()


def _names(files: list[Path]) -> str:
    return ", ".join(p.name for p in files[:MOST_NAMES]) + (", ..." if len(files) > MOST_NAMES else "")


def _volume(session: Session, name: str) -> int:
    """The id of the volume of that name. Raises UsageError with the nearest name, or when it is the name of several."""
    from daemon.look import reading
    from daemon.store.label_listing import volume_names, volumes_called

    with reading(session.workspace.root) as db:
        found, names = volumes_called(db, name), volume_names(db)
    if len(found) == 1:
        return int(found[0]["id"])
    if found:
        raise UsageError(f"{len(found)} volumes are called {name!r}: {', '.join(str(v['name']) for v in found)}")
    raise UsageError(f"there is no volume {name!r}; {did_you_mean(name, names, '`alscope volumes` lists them')}")
