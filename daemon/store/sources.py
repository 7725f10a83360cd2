"""The acquisitions of the watched folders in SQL: arriving, whole, read, set aside, gone, out of reach."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.arrival import Arriving, Known, Settled
from daemon.settle import GROWS
from daemon.store.connection import transaction
from daemon.store.rows import SourceRow, members_of, path_of

if TYPE_CHECKING:
    from sqlite_utils import Database


def source_row(r: Mapping[str, Any]) -> SourceRow:
    """Parse a row of the source table."""
    return SourceRow(r["id"], bytes(r["path"]), r["watch"], r["fingerprint"], members_of(r["members"]))


def _without_numbers(path: bytes) -> bytes:
    return re.sub(rb"[0-9]+", b"#", os.path.basename(path))


def display_name(path: bytes) -> str:
    """A file's name for people: valid text whatever the bytes are, control characters shown escaped."""
    text = os.path.basename(path).decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


_NEVER_READ = (
    "state IN ('arriving', 'settled') AND volume_id IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM source_part l WHERE l.source_id = source.id)"
)
_ARRIVES = "state = 'arriving' AND gone = 0 AND away = 0"
_GROWS = " OR ".join("reason LIKE ?" for _ in GROWS)
AWAITED_S = 5.0
"""An acquisition whose time of quiet was over so long ago is waited for in vain, or already read."""


