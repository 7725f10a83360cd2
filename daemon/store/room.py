"""What lies in the workspace, in SQL: how much of each kind, and which results nobody needs any more."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.store.connection import transaction
from daemon.store.job_levels import OUTGROWN
from daemon.store.jobs import Jobs
from daemon.store.room_listing import room_view
from daemon.store.rows import EncoderRow
from daemon.store.views import RoomView
from daemon.store.volumes import SOURCES

if TYPE_CHECKING:
    from sqlite_utils import Database

VECTORS = ("embedding", "kept_embedding")
"""Stages whose results belong to one encoder."""
TAKEN_IN = ("suggestions", "novelty")
"""Stages whose results are in the database once their job is done, and that no other stage reads."""
FIRST_EVENTS, LAST_EVENTS = 20, 100
"""So many moves of a job are remembered: those that it began with, and the latest."""
_NAMED = (
    f"(state = 'failed' AND stage NOT IN ('volume', 'label') AND error_kind <> 'encoder_rejected' AND NOT {OUTGROWN})"
)
"""SQL: the status names this failed job, and with it its log."""


@dataclass(frozen=True)
class Needless:
    """A result that may go, and the job that made it."""

    job: int
    key: str


class Room:
    """The hands of `daemon.tidying` and `daemon.budget` in the database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # how much there is

    def results(self) -> dict[str, int]:
        """Bytes of the results that are there, by the stage that made them."""
        sql = "SELECT stage, SUM(bytes) AS n FROM artifact WHERE cleared_at IS NULL GROUP BY stage"
        return {r["stage"]: int(r["n"]) for r in self._db.query(sql)}

    def measured(self, kinds: Mapping[str, int], budget_bytes: int, now: float) -> None:
        """This is what lies there."""
        with transaction(self._db):
            row = {"id": 1, "kinds": json.dumps(dict(kinds)), "budget_bytes": budget_bytes, "at": now}
            self._db.table("room").upsert(row, pk="id")

    def last(self) -> RoomView | None:
        """What was measured last, also by an earlier daemon."""
        return room_view(self._db.conn)

    # results that nobody needs

    def note_use(self, now: float) -> None:
        """Remember since when encoders are out of use."""
        used = "state IN ('current', 'embedding')"
        if any(self._db.query(f"SELECT 1 FROM encoder WHERE ({used}) = (unused_since IS NOT NULL)")):
            with transaction(self._db):
                self._db.execute(f"UPDATE encoder SET unused_since = NULL WHERE {used}")
                self._db.execute(
                    f"UPDATE encoder SET unused_since = ? WHERE unused_since IS NULL AND NOT {used}", [now]
                )

    def encoders_unused(self, before: float) -> list[EncoderRow]:
        """Encoders that are out of use since before then; none as long as no encoder selects."""
        sql = (
            "SELECT id, recipe AS artifact, state, n_patches, kind, design FROM encoder WHERE unused_since < ?"
            " AND EXISTS (SELECT 1 FROM encoder WHERE state = 'current')"
        )
        return [EncoderRow(**r) for r in self._db.query(sql, [before])]

    def vectors(self, specs: Iterable[str], limit: int) -> list[Needless]:
        """Vectors of these specs that can be made again: their acquisition can be read, or what they are of was kept."""
        readable = f"EXISTS (SELECT 1 FROM volume v WHERE v.id = j.volume_id AND EXISTS (SELECT 1 FROM {SOURCES}))"
        sql = (
            f"SELECT j.id AS job, j.key FROM job j WHERE j.stage IN {VECTORS} AND j.state = 'done'"
            f" AND j.spec IN (SELECT value FROM json_each(?)) AND (j.volume_id IS NULL OR {readable}) ORDER BY j.id LIMIT ?"
        )
        return [Needless(**r) for r in self._db.query(sql, [json.dumps(list(specs)), limit])]

    def withdrawn_vectors(self, limit: int) -> list[Needless]:
        """Vectors whose job was withdrawn, and whose files may be there."""
        sql = (
            "SELECT j.id AS job, j.key FROM job j JOIN artifact a ON a.key = j.key AND a.cleared_at IS NULL"
            f" WHERE j.state IN ('failed', 'cancelled') AND j.stage IN {VECTORS} AND j.spec = '' AND j.state = 'cancelled'"
            " AND j.error_kind = 'withdrawn' ORDER BY j.id LIMIT ?"
        )  # the first condition on the state is that of the index job_given_up
        return [Needless(**r) for r in self._db.query(sql, [limit])]

    def taken_in(self, before: float, limit: int) -> list[Needless]:
        """Results that were taken into the database before then."""
        sql = (
            "SELECT j.id AS job, j.key FROM job j JOIN artifact a ON a.key = j.key AND a.cleared_at IS NULL"
            f" WHERE j.stage IN {TAKEN_IN} AND j.state = 'done' AND j.finished_at < ? ORDER BY j.id LIMIT ?"
        )
        return [Needless(**r) for r in self._db.query(sql, [before, limit])]

    def needed(self) -> set[str]:
        """Results that a job which has not ended may still read, also one that was planned when another model or encoder was in use."""
        sql = (
            "SELECT DISTINCT json_extract(i.value, '$.key') AS key FROM job j, json_each(j.inputs) n, json_each(n.value) i"
            " WHERE j.state IN ('waiting', 'ready', 'running')"
        )
        return {r["key"] for r in self._db.query(sql)}

    def withdraw(self, found: Sequence[Needless], why: str, now: float) -> None:
        """These count no more, and are made again when they are wanted again."""
        with transaction(self._db):
            for one in found:
                Jobs(self._db).withdraw(one.job, why, now)

    def cleared(self, keys: Collection[str], now: float) -> None:
        """The files of these results are not there any more."""
        with transaction(self._db):
            sql = "UPDATE artifact SET cleared_at = ? WHERE key IN (SELECT value FROM json_each(?))"
            self._db.execute(sql, [now, json.dumps(sorted(keys))])

    # logs and rows

    def ended(self, ids: Collection[int], before: float) -> set[int]:
        """Of these jobs those that ended before then, but for those that failed and are named in the status."""
        sql = (
            "SELECT id FROM job WHERE id IN (SELECT value FROM json_each(?)) AND state IN ('done', 'failed', 'cancelled')"
            f" AND COALESCE(finished_at, created_at) < ? AND NOT {_NAMED}"
        )
        return {r["id"] for r in self._db.query(sql, [json.dumps(sorted(ids)), before])}

    def known(self, ids: Collection[int]) -> set[int]:
        """Those of these jobs that there are."""
        sql = "SELECT id FROM job WHERE id IN (SELECT value FROM json_each(?))"
        return {r["id"] for r in self._db.query(sql, [json.dumps(sorted(ids))])}

    def shorten_stories(self) -> int:
        """Forget the moves in the middle of jobs that moved very often, but for failures, which are counted. Returns how many."""
        most = FIRST_EVENTS + LAST_EVENTS
        long = "SELECT job_id FROM job_event GROUP BY job_id HAVING COUNT(*) - SUM(finish = 'failed') > ?"
        ids = [r["job_id"] for r in self._db.query(long, [most])]
        if not ids:
            return 0
        sql = (
            "DELETE FROM job_event WHERE id IN (SELECT id FROM (SELECT id, finish, ROW_NUMBER() OVER (PARTITION BY job_id ORDER BY id)"
            " AS first, ROW_NUMBER() OVER (PARTITION BY job_id ORDER BY id DESC) AS last FROM job_event"
            " WHERE job_id IN (SELECT value FROM json_each(?))) WHERE first > ? AND last > ? AND finish <> 'failed')"
        )
        with transaction(self._db):
            return int(self._db.execute(sql, [json.dumps(ids), FIRST_EVENTS, LAST_EVENTS]).rowcount)

    def forget_commands(self, before: float) -> int:
        """Answers to commands that were asked for long ago; what the ledger counts (skipped patches) stays. Returns how many."""
        old = "verb <> 'skip' AND at < ?"
        if not any(self._db.query(f"SELECT 1 FROM command WHERE {old} LIMIT 1", [before])):
            return 0
        with transaction(self._db):
            return int(self._db.execute(f"DELETE FROM command WHERE {old}", [before]).rowcount)

    def claimed(self) -> set[str]:
        """Packages of the patches that somebody works on."""
        sql = "SELECT package FROM suggestion WHERE state = 'claimed' AND package IS NOT NULL"
        return {r["package"] for r in self._db.query(sql)}
