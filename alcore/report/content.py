"""What a report says, as plain values that travel as JSON: who gathers it knows the database, who draws it knows the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Cell = str | float | int | None
MARKS = ("suggested", "by chance", "labelled", "held out", "outlier", "newest")
"""What a patch may be, bit by bit: waiting for an expert, drawn at random (ever), labelled to train, labelled to judge, looking
broken or unlike all else, of the newest volumes."""


@dataclass(frozen=True)
class Column:
    """A heading of a table. name: in the CSV; words: for people, with the unit, "" for one that is in the CSV alone. digits: after
    the point, of numbers in the page; the CSV has all of them."""

    name: str
    words: str
    digits: int | None = None


@dataclass(frozen=True)
class Table:
    """about: a sentence above it. shown: so many rows are in the page, all are in the CSV."""

    name: str
    title: str
    about: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shown: int = 200


@dataclass(frozen=True)
class Score:
    """A score in 0..1 with the ends of its interval; None where it is not known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Point:
    """A round on the learning curve. share: of the pool that was labelled, 0..1. f1, dice: of its candidate, pseudo_f1, pseudo_dice:
    of the pseudo-labels, on the same n_gate held-out labels."""

    round: int
    share: float
    n_labels: int
    n_gate: int
    model: str
    promoted: bool
    f1: Score
    dice: Score
    pseudo_f1: float | None = None
    pseudo_dice: float | None = None


@dataclass(frozen=True)
class Arm:
    """Selection against chance after a round: scores of a small learner on `n` labels of each arm, their difference, and its
    95 % interval."""

    round: int
    n: int
    metric: str
    selected: float
    control: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Card:
    """A suggestion with its picture. facts: (word, figure). picture: number of its package among the inputs, None without one."""

    id: str
    title: str
    reason: str
    state: str
    facts: tuple[tuple[str, str], ...]
    picture: int | None


@dataclass(frozen=True)
class Ancestor:
    """A model version. facts: one line each. parent: version that it started from, "" for none."""

    version: str
    parent: str
    state: str
    mark: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """All of it. about: (word, figure) under the title. tiles: (word, figure, remark). notes: a sentence for a section, by its
    name (map, queue, curve, control, gate, models, minutes, advice). base: (F1, Dice) of the pre-trained model, None if unknown.
    n_waiting: suggestions, of which some may have no card."""

    title: str
    made: str
    about: tuple[tuple[str, str], ...] = ()
    tiles: tuple[tuple[str, str, str], ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    curve: tuple[Point, ...] = ()
    base: tuple[float, float] | None = None
    arms: tuple[Arm, ...] = ()
    cards: tuple[Card, ...] = ()
    n_waiting: int = 0
    models: tuple[Ancestor, ...] = ()
    tables: tuple[Table, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Content:
        """Inverse of `to_json`."""
        base = value["base"]
        return cls(
            title=value["title"],
            made=value["made"],
            about=_tuples(value["about"]),
            tiles=_tuples(value["tiles"]),
            notes=dict(value["notes"]),
            curve=tuple(_point(p) for p in value["curve"]),
            base=None if base is None else (base[0], base[1]),
            arms=tuple(Arm(**a) for a in value["arms"]),
            cards=tuple(Card(**{**c, "facts": _tuples(c["facts"])}) for c in value["cards"]),
            n_waiting=value["n_waiting"],
            models=tuple(Ancestor(**{**m, "facts": tuple(m["facts"])}) for m in value["models"]),
            tables=tuple(_table(t) for t in value["tables"]),
        )


def _tuples(rows: Any) -> tuple[Any, ...]:
    return tuple(tuple(row) for row in rows)


def _point(value: Mapping[str, Any]) -> Point:
    return Point(**{**value, "f1": Score(**value["f1"]), "dice": Score(**value["dice"])})


def _table(value: Mapping[str, Any]) -> Table:
    columns = tuple(Column(**c) for c in value["columns"])
    return Table(**{**value, "columns": columns, "rows": _tuples(value["rows"])})
