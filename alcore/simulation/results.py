"""results.csv of a simulation as rows in memory: one row per cell, checked as it is read."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from alcore.errors import PermanentError

SCORES = ("f1", "accuracy", "panoptic_quality", "precision", "recall", "ap75", "dice")


@dataclass(frozen=True, order=True)
class Row:
    """One cell. strategy: "none" (no label) and "all" (every label) serve all strategies. label_fraction: labelled share of the
    pool's voxels. Scores are on the test region; NaN where there is none. minutes: of the expert. seconds: of the computer.
    radius, distance: largest and mean cosine distance of the pool to its nearest labelled patch; foreground: true share in the
    labelled patches; all NaN where unknown."""

    pool: str
    split: int
    seed: int
    strategy: str
    pretrained: int
    learner: str
    n_labels: int
    n_pool: int
    label_fraction: float
    f1: float
    accuracy: float
    panoptic_quality: float
    precision: float
    recall: float
    ap75: float
    dice: float
    minutes: float
    n_selected_objects: int
    seconds: float
    radius: float = math.nan
    distance: float = math.nan
    foreground: float = math.nan


COLUMNS = tuple(field.name for field in fields(Row))
OPTIONAL = ("radius", "distance", "foreground")
TEXT, WHOLE = (
    ("pool", "strategy", "learner"),
    ("split", "seed", "pretrained", "n_labels", "n_pool", "n_selected_objects"),
)


def read_results(path: Path) -> list[Row]:
    """All rows, sorted, so that the order in which cells were played makes no difference.

    An empty number is NaN. Raises PermanentError naming the file and the line: no such file, missing columns, values that are
    no numbers, the same cell twice.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            there = reader.fieldnames or ()
            missing = [name for name in COLUMNS if name not in there and name not in OPTIONAL]
            if missing:
                raise PermanentError(
                    f"{path}: has no column {', '.join(missing)}; is it the results.csv of a simulation?"
                )
            rows = [_row(line, path, number) for number, line in enumerate(reader, 2)]
    except (OSError, UnicodeDecodeError) as e:
        raise PermanentError(f"{path}: cannot be read ({e})") from e
    if not rows:
        raise PermanentError(f"{path}: holds no row: nothing has been played yet")
    cells = [(r.pool, r.split, r.seed, r.strategy, r.pretrained, r.learner, r.n_labels) for r in rows]
    if len(set(cells)) < len(cells):
        twice = next(cell for n, cell in enumerate(cells) if cell in cells[:n])
        raise PermanentError(f"{path}: holds the cell {twice} twice; remove one of the lines")
    return sorted(rows, key=lambda r: (r.pool, r.split, r.seed, r.strategy, r.pretrained, r.learner, r.n_labels))


def as_csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV text with plain line ends; NaN and None are empty fields."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow(["" if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in row])
    return out.getvalue()


def _row(line: dict[str, str | Any], path: Path, number: int) -> Row:
    values: dict[str, Any] = {}
    for name in COLUMNS:
        text = line.get(name, "" if name in OPTIONAL else None)
        try:
            if text is None or (not text and name in (*TEXT, *WHOLE)):
                raise ValueError("is empty")
            values[name] = text if name in TEXT else int(text) if name in WHOLE else float(text) if text else math.nan
        except ValueError as e:
            raise PermanentError(f"{path}, line {number}: {name} {text!r} is no number ({e})") from e
    found = Row(**values)
    if found.pretrained not in (0, 1) or not 0 <= found.n_labels <= found.n_pool:
        raise PermanentError(
            f"{path}, line {number}: pretrained must be 0 or 1 and n_labels from 0 to n_pool, got {found.pretrained}, "
            f"{found.n_labels} of {found.n_pool}"
        )
    return found
