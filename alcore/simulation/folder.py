"""The folder of the results: whether a simulation may write into it, who works in it, and what in it is a simulation's."""

from __future__ import annotations

import contextlib
import fcntl
import re
from collections.abc import Iterator
from pathlib import Path

from alcore.artifact import write_atomic
from alcore.disk import full_words
from alcore.errors import DiskFullError, PermanentError, TransientError

LOCK, WRITTEN, FAILURE = ".lock", ".written", "failure.txt"
"""WRITTEN: names of the tables and pictures that a run has written, one a line: only these does a later one remove."""
SHOWN = ("tables", "figures")
OF_A_RUN = ("cache", "cells", *SHOWN, "results.csv", "picks.csv", "latent.npz", "run.json", "report.html", FAILURE)
"""Everything that lies in the folder of a simulation, but for hidden files."""


def made_here(folder: Path) -> bool:
    """Was this folder made by a simulation? It has its lock, or cells in folders named by a digest."""
    if (folder / LOCK).is_file():
        return True
    with contextlib.suppress(OSError):
        return any(re.fullmatch("[0-9a-f]{16}", entry.name) for entry in (folder / "cells").iterdir())
    return False


def prepare(out: Path) -> None:
    """Make the folder. Raises PermanentError for a file, a folder that cannot be made, and one with files of somebody else:
    what lies there would be overwritten. Hidden files, and folders of other simulations, do not matter."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        foreign = [] if made_here(out) else sorted(e.name for e in out.iterdir() if not _harmless(e))
    except (FileExistsError, NotADirectoryError):
        raise PermanentError(f"--out {out}: is, or lies below, a file; name a folder that is new or empty") from None
    except PermissionError as e:
        raise PermanentError(f"--out {out}: cannot be used ({e.strerror}); name another folder") from e
    if foreign:
        some = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise PermanentError(
            f"--out {out}: holds files that no simulation wrote ({some}), which the results could overwrite; name a folder "
            "that is new or empty"
        )


def _harmless(entry: Path) -> bool:
    return entry.name.startswith(".") or (entry.is_dir() and made_here(entry))


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Raises TransientError while another run works in the folder; a killed one holds nothing."""
    with open(out / LOCK, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TransientError(
                f"{out}: another simulation is at work in this folder; wait for it, or use another --out"
            ) from None
        yield


def no_room(out: Path) -> DiskFullError:
    """The error of a full disk: whoever runs the command has to go on by hand."""
    return DiskFullError(full_words(out).rpartition("; ")[0] + "; free some space there, then the same command goes on")


class Written:
    """The tables and pictures of a run. A file is entered in the list before it is written: a kill leaves none unlisted."""

    def __init__(self, out: Path) -> None:
        self._list = out / WRITTEN
        self._out = out
        self._now: list[str] = []
        for name in SHOWN:
            (out / name).mkdir(exist_ok=True)

    def place(self, kind: str, name: str) -> Path:
        """Where to write the file `name` in tables or figures."""
        path = self._out / kind / name
        self._now.append(f"{kind}/{name}")
        with open(self._list, "a", encoding="utf-8") as listed:
            listed.write(f"{kind}/{name}\n")
        return path

    def clear(self) -> None:
        """Remove what an earlier run has written and this one has not."""
        listed = self._list.read_text(encoding="utf-8").splitlines() if self._list.exists() else []
        for name in set(listed) - set(self._now):
            kind, _, file = name.partition("/")
            if kind in SHOWN and file != ".." and Path(file).name == file != "":
                (self._out / kind / file).unlink(missing_ok=True)
        write_atomic(self._list, "".join(f"{name}\n" for name in self._now).encode())
