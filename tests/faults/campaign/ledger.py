"""The ledger of a campaign: one line of CSV for each run, written when it is over, so that a campaign goes on where it was ended."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """faults: how many were injected in the run. words: the first findings."""

    fault: str
    number: int
    seed: int
    faults: int
    lost: int
    duplicated: int
    stuck: int
    violations: int
    seconds: float
    words: str


class Ledger:
    """A file that is appended to. A line that was cut short by a kill is left out, and its run is repeated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lines = list(self._read())
        lines = [asdict(line) for line in self.lines]
        tmp = path.with_suffix(".tmp")
        with open(tmp, "w", newline="") as f:
            writer = csv.DictWriter(f, [field.name for field in fields(Line)])
            writer.writeheader()
            writer.writerows(lines)
        os.replace(tmp, path)

    def _read(self) -> Iterable[Line]:
        if not self.path.exists():
            return
        with open(self.path, newline="") as f:
            for row in csv.DictReader(f):
                if None in row.values() or None in row or not row["words"].endswith("."):
                    continue
                numbers = {
                    name: int(row[name])
                    for name in ("number", "seed", "faults", "lost", "duplicated", "stuck", "violations")
                }
                yield Line(fault=row["fault"], seconds=float(row["seconds"]), words=row["words"], **numbers)

    def has(self, fault: str, number: int, seed: int) -> bool:
        return any((line.fault, line.number, line.seed) == (fault, number, seed) for line in self.lines)

    def add(self, line: Line) -> None:
        self.lines.append(line)
        with open(self.path, "a", newline="") as f:
            csv.DictWriter(f, [field.name for field in fields(Line)]).writerow(asdict(line))
            f.flush()
            os.fsync(f.fileno())

    def table(self) -> str:
        """What happened, fault by fault, as a table in Markdown."""
        head = "| fault | runs | injected | lost | duplicated | stuck | invariant violations |"
        rows = [head, "|---|---:|---:|---:|---:|---:|---:|"]
        names = list(dict.fromkeys(line.fault for line in self.lines))
        for name in [*names, ""]:
            lines = [line for line in self.lines if line.fault == name or not name]
            sums = [
                sum(getattr(line, what) for line in lines)
                for what in ("faults", "lost", "duplicated", "stuck", "violations")
            ]
            rows.append("| " + " | ".join([name or "**all**", str(len(lines)), *map(str, sums)]) + " |")
        return "\n".join(rows)
