"""What selection works on and what it finds, in SQL: the pool it may choose from, the QC queue, novelty, the control arm."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from daemon.store.connection import transaction
from daemon.store.kept import Kept
from daemon.store.rows import Flaw, Novelty, PoolVolume
from daemon.store.schema_claims import SKIP_REASONS, TAKEN_BACK
from daemon.store.volumes import SOURCES, artifact_of

if TYPE_CHECKING:
    from sqlite_utils import Database

_SETTLED = (
    "EXISTS (SELECT 1 FROM job t WHERE t.stage = 'traits' AND t.spec IN (:traits, :bare) AND t.volume_id = v.id"
    " AND t.state IN ('done', 'failed', 'cancelled'))"
)
_STANDS = f"skip_kind <> {TAKEN_BACK!r}"
"""Of suggestions: not taken back by the daemon."""
_COVERED = "v.id IN (SELECT (SELECT p.volume_id FROM patch p WHERE p.id = s.patch_id) FROM suggestion s)"
"""From the suggestions to their patches, never through all patches, which SQLite prefers without statistics."""
_READABLE = f"EXISTS (SELECT 1 FROM {SOURCES})"
_POOL = (
    "FROM volume v JOIN job e ON e.stage = 'embedding' AND e.spec = :embedding AND e.volume_id = v.id AND e.state = 'done'"
    f" WHERE {_COVERED} OR ((e.finished_at < :before OR {_SETTLED}) AND {_READABLE})"
)


@dataclass(frozen=True)
class Levels:
    """Which results count. embedding, kept, traits, bare, predict: specs of jobs (kept: embedding what was kept of volumes that
    cannot be read; bare: traits without pseudo-labels, which count where there are no others; predict: "" before a model was
    promoted). before: a volume that was embedded before that
    moment is not kept waiting for its traits."""

    embedding: str
    kept: str
    traits: str
    bare: str
    predict: str
    before: float


@dataclass(frozen=True)
class PoolSize:
    """Volumes that selection knows; of those that can be read now: patches, patches that were ever suggested, sum of the ids.
    Equal as long as the pool is the same."""

    volumes: int
    patches: int
    covered: int
    ids: int


class Selection:
    """A volume is chosen from when it can be read, is embedded, and its traits are known or were waited for long enough. What was
    suggested of it counts as covered for ever, whether it can be read or not."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._kept = Kept(db)

    # the pool

    def size(self, levels: Levels) -> PoolSize:
        """How much there is to choose from."""
        sums = ", ".join(f"COALESCE(SUM(CASE WHEN readable THEN {of} END), 0) AS {of}" for of in ("n_patches", "id"))
        pool = f"SELECT v.n_patches, v.id, {_READABLE} AS readable {_POOL}"
        covered = (
            "SELECT COUNT(*) AS n FROM suggestion s CROSS JOIN patch p ON p.id = s.patch_id CROSS JOIN volume v"
            " ON v.id = p.volume_id CROSS JOIN job e"
            " ON e.stage = 'embedding' AND e.spec = :embedding AND e.volume_id = v.id AND e.state = 'done'"
            f" WHERE s.{_STANDS} AND s.repeat_of IS NULL AND {_READABLE}"
        )
        found = next(self._db.query(f"SELECT COUNT(*) AS n, {sums} FROM ({pool})", _named(levels)))
        n_covered = int(next(self._db.query(covered, {"embedding": levels.embedding}))["n"])
        n = int(found["n"]) + len(self._kept.stand_in(levels.kept, levels.embedding))
        return PoolSize(n, int(found["n_patches"]), n_covered, int(found["id"]))

    def pool(self, levels: Levels) -> list[PoolVolume]:
        """Its volumes with the keys of what is known of each, oldest first."""
        traits = self._done("traits", levels.bare) | self._done("traits", levels.traits)
        predictions = self._done("predict", levels.predict)
        kept = self._kept.stand_in(levels.kept, levels.embedding)
        embedded = f"SELECT v.id, v.artifact, v.folder, e.key, {_READABLE} AS readable {_POOL}"
        others = (
            f"SELECT v.id, v.artifact, v.folder, '' AS key, {_READABLE} AS readable FROM volume v"
            " WHERE v.id IN (SELECT value FROM json_each(:kept))"
        )
        execute = self._db.conn.execute  # rows without names: there may be tens of thousands
        rows = [*execute(embedded, _named(levels)), *execute(others, {"kept": json.dumps(list(kept))})]
        return [
            PoolVolume(
                volume,
                artifact_of(artifact, folder),
                key or kept[volume].artifact,
                traits.get(volume),
                predictions.get(volume),
                None if key else kept[volume].rows,
                bool(readable),
            )
            for volume, artifact, folder, key, readable in sorted(rows, key=itemgetter(0))
        ]

    def _done(self, stage: str, spec: str) -> dict[int, str]:
        sql = "SELECT volume_id, key FROM job WHERE stage = ? AND spec = ? AND state = 'done'"
        return dict(self._db.conn.execute(sql, [stage, spec]).fetchall())

    def covered(self) -> dict[int, list[int]]:
        """Patches that were suggested (labelled, queued or skipped; not taken back): volume id -> patch rows."""
        return self._rows(f"SELECT patch_id FROM suggestion WHERE {_STANDS}")

    def skipped(self, *kinds: str) -> dict[int, list[int]]:
        """Patches that people skipped for one of these kinds of reasons: volume id -> patch rows."""
        said = ", ".join(repr(kind) for kind in kinds if kind in SKIP_REASONS)
        return self._rows(f"SELECT patch_id FROM suggestion WHERE repeat_of IS NULL AND skip_kind IN ({said})")

    def n_skipped(self, *kinds: str) -> int:
        """How many they are."""
        return sum(len(rows) for rows in self.skipped(*kinds).values())

    def waiting(self, level: str) -> dict[int, list[int]]:
        """Patches that the strategy suggested, nobody has taken, and that were not compared with the pool at this level:
        volume id -> patch rows. What chance or a person chose stays as it is."""
        sql = (
            "SELECT p.volume_id, p.row FROM suggestion s JOIN patch p ON p.id = s.patch_id WHERE s.state = 'open'"
            " AND s.arm = 'selected' AND s.repeat_of IS NULL AND s.level <> ? ORDER BY p.volume_id, p.row"
        )
        return _grouped(self._db.query(sql, [level]))

    def queue(self) -> list[tuple[int, int]]:
        """(volume id, row) of all suggestions of the strategy that nobody has taken, the next one first."""
        sql = (
            "SELECT p.volume_id, p.row FROM suggestion s JOIN patch p ON p.id = s.patch_id WHERE s.state = 'open'"
            " AND s.arm = 'selected' AND s.repeat_of IS NULL ORDER BY s.rank"
        )
        return [(r["volume_id"], r["row"]) for r in self._db.query(sql)]

    def n_answered(self) -> int:
        """Suggestions that somebody labelled or skipped."""
        sql = f"SELECT COUNT(*) AS n FROM suggestion WHERE state IN ('accepted', 'skipped') AND {_STANDS}"
        return int(next(self._db.query(sql))["n"])

    def considered(self, volume_id: int, rows: Sequence[int], level: str) -> None:
        """The suggestions of these patches were compared with the pool at this level."""
        sql = (
            "UPDATE suggestion SET level = ? WHERE repeat_of IS NULL"
            " AND patch_id = (SELECT id FROM patch WHERE volume_id = ? AND row = ?)"
        )
        with transaction(self._db):
            for row in rows:
                self._db.execute(sql, [level, volume_id, row])

    def labelled(self) -> dict[int, list[int]]:
        """Patches with an accepted label: volume id -> patch rows."""
        return self._rows("SELECT patch_id FROM label WHERE superseded_by IS NULL")

    def _rows(self, patches: str) -> dict[int, list[int]]:
        sql = f"SELECT p.volume_id, p.row FROM patch p WHERE p.id IN ({patches}) ORDER BY p.volume_id, p.row"
        return _grouped(self._db.query(sql))

    def n_made(self) -> int:
        """Suggestions that strategy or chance ever made and that were not taken back."""
        sql = f"SELECT COUNT(*) AS n FROM suggestion WHERE arm <> 'asked' AND repeat_of IS NULL AND {_STANDS}"
        return int(next(self._db.query(sql))["n"])

    # the QC queue

    def held(self) -> dict[int, list[int]]:
        """Patches that are held back because they look broken: volume id -> patch rows."""
        return self._rows("SELECT patch_id FROM qc WHERE state = 'held'")

    def hold_back(self, flaws: Iterable[Flaw], now: float, judged: Mapping[int, Collection[int]] | None = None) -> int:
        """What looks broken now. It replaces what was held back before of the patches that were judged anew (volume id -> patch
        rows; None: all), or that were suggested since. Returns how many are new."""
        with transaction(self._db):
            standing = (
                "SELECT q.patch_id, p.volume_id, p.row, EXISTS"
                f" (SELECT 1 FROM suggestion s WHERE s.patch_id = p.id AND s.{_STANDS}) AS suggested"
                " FROM qc q JOIN patch p ON p.id = q.patch_id WHERE q.state = 'held'"
            )
            rows = list(self._db.query(standing))
            before = {r["patch_id"] for r in rows}
            anew = {
                r["patch_id"]
                for r in rows
                if judged is None or r["suggested"] or r["row"] in judged.get(r["volume_id"], ())
            }
            held = set()
            for flaw in flaws:
                sql = (
                    "INSERT INTO qc (patch_id, reason, score, state, found_at)"
                    " SELECT p.id, ?, ?, 'held', ? FROM patch p WHERE p.volume_id = ? AND p.row = ?"
                    f" AND NOT EXISTS (SELECT 1 FROM suggestion s WHERE s.patch_id = p.id AND s.{_STANDS})"
                    " ON CONFLICT (patch_id) DO UPDATE SET reason = excluded.reason, score = excluded.score"
                    " WHERE state = 'held' RETURNING patch_id"
                )
                found = self._db.query(sql, [flaw.reason, flaw.score, now, flaw.volume_id, flaw.row])
                held |= {r["patch_id"] for r in list(found)}
            for patch_id in anew - held:
                self._db.execute("DELETE FROM qc WHERE patch_id = ?", [patch_id])
        return len(held - before)

    def held_back(self, patch_id: int) -> tuple[int, int, str] | None:
        """(volume id, patch row, reason) of a patch in the QC queue, or None."""
        sql = (
            "SELECT p.volume_id, p.row, q.reason FROM qc q JOIN patch p ON p.id = q.patch_id"
            " WHERE q.patch_id = ? AND q.state = 'held'"
        )
        return next(((r["volume_id"], r["row"], r["reason"]) for r in self._db.query(sql, [patch_id])), None)

    # novelty

    def n_novelty(self, encoder_id: int) -> int:
        """Of how many volumes it is known how new they were to this encoder."""
        return int(next(self._db.query("SELECT COUNT(*) AS n FROM novelty WHERE encoder_id = ?", [encoder_id]))["n"])

    def without_novelty(self, encoder_id: int, embedding: str) -> list[int]:
        """Embedded volumes of which that is not known, oldest first."""
        sql = (
            "SELECT DISTINCT j.volume_id FROM job j WHERE j.stage = 'embedding' AND j.spec = ? AND j.state = 'done'"
            " AND NOT EXISTS (SELECT 1 FROM novelty n WHERE n.encoder_id = ? AND n.volume_id = j.volume_id)"
            " ORDER BY j.volume_id"
        )
        return [r["volume_id"] for r in self._db.query(sql, [embedding, encoder_id])]

    def usual_novelty(self, encoder_id: int, volume_id: int, most: int) -> list[float]:
        """Median novelty of the volumes before this one, at most so many, the latest first."""
        sql = (
            "SELECT median FROM novelty WHERE encoder_id = ? AND volume_id < ? AND median IS NOT NULL"
            " ORDER BY volume_id DESC LIMIT ?"
        )
        return [r["median"] for r in self._db.query(sql, [encoder_id, volume_id, most])]

    def add_novelty(self, volume_id: int, encoder_id: int, novelty: Novelty, alarm: str, now: float) -> bool:
        """How new a volume was when it came in; returns whether that was not known of it from any encoder before."""
        with transaction(self._db):
            first = not any(self._db.query("SELECT 1 FROM novelty WHERE volume_id = ? LIMIT 1", [volume_id]))
            self._db.execute(
                "INSERT OR IGNORE INTO novelty (volume_id, encoder_id, max, median, row, nearest, duplicates, alarm, at)"
                " VALUES (?, ?, ?, ?, ?, (SELECT id FROM patch WHERE volume_id = ? AND row = ?), ?, ?, ?)",
                [
                    *(volume_id, encoder_id, novelty.max, novelty.median, novelty.row),
                    *(novelty.nearest or (None, None)),
                    *(novelty.duplicates, alarm, now),
                ],
            )
        return first

    # the control arm

    def newest_round_without_control(self) -> int | None:
        """The newest finished round, unless the arms were compared after it."""
        sql = "SELECT MAX(number) AS n FROM round WHERE state = 'done'"
        number: int | None = next(self._db.query(sql))["n"]
        known = number is not None and any(self._db.query("SELECT 1 FROM control WHERE round = ?", [number]))
        return None if known else number

    def arms(self) -> list[tuple[str, str, str]]:
        """(artifact, role, arm) of every current label, oldest first."""
        sql = (
            "SELECT l.artifact, l.role, s.arm FROM label l JOIN suggestion s ON s.patch_id = l.patch_id"
            " WHERE l.superseded_by IS NULL AND s.repeat_of IS NULL ORDER BY l.id"
        )
        return [(r["artifact"], r["role"], r["arm"]) for r in self._db.query(sql)]

    def add_control(self, round_: int, result: Mapping[str, Any], now: float) -> None:
        """The arms were compared after a round."""
        names = ("n", "n_gate", "metric", "selected", "control", "difference", "low", "high", "words")
        row = {name: result.get(name) for name in names} | {"round": round_, "at": now}
        with transaction(self._db):
            self._db.table("control").insert(row, replace=True)


def _grouped(found: Iterable[Mapping[str, Any]]) -> dict[int, list[int]]:
    """Rows with volume_id and row as {volume id: rows}."""
    out: dict[int, list[int]] = {}
    for r in found:
        out.setdefault(r["volume_id"], []).append(r["row"])
    return out


def _named(levels: Levels) -> dict[str, Any]:
    return {
        "embedding": levels.embedding,
        "traits": levels.traits,
        "bare": levels.bare,
        "before": levels.before,
    }


def by_key(rows: Mapping[int, Sequence[int]], pool: Iterable[PoolVolume]) -> dict[str, list[int]]:
    """Rows by volume id as rows by embedding key; what has no embedding is left out."""
    return {v.embedding: [row for row in rows[v.id] if v.has(row)] for v in pool if v.id in rows}
