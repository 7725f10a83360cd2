"""What people ask about labels: undo one, import the mask of a whole volume."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from alcore.fileset import fingerprint_of
from daemon.errors import UsageError
from daemon.people import name_of
from daemon.wording import count

if TYPE_CHECKING:
    from daemon.engine import Engine


def _undo(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """Withdraw the newest label of a suggestion; nothing is deleted."""
    suggestion = engine.store.annotation.suggestion(str(arguments["id"]))
    if suggestion is None:
        raise UsageError(f"there is no suggestion {str(arguments['id'])!r}; `alscope label list` shows all labels")
    left, rounds = engine.store.labels.withdraw(suggestion, now)
    words = (
        f"the newest label of {suggestion.id} is withdrawn; "
        + (f"the one before it counts again ({count(left, 'label')} of it left)" if left else "it is open again")
        + (f"; round {', '.join(map(str, rounds))} used it, and keeps it in its history" if rounds else "")
    )
    engine.store.state.event("label", words, now)
    return words


def _import(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """Cut the mask of a whole volume into labels; answers with the number of the request."""
    path = os.fsencode(str(arguments["path"]))
    volume = engine.store.volumes.get(int(arguments["volume"]))
    if volume is None:
        raise UsageError(f"there is no volume {arguments['volume']} that can be read now; `alscope volumes` shows them")
    try:
        fingerprint = fingerprint_of(path)
    except OSError as e:
        raise UsageError(f"{arguments['path']}: cannot be looked at ({e.strerror})") from e
    if fingerprint is None:
        raise UsageError(f"{arguments['path']}: no such file")
    options = {"replace": bool(arguments.get("replace")), "skip_empty": bool(arguments.get("skip_empty"))}
    author = name_of(arguments.get("user"))
    return str(engine.store.truth.ask(volume.id, path, fingerprint.to_text(), options, author, now))


VERBS = {"undo-label": _undo, "import-labels": _import}
