"""Taking a patch to work on it, keeping it, giving it back: what the annotation window and `alscope queue` ask of the daemon."""

from __future__ import annotations

import contextlib
import getpass
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daemon.cli.asking import RefusedError, ask_and_wait
from daemon.cli.session import Session
from daemon.commands import ask
from daemon.errors import AlscopeError, UsageError
from daemon.people import name_of
from daemon.store.schema_claims import SKIP_REASONS
from daemon.workspace import read_holder


class NothingWaitsError(RefusedError):
    """There is no patch to annotate now; the words say why, and what has to happen first."""


@dataclass(frozen=True)
class Held:
    """Who works on a patch now. left_s: seconds until the claim runs out unless it is renewed, as of the daemon's last look."""

    user: str
    left_s: float


def login() -> str:
    """Who sits here, where nobody says otherwise."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def claim(session: Session, suggestion_id: str | None, user: str, take_over: bool = False) -> str:
    """Take a patch to annotate it, the next one for None; returns its id. One that the user has already is given again.

    Raises NothingWaitsError when there is none for this user now, UsageError for a name that does not exist, RefusedError
    with who has it and for how long (unless take_over) or why nobody can have it, NotRunningError without a daemon.
    """
    if suggestion_id is not None:
        from daemon.cli.queue import find

        suggestion_id = find(session, suggestion_id).id
    wish = {"id": suggestion_id, "user": named(user), "take_over": take_over}
    answer = json.loads(ask_and_wait(session, "claim", wish))
    if "nothing" in answer:
        raise NothingWaitsError(str(answer["nothing"]))
    return str(answer["id"])


def renew(session: Session, suggestion_id: str, user: str) -> None:
    """Still at it: the lease begins anew. Never raises, does not wait; `holder` tells when somebody took it over."""
    _leave(session, "renew", suggestion_id, user)


def release(session: Session, suggestion_id: str, user: str) -> None:
    """Give a patch back to the queue. Never raises, does not wait."""
    _leave(session, "release", suggestion_id, user)


def skip(
    session: Session,
    suggestion_id: str,
    user: str,
    reason_kind: str,
    note: str = "",
    work: Mapping[str, float] | None = None,
) -> None:
    """Take a patch out of the queue for one of `SKIP_REASONS`. work: what it took to find that out, as is said with a label
    (see `daemon.commands.leave_label_note`). Raises UsageError, RefusedError (somebody else has it, or it was answered), or
    NotRunningError (the wish is kept)."""
    if reason_kind not in SKIP_REASONS:
        raise UsageError(f"{reason_kind!r} is no reason to skip; known: {', '.join(SKIP_REASONS)}")
    wish = {"id": suggestion_id, "user": named(user), "kind": reason_kind, "reason": note, "work": dict(work or {})}
    ask_and_wait(session, "skip", wish)


def holder(session: Session, suggestion_id: str) -> Held | None:
    """Who has a patch now, read from the database; None when nobody has. Raises WorkspaceError."""
    from daemon.look import reading
    from daemon.store.claim_listing import held

    with reading(session.workspace.root) as db:
        found = held(db, suggestion_id)
    return None if found is None else Held(found.user, found.left_s)


def progress_today(session: Session, user: str) -> dict[str, Any]:
    """What a user did since midnight: labels, objects, minutes (of active work, where the tool tells), skipped (patches),
    skipped_minutes, since_round (labels of everybody that no round has used), words (one line for the dock). Raises
    WorkspaceError."""
    from daemon.look import reading
    from daemon.store.ledger import progress_since

    now = time.localtime()
    midnight = time.mktime((now.tm_year, now.tm_mon, now.tm_mday, 0, 0, 0, 0, 0, -1))
    with reading(session.workspace.root) as db:
        found = progress_since(db, user, midnight)
    return {
        "labels": found.labels,
        "objects": found.objects,
        "minutes": found.minutes,
        "skipped": found.skipped,
        "skipped_minutes": found.skipped_minutes,
        "since_round": found.since_round,
        "words": found.words(),
    }


def named(user: str) -> str:
    """The name under which the daemon knows a user. Raises UsageError for what is no name."""
    name = name_of(user)
    if not name:
        raise UsageError("say who you are: --user NAME")
    return name


def _leave(session: Session, verb: str, suggestion_id: str, user: str) -> None:
    with contextlib.suppress(AlscopeError, OSError):
        workspace = session.workspace
        if workspace.commands.is_dir() and read_holder(workspace.lock_file) is not None:
            ask(workspace, verb, {"id": suggestion_id, "user": named(user)})
