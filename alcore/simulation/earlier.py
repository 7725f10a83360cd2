"""What an earlier run in the same folder showed and this one does not: tables are made anew, cells stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from alcore.errors import PermanentError
from alcore.simulation.cell import ALL, NONE, Cell
from alcore.simulation.results import read_results
from alcore.simulation.told import read_told

KEPT = "what was played is kept in cells/, and shown again by the command that played it"


def no_longer_shown(out: Path, cells: Iterable[Cell], digests: Mapping[str, str]) -> list[str]:
    """Sentences, none where the folder shows nothing that this run leaves out.

    cells: all of this run. digests: by pool, the names of the folders of its cells: of another name were other settings.
    """
    if not (out / "results.csv").exists():
        return []
    try:
        rows, told = read_results(out / "results.csv"), read_told(out / "run.json")
    except PermanentError:  # what cannot be read cannot be shown either, and is written anew
        return []
    pools = told.get("pools") or {}
    other = [name for name, digest in digests.items() if name in pools and pools[name].get("cells") != digest]
    if other:
        return [
            f"{out} showed results of other settings, files or versions of alscope ({', '.join(other)}), which this run does not show: "
            f"{KEPT}; a folder of its own (--out) for each keeps both"
        ]
    now = list(cells)
    shown = {(c.pool, c.split, c.seed, c.strategy, int(c.pretrained), c.learner, c.n) for c in now}
    gone = [r for r in rows if (r.pool, r.split, r.seed, r.strategy, r.pretrained, r.learner, r.n_labels) not in shown]
    if not gone:
        return []
    lacking: dict[str, set[Any]] = {
        "images": {r.pool for r in gone} - {c.pool for c in now},
        "learner": {r.learner for r in gone} - {c.learner for c in now},
        "strategies": {r.strategy for r in gone} - {c.strategy for c in now} - {ALL, NONE},
        "seeds": {r.seed for r in gone} - {c.seed for c in now},
        "test regions": {r.split for r in gone} - {c.split for c in now},
        "numbers of labels": {r.n_labels for r in gone} - {c.n for c in now},
    }
    named = "; ".join(f"{what} {', '.join(map(str, sorted(those)))}" for what, those in lacking.items() if those)
    return [
        f"{len(gone)} results of an earlier run in {out} are no longer shown ({named or 'of another start'}), since they are not asked "
        f"for: {KEPT}"
    ]
