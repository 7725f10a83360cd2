"""Alarms in SQL: raised once, told on every way out, remembered across restarts; and the run that was declared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from daemon.alarms import LATE_S, MOST_TRIES, RECENT_S, Alarm, Expectation, again_after_s
from daemon.store.connection import FULL_NAME, insert, transaction

if TYPE_CHECKING:
    from sqlite_utils import Database

TOGETHER = 100
"""Alarms that are told together at most."""
KEEP = 1000
"""Alarms that are remembered; those that are younger than `LATE_S` are in any case."""


class Alarms:
    """One row for each alarm, one for each way out that it has to take."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._seen_volume = 0

    def happened(self, now: float) -> Iterator[Alarm]:
        """What happened within `RECENT_S` and was not raised yet: unusual or damaged volumes, trainings that finished."""
        yield from self._novel(now - RECENT_S)
        yield from self._poor(now - RECENT_S)
        yield from self._trained(now - RECENT_S)

    def _novel(self, since: float) -> Iterator[Alarm]:
        for r in self._db.query(
            f"SELECT v.id, {FULL_NAME} AS name, n.alarm FROM novelty n JOIN volume v ON v.id = n.volume_id"
            " WHERE n.alarm <> '' AND n.at >= ? GROUP BY v.id HAVING NOT EXISTS"
            " (SELECT 1 FROM alarm a WHERE a.kind = 'novelty' AND a.subject = 'volume:' || v.id) ORDER BY v.id",
            [since],
        ):
            yield Alarm("novelty", f"volume:{r['id']}", f"{r['name']}: {r['alarm']}")

    def _poor(self, since: float) -> Iterator[Alarm]:
        """Warnings about volumes. They are written with the volume and do not change: those below `_seen_volume` need no look."""
        newest = int(next(self._db.query("SELECT COALESCE(MAX(id), 0) AS n FROM volume"))["n"])
        rows = list(
            self._db.query(
                f"SELECT v.id, {FULL_NAME} AS name, v.quality FROM volume v WHERE v.id > ? AND v.id <= ? AND v.created_at >= ?"
                " AND json_array_length(v.quality, '$.warnings') > 0 AND NOT EXISTS"
                " (SELECT 1 FROM alarm a WHERE a.kind = 'quality' AND a.subject = 'volume:' || v.id) ORDER BY v.id",
                [self._seen_volume, newest, since],
            )
        )
        if not rows:  # all below were raised
            self._seen_volume = newest
        for r in rows:
            text = "; ".join(json.loads(r["quality"])["warnings"])
            yield Alarm("quality", f"volume:{r['id']}", f"{r['name']}: {text}")

    def _trained(self, since: float) -> Iterator[Alarm]:
        for r in self._db.query(
            "SELECT number, state, model, promoted, verdict FROM round WHERE state IN ('done', 'failed') AND finished_at >= ?"
            " AND NOT EXISTS (SELECT 1 FROM alarm a WHERE a.kind = 'training'"
            " AND a.subject = CASE state WHEN 'failed' THEN 'failed round:' ELSE 'round:' END || number) ORDER BY number",
            [since],
        ):
            outcome = "failed" if r["state"] == "failed" else "promoted" if r["promoted"] else "not promoted"
            subject = (
                f"{'failed ' * (r['state'] == 'failed')}round:{r['number']}"  # a round that failed may end well later
            )
            model = f"{r['model']} " if r["model"] else ""
            yield Alarm("training", subject, f"round {r['number']}: {model}{outcome}: {r['verdict']}")
        for r in self._db.query(
            "SELECT version FROM model WHERE kind = 'pretrained' AND created_at >= ? AND NOT EXISTS"
            " (SELECT 1 FROM alarm a WHERE a.kind = 'training' AND a.subject = 'model:' || version) ORDER BY id",
            [since],
        ):
            yield Alarm(
                "training", f"model:{r['version']}", f"{r['version']}: pre-training on pseudo-labels has finished"
            )

    def problems(self, kinds: Sequence[str]) -> list[tuple[str, str, str]]:
        """(kind, subject, message) of the problems of these kinds that the daemon has now."""
        marks = ", ".join("?" * len(kinds))
        sql = f"SELECT kind, subject, message FROM problem WHERE kind IN ({marks}) ORDER BY kind, subject"
        return [(r["kind"], r["subject"], r["message"]) for r in self._db.query(sql, list(kinds))]

    def last_arrival(self) -> float | None:
        """When a file was last new, or growing."""
        sql = "SELECT MAX(iif(state = 'arriving', MAX(first_seen, changed_at), first_seen)) AS at FROM source"
        return next(self._db.query(sql))["at"]

    def n_suggested(self) -> int:
        """Patches that were ever suggested."""
        return int(next(self._db.query("SELECT COUNT(*) AS n FROM suggestion"))["n"])

    # raising

    def raise_(self, alarm: Alarm, channels: Iterable[str], repeat_s: float, now: float) -> bool:
        """Raise an alarm, to be told on these ways out. False when it is known: it happened before, it lasts, or it was told
        less than `repeat_s` ago (then it lasts again, and is not told)."""
        with transaction(self._db):
            sql = "SELECT id, lasting, ended_at, raised_at FROM alarm WHERE kind = ? AND subject = ? ORDER BY id DESC LIMIT 1"
            last = next(self._db.query(sql, [alarm.kind, alarm.subject]), None)
            if last is not None and (not alarm.lasting or last["ended_at"] is None):
                return False
            if last is not None and now - last["raised_at"] < repeat_s:
                self._db.execute("UPDATE alarm SET ended_at = NULL WHERE id = ?", [last["id"]])
                return False
            row = {
                "kind": alarm.kind,
                "subject": alarm.subject,
                "message": alarm.message,
                "lasting": int(alarm.lasting),
                "raised_at": now,
                "ended_at": None if alarm.lasting else now,
            }
            made = insert(self._db, "alarm", row)
            for channel in channels:
                values = {"alarm_id": made, "channel": channel, "not_before": now}
                self._db.table("alarm_delivery").insert(values)
            if made % 100 == 0:
                self._db.execute("DELETE FROM alarm WHERE id <= ? AND raised_at < ?", [made - KEEP, now - LATE_S])
        return True

    def end(self, still: Iterable[Alarm], unknown: Sequence[str], now: float) -> list[Alarm]:
        """Conditions that lasted and are not among these any more are over; those of unknown kinds may still be true. Returns
        those that are over."""
        there = {(alarm.kind, alarm.subject) for alarm in still}
        rows = list(self._db.query("SELECT id, kind, subject, message FROM alarm WHERE ended_at IS NULL"))
        over = [r for r in rows if (r["kind"], r["subject"]) not in there and r["kind"] not in unknown]
        if over:
            with transaction(self._db):
                for r in over:
                    self._db.execute("UPDATE alarm SET ended_at = ? WHERE id = ?", [now, r["id"]])
        return [Alarm(r["kind"], r["subject"], r["message"], True) for r in over]

    # telling

    def waiting(self, channel: str, now: float) -> list[tuple[int, Alarm, float]]:
        """(id, alarm, when it was raised) of those to be told on this way out now, oldest first; those that are too late are
        given up."""
        rows = list(
            self._db.query(
                "SELECT a.*, d.attempts FROM alarm_delivery d JOIN alarm a ON a.id = d.alarm_id"
                " WHERE d.state = 'waiting' AND d.channel = ? AND d.not_before <= ? ORDER BY a.id LIMIT ?",
                [channel, now, TOGETHER],
            )
        )
        late = [r["id"] for r in rows if r["attempts"] >= MOST_TRIES or r["raised_at"] < now - LATE_S]
        if late:
            with transaction(self._db):
                for number in late:
                    sql = "UPDATE alarm_delivery SET state = 'given up', at = ? WHERE alarm_id = ? AND channel = ?"
                    self._db.execute(sql, [now, number, channel])
        rows = [r for r in rows if r["id"] not in late]
        return [
            (r["id"], Alarm(r["kind"], r["subject"], r["message"], bool(r["lasting"])), r["raised_at"]) for r in rows
        ]

    def n_told(self, channel: str, since: float) -> int:
        """How many times something was told on this way out."""
        sql = "SELECT COUNT(DISTINCT at) AS n FROM alarm_delivery WHERE channel = ? AND state = 'told' AND at > ?"
        return int(next(self._db.query(sql, [channel, since]))["n"])

    def delivered(self, channel: str, ids: Sequence[int], error: str, now: float) -> None:
        """These were told, or could not be: then they wait for another try."""
        with transaction(self._db):
            for number in ids:
                where = "WHERE alarm_id = ? AND channel = ? AND state = 'waiting'"
                if not error:
                    sql = (
                        f"UPDATE alarm_delivery SET state = 'told', at = ?, attempts = attempts + 1, error = '' {where}"
                    )
                    self._db.execute(sql, [now, number, channel])
                    continue
                tried = next(self._db.query(f"SELECT attempts FROM alarm_delivery {where}", [number, channel]), None)
                wait = again_after_s(tried["attempts"] + 1 if tried else 1)
                sql = f"UPDATE alarm_delivery SET attempts = attempts + 1, not_before = ?, error = ? {where}"
                self._db.execute(sql, [now + wait, error, number, channel])

    # the declared run

    def expectation(self) -> Expectation | None:
        """The run that was declared, or None."""
        row = next(self._db.query("SELECT since, every_s, until FROM expectation"), None)
        return None if row is None else Expectation(row["since"], row["every_s"], row["until"])

    def expect(self, expected: Expectation | None) -> None:
        """Declare a run, or (None) its end."""
        with transaction(self._db):
            self._db.execute("DELETE FROM expectation")
            if expected is not None:
                values = [expected.since, expected.every_s, expected.until]
                self._db.execute("INSERT INTO expectation (id, since, every_s, until) VALUES (1, ?, ?, ?)", values)