class Sources:
    """The source table, and that of the watched folders."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def known(self) -> dict[bytes, Known]:
        """Every acquisition; those that need no more settling with their fingerprint."""
        sql = "SELECT path, fingerprint, state, gone, members FROM source"
        return {
            bytes(r["path"]): Known(
                "" if r["state"] == "arriving" else r["fingerprint"], bool(r["gone"]), members_of(r["members"])
            )
            for r in self._db.query(sql)
        }

    def arriving(self, event: Arriving, now: float) -> None:
        """An acquisition was seen that is not yet known to be whole (new, or changed since it was ingested)."""
        with transaction(self._db):
            self._put(event, "arriving", event.why, event.quiet_since, event.wait_s, now)

    def settled(self, event: Settled, now: float) -> None:
        """An acquisition has stopped changing: it may be read."""
        with transaction(self._db):
            self._put(event, "settled", "", None, None, now)

    def _put(
        self,
        event: Arriving | Settled,
        state: str,
        reason: str,
        quiet_since: float | None,
        wait_s: float | None,
        now: float,
    ) -> None:
        self._db.execute(
            "INSERT INTO source (path, name, watch, state, size, fingerprint, reason, quiet_since, wait_s, newest,"
            " first_seen, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET"
            " state = excluded.state, size = excluded.size, fingerprint = excluded.fingerprint, reason = excluded.reason,"
            " changed_at = CASE WHEN fingerprint = excluded.fingerprint THEN changed_at ELSE excluded.changed_at END,"
            " watch = excluded.watch, quiet_since = excluded.quiet_since, wait_s = excluded.wait_s,"
            " newest = excluded.newest, gone = 0, away = 0",
            [
                event.path,
                display_name(event.path),
                event.watch,
                state,
                event.size,
                event.fingerprint,
                reason,
                quiet_since,
                wait_s,
                event.newest,
                now,
                now,
            ],
        )

    def make_set(self, path: bytes, watch: int, members: tuple[str, ...], adds_up: bool, now: float) -> tuple[str, ...]:
        """The file at `path` stands for these files of its folder, which are no acquisitions of their own any more.

        adds_up: what was said of its members before holds as well: another file speaks of it, and knows only of itself.
        Returns the names of all members.
        """
        with transaction(self._db):
            row = next(self._db.query("SELECT members FROM source WHERE path = ?", [path]), None)
            if adds_up and row is not None:
                members = tuple(sorted({*(members_of(row["members"]) or ()), *members}))
            self._db.execute(
                "INSERT INTO source (path, name, watch, state, size, fingerprint, reason, members, first_seen, changed_at)"
                " VALUES (?, ?, ?, 'arriving', 0, '', 'one of several files', ?, ?, ?) ON CONFLICT (path) DO UPDATE SET"
                " state = 'arriving', fingerprint = '', reason = excluded.reason, quiet_since = NULL, wait_s = NULL,"
                " members = excluded.members",
                [path, display_name(path), watch, json.dumps(list(members)), now, now],
            )
            for name in members:
                member = os.path.join(os.path.dirname(path), os.fsencode(name))
                if member == path:
                    continue
                self._db.execute("UPDATE source SET gone = 1, members = NULL WHERE path = ?", [member])
                self._db.execute(
                    "DELETE FROM source WHERE path = ? AND volume_id IS NULL"
                    " AND NOT EXISTS (SELECT 1 FROM source_part l WHERE l.source_id = source.id)",
                    [member],
                )
        return members

    def dissolve_set(self, source_id: int) -> None:
        """The file stands for itself alone again."""
        with transaction(self._db):
            self._db.execute(
                "UPDATE source SET state = 'arriving', fingerprint = '', reason = 'no set of files any more',"
                " quiet_since = NULL, wait_s = NULL, members = NULL WHERE id = ?",
                [source_id],
            )

    def set_away(self, folder: bytes, away: bool) -> int:
        """The folder, and all in it, cannot or can be reached. Returns how many volumes were read from it."""
        inside = [folder, len(folder) + 1, folder + b"/"]
        where = "path = ? OR substr(path, 1, ?) = ?"
        with transaction(self._db):
            self._db.execute(f"UPDATE source SET away = ? WHERE {where}", [int(away), *inside])
        sql = f"SELECT COUNT(*) AS n FROM source WHERE ({where}) AND state = 'ingested' AND gone = 0"
        return int(next(self._db.query(sql, inside))["n"])

    def identities(self) -> dict[Path, str]:
        """What is known of the watched folders' identities."""
        rows = self._db.query("SELECT folder, identity FROM watched")
        return {path_of(bytes(r["folder"])): r["identity"] for r in rows}

    def identify(self, folder: Path, identity: str) -> None:
        """Remember which directory a watched folder is."""
        with transaction(self._db):
            sql = "INSERT INTO watched VALUES (?, ?) ON CONFLICT (folder) DO UPDATE SET identity = excluded.identity"
            self._db.execute(sql, [os.fsencode(folder), identity])

    def assign(self, folders: Sequence[Path]) -> None:
        """Give every source the number of its watched folder as config.toml has it now; -1 when it is in none.

        One that is in none is out of reach: nobody would notice what becomes of it. It comes back with its folder.
        """
        roots = [os.fsencode(folder) for folder in folders]

        def number(path: bytes) -> int:
            return next((n for n, r in enumerate(roots) if path == r or path.startswith(r + b"/")), -1)

        with transaction(self._db):
            for r in list(self._db.query("SELECT id, path, watch FROM source")):
                now = number(bytes(r["path"]))
                if now != r["watch"]:
                    self._db.execute("UPDATE source SET watch = ? WHERE id = ?", [now, r["id"]])
            self._db.execute("UPDATE source SET away = 1 WHERE watch = -1")
            self._db.execute(f"DELETE FROM source WHERE watch = -1 AND {_NEVER_READ}")

    def set_gone(self, path: bytes, gone: bool) -> bool:
        """The file is no longer, or again, where it was. What was learned from it stays.

        Returns True when it was never read, and is forgotten: a file that vanished before was a temporary one, or went
        elsewhere, where it is found.
        """
        with transaction(self._db):
            self._db.execute("UPDATE source SET gone = ? WHERE path = ?", [int(gone), path])
            forgotten = self._db.execute(f"DELETE FROM source WHERE path = ? AND gone = 1 AND {_NEVER_READ}", [path])
            return bool(forgotten.rowcount)

    def set_aside(self, source_id: int, fingerprint: str, reason: str, now: float) -> None:
        """The file cannot be used, as it is now, for this reason."""
        with transaction(self._db):
            self._db.execute(
                "UPDATE source SET state = 'set_aside', reason = ?, changed_at = ? WHERE id = ? AND fingerprint = ?",
                [reason, now, source_id, fingerprint],
            )

    def arrive_again(self, source_id: int) -> None:
        """The file changed while it was read: forget what was known of it, unless it is gone."""
        with transaction(self._db):
            self._db.execute(
                "UPDATE source SET state = 'arriving', fingerprint = '', reason = 'changed while it was read',"
                " quiet_since = NULL, wait_s = NULL WHERE id = ? AND gone = 0",
                [source_id],
            )

    def to_read(self, newest_first: bool, limit: int = 256) -> list[SourceRow]:
        """Settled acquisitions that are there, in the order in which they are to be read."""
        order = "newest DESC, id DESC" if newest_first else "newest, id"
        sql = (
            "SELECT id, path, watch, fingerprint, members FROM source WHERE state = 'settled' AND gone = 0 AND away = 0"
            f" AND watch >= 0 ORDER BY {order} LIMIT ?"
        )
        return [source_row(r) for r in self._db.query(sql, [limit])]

    def n_numbered_alike(self, path: bytes) -> int:
        """How many files were read of those beside this one whose names differ from its own in nothing but numbers."""
        folder = os.path.dirname(path)
        name = _without_numbers(path)
        sql = "SELECT path FROM source WHERE path > ? AND path < ? AND state = 'ingested' AND gone = 0"
        beside = (bytes(r["path"]) for r in self._db.query(sql, [folder + b"/", folder + b"0"]))
        return sum(os.path.dirname(p) == folder and _without_numbers(p) == name for p in beside)

    def n_settled(self) -> int:
        """Acquisitions that wait to be read."""
        sql = "SELECT COUNT(*) AS n FROM source WHERE state = 'settled' AND gone = 0 AND away = 0 AND watch >= 0"
        return int(next(self._db.query(sql))["n"])

    def n_arriving(self) -> int:
        """Files that are still growing, or whole and not yet read; not those that are out of reach, perhaps for long."""
        sql = "SELECT COUNT(*) AS n FROM source WHERE state IN ('arriving', 'settled') AND gone = 0 AND away = 0"
        return int(next(self._db.query(sql))["n"])

    def is_growing(self, changed_since: float, fresh_since: float) -> bool:
        """Is there an acquisition that its writer is at, and that changed after `changed_since`; or one that was changed after
        `fresh_since`, of which nobody can tell yet?"""
        sql = f"SELECT 1 FROM source WHERE {_ARRIVES} AND quiet_since >= ? AND ({_GROWS} OR newest >= ?) LIMIT 1"
        return any(self._db.query(sql, [changed_since, *(f"{word}%" for word in GROWS), fresh_since]))

    def is_awaited(self, now: float) -> bool:
        """Is there an acquisition that may be whole soon, as far as its quiet tells?"""
        sql = f"SELECT 1 FROM source WHERE {_ARRIVES} AND quiet_since + wait_s + ? >= ? LIMIT 1"
        return any(self._db.query(sql, [AWAITED_S, now]))

    def unusable(self) -> list[SourceRow]:
        """Files that could not be used, and are there."""
        sql = (
            "SELECT id, path, watch, fingerprint, members FROM source"
            " WHERE state = 'set_aside' AND gone = 0 AND watch >= 0 ORDER BY id"
        )
        return [source_row(r) for r in self._db.query(sql)]

    def look_again(self, source_id: int) -> None:
        """A file that was set aside may be usable under the present configuration."""
        with transaction(self._db):
            self._db.execute(
                "UPDATE source SET state = 'settled', reason = '' WHERE id = ? AND state = 'set_aside'", [source_id]
            )

    def at(self, path: bytes) -> int | None:
        """Id of the source at a path, or None."""
        return next((r["id"] for r in self._db.query("SELECT id FROM source WHERE path = ?", [path])), None)

    def is_there(self, path: bytes) -> bool:
        """Is there a source at a path that is neither gone nor out of reach, as far as the scan knows?"""
        return any(self._db.query("SELECT 1 FROM source WHERE path = ? AND gone = 0 AND away = 0", [path]))

    def source(self, source_id: int) -> SourceRow | None:
        """One source, or None when there is none any more (its file turned out to be one of a set)."""
        sql = "SELECT id, path, watch, fingerprint, members FROM source WHERE id = ?"
        return next((source_row(r) for r in self._db.query(sql, [source_id])), None)
