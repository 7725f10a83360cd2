"""Play a pool: one learning curve after the other, cell by cell, each kept as soon as it is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from alcore.arrays import matching
from alcore.simulation import cell as cells
from alcore.simulation import choosing, expert
from alcore.simulation.cell import ALL, NONE, Cell, Curve, Played
from alcore.simulation.cutting import drawn_rows
from alcore.simulation.fast import FastLearner, FastPool
from alcore.simulation.learner import Learner
from alcore.simulation.nnunet import NnunetLearner
from alcore.simulation.pool import LabelledPool, Rows
from alcore.simulation.settings import budgets_of
from alcore.types import Scores


def curves(
    pool: LabelledPool, strategies: list[str], starts: list[bool], seeds: list[int], learner: str
) -> Iterator[Curve]:
    """Everything to be played on a pool, in the order in which it is: first every seed on another test region, then on the next,
    so that what is there after a kill is of all seeds and regions alike.

    starts: with pre-training, without, or both. No label and all labels are the same for every strategy: one cell each.
    """
    budgets = budgets_of(pool.settings, pool.size)
    steps = tuple(n for n in budgets if 0 < n < pool.size)
    for turn in range(len(pool.splits)):
        for seed in seeds:
            split = (seed + turn) % len(pool.splits)
            first = Cell(pool.pair.name, split, seed, NONE, True, learner, 0)
            if 0 in budgets:
                yield Curve(first, (0,))
            for pretrained in starts:
                yield Curve(replace(first, strategy=ALL, pretrained=pretrained, n=pool.size), (pool.size,))
                if steps:
                    for strategy in strategies:
                        yield Curve(replace(first, strategy=strategy, pretrained=pretrained, n=steps[0]), steps)


class Game:
    """A pool with what learners keep of it. folder: where its cells lie."""

    def __init__(self, pool: LabelledPool, folder: Path) -> None:
        self.pool, self.folder = pool, folder
        self._fast: FastPool | None = None
        self._work: dict[tuple[int, int], tuple[float, int]] = {}

    def warm(self) -> None:
        """Make what every cell needs before several processes wait for it."""
        for made in (self.pool.embeddings, self.pool.seen_traits):
            assert len(made)

    @cached_property
    def pseudo_scores(self) -> list[Scores]:
        """Of the pseudo-labels themselves on every test region: what no label at all gives."""
        pool = self.pool
        regions = [split.region.slices for split in pool.splits]
        return [matching.count(pool.pseudo_labels[region], pool.truth[region]).scores() for region in regions]

    def play(self, curve: Curve) -> int:
        """Play the cells of a curve that are missing; returns how many these were."""
        first = curve.first
        rows = drawn_rows(self.pool.splits[first.split], first.split, first.seed, self.pool.size)
        learner = self._learner(first, rows)
        chosen: Rows = np.empty(0, np.int64)
        n_played = 0
        for step, cell in enumerate(curve.cells):
            known = cells.read(cell, self.folder)
            if known is None:
                began = time.monotonic()
                chosen, notes = self._chosen(cell, step, rows, chosen, learner)
                model = learner.learn(np.sort(rows[chosen]), cell.pretrained)
                scores = learner.scores(model)
                known = self._played(cell, rows, chosen, scores, [*learner.notes(model), *notes], began)
                known.write(self.folder)
                n_played += 1
            chosen = np.searchsorted(rows, np.array(known.picks, np.int64))
        return n_played

    def _learner(self, cell: Cell, rows: Rows) -> Learner:
        if cell.learner == "nnunet":
            return NnunetLearner(self.pool, cell.split, cell.seed, rows)
        if self._fast is None:
            self._fast = FastPool(self.pool)
        return FastLearner(self._fast, cell.split, cell.seed, rows)

    def _chosen(self, cell: Cell, step: int, rows: Rows, chosen: Rows, learner: Learner) -> tuple[Rows, list[str]]:
        """(positions in `rows` that are labelled at this cell, in their order; notes)."""
        if cell.strategy == NONE:
            return chosen, []
        if cell.strategy == ALL:
            return np.arange(len(rows)), []
        seen = None
        if len(chosen) and choosing.looks(cell.strategy):  # before the first label no model has passed a gate
            seen = learner.seen(learner.learn(np.sort(rows[chosen]), cell.pretrained))
        seed = 1000 * cell.seed + 10 * cell.split + step
        picks, filled = choosing.choose(self.pool, rows, cell.strategy, chosen, cell.n - len(chosen), seen, seed)
        words = f"{filled} patches were drawn at random: the strategy found no more that it may choose"
        return np.concatenate([chosen, picks]), [words] if filled else []

    def _played(self, cell: Cell, rows: Rows, chosen: Rows, scores: Scores, notes: list[str], began: float) -> Played:
        pool, picks = self.pool, rows[chosen]
        work = [self._effort(int(row), cell.seed) for row in picks]
        radius, distance = choosing.coverage(pool.embeddings[rows], chosen) if len(chosen) else (None, None)
        return Played(
            cell=cell,
            scores=scores,
            n_pool=len(rows),
            label_fraction=pool.voxels_of(picks) / pool.voxels_of(rows),
            picks=tuple(int(row) for row in picks),
            pick_minutes=tuple(minutes for minutes, _ in work),
            n_selected_objects=sum(n for _, n in work),
            radius=radius,
            distance=distance,
            foreground=float(pool.true_traits["foreground"][picks].mean()) if len(picks) else None,
            seconds=round(time.monotonic() - began, 3),
            notes=tuple(notes),
        )

    def _effort(self, row: int, seed: int) -> tuple[float, int]:
        """(minutes, objects) of a patch."""
        key = (row, seed if self.pool.settings.expert.errs else 0)
        if key not in self._work:
            self._work[key] = expert.minutes(self.pool.drawn(row, seed), self.pool.settings.expert)
        return self._work[key]
