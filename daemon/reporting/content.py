"""What the report says, gathered from the database in one look. Read-only."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alcore import __version__
from alcore.report.content import Ancestor, Arm, Card, Content, Point, Score
from daemon.reporting import tables
from daemon.reporting.versions import versions
from daemon.store.views import ModelView, QueueItem, RoundView, Snapshot
from daemon.wording import ARM_WORDS, STATE, clean, count
from daemon.wording_quality import advice_words
from daemon.wording_work import minutes, spent_words

CARDS = 48
"""Suggestions with a picture in the page."""
OPEN = ("open", "claimed", "submitted", "rejected")


def content(
    db: sqlite3.Connection, snapshot: Snapshot, workspace: Path, packages: Mapping[str, int], device: str, config: str
) -> Content:
    """All of it, but the pictures. packages: number of the input that holds the picture of a suggestion, by id."""
    scored = [r for r in snapshot.rounds if r.scores]
    waiting = [q for q in snapshot.queue if q.state in OPEN]
    pooled = snapshot.volumes["ingested"], snapshot.patches["total"]
    return Content(
        title=f"alscope: {clean(workspace.absolute().parent.name or workspace.name)}",
        made=time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(snapshot.at)),
        about=(("daemon", snapshot.daemon.state), ("alscope", __version__)),
        tiles=_tiles(snapshot, waiting),
        notes=_notes(snapshot, pooled),
        curve=tuple(_point(r) for r in scored),
        base=_base(db, scored),
        arms=_arms(db),
        cards=tuple(_card(q, packages.get(q.id)) for q in waiting[:CARDS]),
        n_waiting=len(waiting),
        models=_models(db, snapshot.models),
        tables=(
            tables.volumes(db, snapshot.at),
            tables.rounds(snapshot.rounds),
            tables.control(db),
            tables.models(snapshot.models),
            tables.queue(waiting),
            tables.minutes(db),
            tables.timings(db),
            versions(db, snapshot, device, config),
        ),
    )


def _tiles(snapshot: Snapshot, waiting: Sequence[QueueItem]) -> tuple[tuple[str, str, str], ...]:
    labels, patches, volumes, work = snapshot.labels, snapshot.patches, snapshot.volumes, snapshot.work
    promoted = next((m for m in snapshot.models if m.state == "promoted"), None)
    expected = [q.minutes for q in waiting if q.minutes is not None]
    aside = f"{volumes['set_aside']} set aside" if volumes["set_aside"] else ""
    last = snapshot.rounds[-1] if snapshot.rounds else None
    tiles = [
        ("model in use", promoted.version if promoted else "none yet", _scores(promoted.scores) if promoted else ""),
        (
            "labels",
            f"{labels['accepted']:,} of {patches['total']:,}",
            f"{labels['train']} for training, {labels['gate']} held out",
        ),
        ("rounds", str(len(snapshot.rounds)), "" if last is None else f"the last one: {_outcome(last)}"),
        (
            "waiting for you",
            count(len(waiting), "patch", "patches"),
            f"about {minutes(sum(expected))}" if expected else "",
        ),
        ("volumes", f"{volumes['ingested']:,}", ", ".join(p for p in (f"{patches['total']:,} patches", aside) if p)),
        ("segmented", f"{volumes['predicted']:,}", f"of {volumes['ingested']:,} volumes"),
    ]
    if work.spent.timed:
        each = work.spent.minutes / work.spent.timed
        tiles.append(("minutes spent", minutes(work.spent.minutes), f"{each:.1f} min a label"))
    if work.agreement.f1 is not None and work.agreement.dice is not None:
        tiles.append(
            (
                "people agree",
                f"F1 {work.agreement.f1:.2f}",
                f"Dice {work.agreement.dice:.2f}, {work.agreement.n} patches",
            )
        )
    return tuple(tiles)


def _outcome(last: RoundView) -> str:
    return {None: last.state, True: f"{last.model} promoted", False: f"{last.model} not promoted"}[last.promoted]


def _scores(scores: Mapping[str, Any] | None) -> str:
    """Both scores with their intervals."""
    if not scores:
        return "not scored yet"
    words = []
    for name, shown in (("f1", "F1"), ("dice", "Dice")):
        ends = scores.get("interval", {}).get(name)
        words.append(f"{shown} {scores[name]:.2f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else ""))
    return ", ".join(words) + (f", {scores['n_patches']} held-out patches" if "n_patches" in scores else "")


def _notes(snapshot: Snapshot, pooled: tuple[int, int]) -> dict[str, str]:
    notes = {
        "queue": "Each picture is the middle slice of the patch, with the outlines of its pseudo-label. "
        f"{ARM_WORDS['control'][0]} marks patches drawn at random: they measure whether choosing helps.",
        "curve": (
            "Each point is a round's candidate on the labels held out then, with a 90 % interval; filled where it was promoted. "
            "Dotted: the pseudo-labels on the same patches. A star is the model pre-trained on pseudo-labels alone."
        ),
        "models": "Each line is a model below the one that it started from.",
        "minutes": spent_words(snapshot.work),
    }
    if snapshot.advice is not None:
        known = "What more labels would bring: " if snapshot.advice.gain is not None else ""
        notes["advice"] = _sentence(known + clean(advice_words(snapshot.advice)))
    if snapshot.control is not None:
        notes["control"] = _sentence(clean(snapshot.control.words))
    if not pooled[0]:
        notes["map"] = "No volume has arrived yet."
    return notes


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


def _point(r: RoundView) -> Point:
    scores, baseline = r.scores or {}, r.baseline or {}
    return Point(
        round=r.round,
        share=r.fraction,
        n_labels=r.n_labels,
        n_gate=r.n_gate,
        model=r.model or "",
        promoted=bool(r.promoted),
        f1=_score(scores, "f1"),
        dice=_score(scores, "dice"),
        pseudo_f1=baseline.get("f1"),
        pseudo_dice=baseline.get("dice"),
    )


def _score(scores: Mapping[str, Any], name: str) -> Score:
    low, high = scores.get("interval", {}).get(name, (None, None))
    return Score(float(scores[name]), low, high)


def _base(db: sqlite3.Connection, scored: Sequence[RoundView]) -> tuple[float, float] | None:
    """F1 and Dice of the pre-trained model when it was first scored."""
    row = db.execute(
        "SELECT e.scores FROM evaluation e JOIN model m ON m.version = e.model WHERE m.kind = 'pretrained' ORDER BY e.rowid LIMIT 1"
    ).fetchone()
    if row is None or not scored:
        return None
    scores = json.loads(row["scores"])
    return float(scores["f1"]), float(scores["dice"])


def _arms(db: sqlite3.Connection) -> tuple[Arm, ...]:
    rows = db.execute(
        "SELECT round, n, metric, selected, control, difference, low, high FROM control WHERE difference IS NOT NULL"
        " AND selected IS NOT NULL AND control IS NOT NULL ORDER BY round"
    )
    return tuple(Arm(**dict(r)) for r in rows)


def _card(q: QueueItem, picture: int | None) -> Card:
    mark = {"control": "◇ by chance", "asked": "+ asked for"}.get(q.arm, "")
    facts = [("where", tables.where(q)), ("volume", clean(q.volume))]
    if q.minutes is not None:
        facts.append(("time", f"about {q.minutes:.0f} min"))
    if q.distance is not None:
        facts.append(("distance", f"{q.distance:.2f} from the nearest covered patch"))
    if mark:
        facts.append(("chosen", mark))
    if q.user:
        facts.append(("with", clean(q.user)))
    sign = STATE.get(q.state, ("·", ""))[0]
    return Card(q.id, clean(q.volume), clean(q.reason), f"{sign} {q.state}", tuple(facts), picture)


def _models(db: sqlite3.Connection, models: Sequence[ModelView]) -> tuple[Ancestor, ...]:
    steps: dict[str, list[str]] = {}
    for r in db.execute("SELECT model, how, who, reason, at FROM promotion ORDER BY id"):
        who = f" by {clean(r['who'])}" if r["who"] else ""
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(r["at"]))
        how = {"round": "by the verdict of its round", "hand": "by hand", "rollback": "by a rollback"}[r["how"]]
        steps.setdefault(r["model"], []).append(f"in use from {when}, {how}{who}")
    return tuple(
        Ancestor(
            version=m.version,
            parent=m.parent or "",
            state=m.state,
            mark=STATE.get(m.state, ("·", ""))[0],
            facts=tuple(
                fact
                for fact in (
                    f"{count(m.n_labels, 'label')}, {_scores(m.scores)}" if m.n_labels else _scores(m.scores),
                    *steps.get(m.version, ()),
                    clean(m.verdict),
                )
                if fact
            ),
        )
        for m in models
    )
