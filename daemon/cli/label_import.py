"""`alscope label import`: ground truth of a whole volume becomes a label of each of its patches."""

from __future__ import annotations

import difflib
import time
from pathlib import Path

from daemon.cli.session import Session
from daemon.errors import AlscopeError, NotRunningError, UsageError

POLL_S = 0.5


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
    arguments = {
        "path": str(path.absolute()),
        "volume": _volume(session, volume),
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
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`alscope volumes` lists them"
    raise UsageError(f"there is no volume {name!r}; {hint}")
