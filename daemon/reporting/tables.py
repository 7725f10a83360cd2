"""The tables of the report: volumes, rounds, minutes, time by stage. Read-only."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from alcore.report.content import Cell, Column, Table
from daemon.store.ledger import Entry, by, entries, spent
from daemon.store.listing import SourceView, sources
from daemon.store.quality_listing import calibrations, volume_quality
from daemon.store.views import ModelView, QueueItem, RoundView
from daemon.wording import clean, extent, place


def volumes(db: sqlite3.Connection, now: float) -> Table:
    """Every volume, the segmentation that is probably worst first."""
    known = calibrations(db)
    objects = {
        r["export_name"]: r["n_objects"]
        for r in db.execute(
            "SELECT v.export_name, p.n_objects FROM prediction p JOIN volume v ON v.id = p.volume_id WHERE p.published = 1"
        )
    }
    labelled = {
        r["sha256"]: r["n"]
        for r in db.execute(
            "SELECT v.sha256, COUNT(*) AS n FROM label l JOIN patch p ON p.id = l.patch_id JOIN volume v ON v.id = p.volume_id"
            " WHERE l.superseded_by IS NULL GROUP BY v.id"
        )
    }
    found = sorted(_once(sources(db, now)), key=lambda s: (s.confidence is None, s.confidence or 0.0, s.id))
    rows = []
    for s in found:
        dice: tuple[Cell, ...] = (None, None, None)
        if s.confidence is not None and s.predicted_by is not None:
            q = volume_quality(s.name, s.predicted_by, s.confidence, known)
            dice = (q.dice, q.low, q.high)
        rows.append(
            (
                clean(f"{s.name} ({s.part})" if s.part else s.name),
                _state(s),
                extent(s.shape) if s.shape else None,
                " x ".join(f"{v:g}" for v in s.voxel_um) if s.voxel_um else None,
                s.n_patches if s.shape else None,
                labelled.get(s.sha256 or "", 0) if s.shape else None,
                objects.get(s.prediction or ""),
                s.predicted_by,
                *dice,
                s.confidence,
                s.novelty,
                clean("; ".join(([s.alarm] if s.alarm else []) + ([s.reason] if s.reason else []) + list(s.warnings))),
            )
        )
    columns = (
        Column("volume", "volume"),
        Column("state", "state"),
        Column("voxels_zyx", "voxels (z y x)"),
        Column("voxel_um", "voxel (um)"),
        Column("patches", "patches"),
        Column("labelled", "labelled"),
        Column("objects", "objects"),
        Column("model", "by"),
        Column("expected_dice", "expected Dice", 2),
        Column("expected_dice_low", "low", 2),
        Column("expected_dice_high", "high", 2),
        Column("confidence", "confidence", 2),
        Column("novelty", "novelty", 2),
        Column("remarks", "remarks"),
    )
    about = (
        "The segmentations that are probably worst come first. Expected Dice is what the model's confidence was worth on held-out "
        "patches, with its interval; without it, confidence only ranks. Novelty is the median cosine distance of a volume's patches to "
        "the nearest patch known when it came."
    )
    return Table("volumes", "Volumes", about, columns, tuple(rows))


def _once(found: Sequence[SourceView]) -> list[SourceView]:
    """Each volume once, at a place where it can be read now if there is one; files that are none yet stay."""
    best = {s.sha256: s for s in sorted(found, key=lambda s: not (s.gone or s.away)) if s.sha256}  # the last one counts
    return [s for s in found if not s.sha256 or s is best[s.sha256]]


def _state(source: SourceView) -> str:
    if source.gone and source.state == "ingested":
        return "source gone"
    return "unreachable" if source.away else source.state.replace("_", " ")


def rounds(found: Sequence[RoundView]) -> Table:
    """One line per round."""
    rows = []
    for r in found:
        rows.append(
            (
                r.round,
                r.n_labels,
                r.n_gate,
                round(100 * r.fraction, 4),
                r.model,
                {None: r.state, True: "promoted", False: "not promoted"}[r.promoted],
                *_score(r.scores, "f1"),
                *_score(r.scores, "dice"),
                None if not r.baseline else r.baseline.get("f1"),
                None if not r.baseline else r.baseline.get("dice"),
                None if r.finished_at is None else round((r.finished_at - r.started_at) / 60, 2),
                clean(r.verdict),
            )
        )
    columns = (
        Column("round", "round"),
        Column("labels", "labels"),
        Column("held_out", "held out"),
        Column("labelled_percent", "labelled (%)", 2),
        Column("model", "model"),
        Column("outcome", "outcome"),
        *(Column(f"{n}{end}", f"{w}{words}", 3) for n, w in (("f1", "F1"), ("dice", "Dice")) for end, words in _ENDS),
        Column("pseudo_f1", "F1 pseudo-labels", 3),
        Column("pseudo_dice", "Dice pseudo-labels", 3),
        Column("computing_min", "took (min)", 1),
        Column("verdict", ""),
    )
    return Table("rounds", "Rounds", "", columns, tuple(rows))


_ENDS = (("", ""), ("_low", " low"), ("_high", " high"))


def _score(scores: Any, name: str) -> tuple[Cell, Cell, Cell]:
    if not scores:
        return None, None, None
    low, high = scores.get("interval", {}).get(name, (None, None))
    return scores.get(name), low, high


def models(found: Sequence[ModelView]) -> Table:
    """One line per model, for the CSV: the page shows their lineage."""
    columns = tuple(
        Column(name, name.replace("_", " "))
        for name in (
            "model",
            "kind",
            "parent",
            "state",
            "labels",
            "f1",
            "f1_low",
            "f1_high",
            "dice",
            "dice_low",
            "dice_high",
        )
    )
    rows = tuple(
        (
            m.version,
            m.kind,
            m.parent,
            m.state,
            m.n_labels,
            *_score(m.scores, "f1"),
            *_score(m.scores, "dice"),
            clean(m.verdict),
        )
        for m in found
    )
    return Table("models", "Models", "", (*columns, Column("verdict", "verdict")), rows)


def control(db: sqlite3.Connection) -> Table:
    """Selection against chance, after every round."""
    rows = db.execute("SELECT * FROM control ORDER BY round").fetchall()
    names = ("round", "n", "n_gate", "metric", "selected", "control", "difference", "low", "high", "words")
    digits = dict.fromkeys(names[4:9], 3)
    columns = tuple(Column(n, n.replace("_", " ").replace("n gate", "held out"), digits.get(n)) for n in names)
    about = "A small learner on as many labels of selected patches as of patches drawn at random, on the same held-out labels."
    return Table("control", "Selection against chance", about, columns, tuple(tuple(r[n] for n in names) for r in rows))


def minutes(db: sqlite3.Connection) -> Table:
    """What people spent, by round and then by person."""
    found = entries(db)
    groups: dict[str, list[Entry]] = {}
    for entry in found:
        name = "a repeat" if entry.repeat else "no round yet" if entry.round is None else f"round {entry.round}"
        groups.setdefault(name, []).append(entry)
    sums = [("round", name, spent(group)) for name, group in groups.items()]
    sums += [("person", clean(name) or "nobody named", one) for name, one in by(found, "user").items()]
    rows = tuple(
        (name, kind, s.labels, s.timed, round(s.minutes, 3), s.objects, s.clicks, s.changed_voxels)
        for kind, name, s in sums
    )
    columns = (
        Column("who", "round or person"),
        Column("kind", "kind"),
        Column("labels", "labels"),
        Column("timed", "of them timed"),
        Column("minutes", "minutes", 1),
        Column("objects", "objects"),
        Column("clicks", "clicks"),
        Column("changed_voxels", "voxels changed"),
    )
    about = "Minutes of active editing, which the annotation window tells; other tools do not."
    return Table("minutes", "Minutes", about, columns, rows)


def timings(db: sqlite3.Connection) -> Table:
    """What each kind of work took, the longest in sum first."""
    rows = db.execute(
        "SELECT a.stage, COUNT(*) AS n, SUM(a.seconds) AS total, AVG(a.seconds) AS mean, MAX(a.seconds) AS longest,"
        " SUM(a.bytes) / 1e6 AS mb, (SELECT COUNT(*) FROM job j WHERE j.stage = a.stage AND j.state = 'failed') AS failed"
        " FROM artifact a GROUP BY a.stage ORDER BY total DESC"
    )
    columns = (
        Column("stage", "stage"),
        Column("runs", "runs"),
        Column("failed", "failed"),
        Column("total_s", "total (s)", 1),
        Column("mean_s", "mean (s)", 2),
        Column("longest_s", "longest (s)", 1),
        Column("megabytes", "written (MB)", 1),
    )
    found = tuple(
        (r["stage"], r["n"], r["failed"], *(round(r[k], 3) for k in ("total", "mean", "longest", "mb"))) for r in rows
    )
    return Table("timings", "Time by stage", "", columns, found)


def queue(found: Sequence[QueueItem]) -> Table:
    """What waits for people."""
    columns = tuple(
        Column(name, name.replace("_", " "))
        for name in (
            "id",
            "rank",
            "state",
            "volume",
            "z",
            "y",
            "x",
            "chosen_by",
            "distance",
            "minutes",
            "reason",
            "who",
        )
    )
    rows = tuple(
        (
            q.id,
            q.rank,
            q.state,
            clean(q.volume),
            *q.start,
            {"selected": "strategy", "control": "chance"}.get(q.arm, q.arm),
            q.distance,
            q.minutes,
            clean(q.reason),
            clean(q.user),
        )
        for q in found
    )
    return Table("queue", "Queue", "", columns, rows)


def where(item: QueueItem) -> str:
    """Where a suggestion lies."""
    return f"{place(item.start)}, {extent(item.shape)} voxels"
