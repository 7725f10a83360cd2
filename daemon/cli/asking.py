"""Ask the daemon for something and wait for its answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from daemon.cli.session import Session
from daemon.commands import ask
from daemon.errors import AlscopeError, NotRunningError, WorkspaceError
from daemon.look import reading
from daemon.store.listing import command_outcome
from daemon.workspace import read_holder

ANSWER_S = 10.0
POLL_S = 0.1


class RefusedError(AlscopeError):
    """The daemon understood, and said no."""


def ask_and_wait(session: Session, verb: str, arguments: Mapping[str, Any]) -> str:
    """The daemon's answer. Raises RefusedError with its reason, NotRunningError when nobody answers (the wish is kept)."""
    workspace = session.workspace
    if not workspace.commands.is_dir():
        raise WorkspaceError(f"{workspace.root}: no workspace here yet; start the daemon with `alscope run`")
    command = ask(workspace, verb, arguments)
    if read_holder(workspace.lock_file) is None:
        raise NotRunningError(
            f"the daemon is not running; {verb!r} is kept, and carried out when it starts (`alscope run`)"
        )
    until = time.monotonic() + ANSWER_S
    while time.monotonic() < until:
        with reading(workspace.root) as db:
            answer = command_outcome(db, command)
        if answer is not None:
            ok, outcome = answer
            if not ok:
                raise RefusedError(outcome)
            return outcome
        time.sleep(POLL_S)
    raise NotRunningError(
        f"the daemon has not answered within {ANSWER_S:.0f} s; {verb!r} is kept, and carried out when it comes to it"
    )
