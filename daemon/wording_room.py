"""What the workspace takes, in words: one line, and a table that says what goes by itself and what is a person's to remove."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.store.views import RoomView
from daemon.wording import size

LARGEST = 3
"""Kinds that the one line names."""
ABOUT: Mapping[str, str] = {
    "segmentations": "of all models that keep theirs (prediction.keep_models, keep_days); cleared by itself, made again when needed",
    "models": "never removed",
    "encoders and vectors": "vectors by encoders out of use go after disk.keep_days",
    "pseudo-labels": "needed by trainings and suggestions",
    "labels and suggestions": "never removed",
    "other results": "those that are in the database go after disk.keep_days",
    "cache": "may be deleted at any time; near disk.budget_gb it goes, the oldest first",
    "logs and checkpoints": "go after disk.keep_days and training.keep_days",
    "predictions/": "what people look at, one segmentation per volume",
    "queue/": "what waits for people",
    "labels/": "never removed",
    "inbox/": "yours: what lies here was not taken",
    "drafts/": "yours: unfinished labels",
    "rejected/": "yours: labels that failed their checks, each with the reason; never removed",
    "found/": "yours: what was found after a restore; never removed",
    "report/": "replaced after every round",
    "backups/": "run.keep_backups; those made by `alscope backup` are yours",
    "database": "grows slowly; those that were replaced or damaged are yours",
}
"""What becomes of each kind."""


def total_words(room: RoomView) -> str:
    """Such as "41.2 GB of a budget of 100 GB"."""
    return size(room.total) + (f" of a budget of {size(room.budget_bytes)}" if room.budget_bytes else "")


def largest(room: RoomView) -> list[tuple[str, int]]:
    """(kind, bytes), the largest first; without what takes nothing."""
    return sorted(((kind, n) for kind, n in room.kinds.items() if n), key=lambda one: (-one[1], one[0]))


def room_words(room: RoomView) -> str:
    """One line."""
    parts = [f"{kind} {size(n)}" for kind, n in largest(room)[:LARGEST]]
    return f"{total_words(room)}: {', '.join(parts)}" if parts else total_words(room)
