"""Read-only: how well people agree with each other, the ceiling for any model."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

POOLED = ("n_true", "n_predicted", "n_matched", "true_voxels", "predicted_voxels", "common_voxels")
"""What F1 and Dice are made of, among `alcore.arrays.matching.Counts`."""

CURRENT_PAIRS = """
SELECT t.id AS suggestion, l.artifact AS first, n.artifact AS second, l.author AS one, n.author AS other, a.f1, a.dice, a.counts
FROM suggestion t JOIN label l ON l.patch_id = t.patch_id AND l.superseded_by IS NULL
JOIN repeat_label n ON n.received_id = (SELECT MAX(received_id) FROM repeat_label m WHERE m.suggestion_id = t.id)
LEFT JOIN agreement a ON a.first = l.artifact AND a.second = n.artifact
WHERE t.repeat_of IS NOT NULL AND l.author <> '' AND n.author <> '' AND l.author <> n.author
"""
"""Both labels that count of every patch that two different people labelled, blindly, and how they compare."""


@dataclass(frozen=True)
class Agreement:
    """Agreement between people, pooled over patches as the scores of models are (sums of matches). n: patches. people: of how
    many different people. asked: repeats that were put into the queue."""

    n: int = 0
    people: int = 0
    asked: int = 0
    f1: float | None = None
    dice: float | None = None

    def words(self) -> str:
        """One line; "" where nothing was asked again."""
        if not self.asked:
            return ""
        if self.f1 is None or self.dice is None:
            return f"{self.asked} asked again of a second person, none answered and compared yet"
        patches = "1 patch" if self.n == 1 else f"{self.n} patches"
        return f"people agree with F1 {self.f1:.3f}, Dice {self.dice:.3f} ({patches}, {self.people} people): the human ceiling"


def agreement(db: sqlite3.Connection) -> Agreement:
    """How well people agree so far. F1 at IoU 0.5."""
    asked = int(db.execute("SELECT COUNT(*) FROM suggestion WHERE repeat_of IS NOT NULL").fetchone()[0])
    rows = db.execute(f"SELECT one, other, counts FROM ({CURRENT_PAIRS}) WHERE counts IS NOT NULL").fetchall()
    if not rows:
        return Agreement(0, 0, asked, None, None)
    counts = [json.loads(r[2]) for r in rows]
    total = {name: sum(c[name] for c in counts) for name in POOLED}
    people = {name for r in rows for name in (r[0], r[1])}
    f1 = _share(2 * total["n_matched"], total["n_true"] + total["n_predicted"])
    dice = _share(2 * total["common_voxels"], total["true_voxels"] + total["predicted_voxels"])
    return Agreement(len(rows), len(people), asked, f1, dice)


def _share(part: float, whole: float) -> float:
    """As `alcore.arrays.matching` counts: nothing there for anybody is full agreement."""
    return part / whole if whole else 1.0
