"""Read-only: who has which patch now, and what the queue has for people."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True)
class HeldView:
    """Who has a suggestion now. left_s: what was left of the lease when the daemon last looked, in seconds."""

    user: str
    since: float
    left_s: float


@dataclass(frozen=True)
class QueueState:
    """Suggestions by what people can do with them: ready (to be taken), preparing (their folder is being made), claimed,
    checking (their label is), rejected (to be mended). patches: in all volumes; embedded: volumes; answered: suggestions that
    were; exhausted: the last search for more found none."""

    ready: int
    preparing: int
    claimed: int
    checking: int
    rejected: int
    patches: int
    embedded: int
    answered: int
    exhausted: bool


def held(db: sqlite3.Connection, suggestion_id: str) -> HeldView | None:
    """Who has a suggestion now, or None."""
    sql = "SELECT user, since, left_s FROM claim WHERE suggestion_id = ? AND ended IS NULL"
    row = db.execute(sql, [suggestion_id]).fetchone()
    return None if row is None else HeldView(row[0], row[1], row[2])


def all_held(db: sqlite3.Connection) -> dict[str, HeldView]:
    """Who has what now, by suggestion."""
    rows = db.execute("SELECT suggestion_id, user, since, left_s FROM claim WHERE ended IS NULL ORDER BY id")
    return {row[0]: HeldView(row[1], row[2], row[3]) for row in rows}


def queue_state(db: sqlite3.Connection) -> QueueState:
    """What the queue has for people now. Works on the daemon's connection and on a reader's alike."""

    def count(sql: str) -> int:
        return int(db.execute(sql).fetchone()[0])

    states = "SELECT COUNT(*) FROM suggestion WHERE state = "
    newest = db.execute(
        "SELECT json_extract(result, '$.eligible') FROM job WHERE stage = 'suggestions' AND state = 'done'"
        " ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return QueueState(
        ready=count(states + "'open' AND published = 1"),
        preparing=count(states + "'open' AND published = 0"),
        claimed=count(states + "'claimed'"),
        checking=count(states + "'submitted'"),
        rejected=count(states + "'rejected'"),
        patches=count("SELECT COALESCE(SUM(n_patches), 0) FROM volume"),
        embedded=count("SELECT COUNT(DISTINCT volume_id) FROM job WHERE stage = 'embedding' AND state = 'done'"),
        answered=count(
            "SELECT COUNT(*) FROM suggestion WHERE state IN ('accepted', 'skipped') AND skip_kind <> 'taken back'"
        ),
        exhausted=newest is not None and newest[0] == 0,
    )


def nothing_words(state: QueueState) -> str:
    """Why nobody can be given a patch just now, and what has to happen first, in friendly words. "" when one is ready."""
    if state.ready:
        return ""
    if state.preparing:
        return f"{_patches(state.preparing)} being prepared for you; try again in a moment"
    if not state.patches:
        return "no volume has been read yet: the first patches are suggested a minute or two after the first volume arrives"
    if not state.embedded and not (state.claimed or state.checking or state.rejected):
        return "the volumes are being looked at: the first patches are suggested once some are embedded; see `alscope status`"
    waiting = [
        (state.claimed, "in the hands of others"),
        (state.checking, "just being checked"),
        (state.rejected, "waiting for a mended label of those who drew them (`alscope queue`)"),
    ]
    parts = [f"{_patches(n)} {words}" for n, words in waiting if n]
    if state.exhausted or state.answered >= state.patches:
        done = "everything worth asking about has been asked: the pool holds no patch that would teach much more"
        return "; ".join([done, *parts, "new volumes bring new patches, `alscope train` begins a round now"])
    return "; ".join([*parts, "more patches are being chosen; try again in a moment"])


def _patches(n: int) -> str:
    return "1 patch is" if n == 1 else f"{n} patches are"
