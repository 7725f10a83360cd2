"""A process that plays curves: told over a pipe what to do, dead as soon as its parent is, so that no orphan trains on."""

from __future__ import annotations

import os
import threading
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import AlcoreError
from alcore.simulation.cell import Curve
from alcore.simulation.pair import Pair
from alcore.simulation.settings import Settings

if TYPE_CHECKING:
    from alcore.simulation.game import Game
    from alcore.simulation.presentation import Shown

FAILURE = "failure.txt"


@dataclass(frozen=True)
class Run:
    """Everything that is asked for. starts: with pre-training, without, or both. out: the folder of the results, where artifacts
    are kept too. threads: of each process."""

    pairs: tuple[Pair, ...]
    settings: Settings
    strategies: tuple[str, ...]
    starts: tuple[bool, ...]
    seeds: tuple[int, ...]
    learner: str
    out: Path
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Plan:
    """All curves, and the files of their cells."""

    curves: tuple[Curve, ...]
    files: tuple[tuple[Path, ...], ...]


class Player:
    """What a worker knows of a run; pools are read when they are first needed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._games: dict[str, Game] = {}

    def game(self, pair: Pair) -> Game:
        """The pool of a pair. Raises PermanentError for one that cannot be played on."""
        from alcore.simulation.game import Game
        from alcore.simulation.pool import LabelledPool, Workshop

        run = self._run
        if pair.name not in self._games:
            pool = LabelledPool(pair, run.settings, Workshop(run.out / "cache", run.device, run.threads))
            versions = pool.versions(run.learner)
            digest = run.settings.digest(pool.source.key, pool.labels.key, versions)
            self._games[pair.name] = Game(pool, run.out / "cells" / digest)
        return self._games[pair.name]

    def plan(self) -> Plan:
        """Read every image, make what no cell can do without, and say what there is to play."""
        from alcore.simulation.choosing import STRATEGIES
        from alcore.simulation.game import curves
        from alcore.simulation.settings import check_names

        run = self._run
        check_names(run.strategies, STRATEGIES, "--strategies")
        found: list[Curve] = []
        files: list[tuple[Path, ...]] = []
        for pair in run.pairs:
            game = self.game(pair)
            game.warm()
            for curve in curves(game.pool, list(run.strategies), list(run.starts), list(run.seeds), run.learner):
                found.append(curve)
                files.append(tuple(cell.path(game.folder) for cell in curve.cells))
        return Plan(tuple(found), tuple(files))

    def play(self, curve: Curve) -> int:
        """Play what is missing of a curve."""
        (pair,) = (pair for pair in self._run.pairs if pair.name == curve.first.pool)
        return self.game(pair).play(curve)

    def report(self, curves: Sequence[Curve]) -> int:
        """Write the files of the run from what is there; returns the rows of results.csv."""
        from alcore.simulation import report

        games = [self.game(pair) for pair in self._run.pairs]
        return report.write(self._run.out, games, curves, report.about(self._run, games))

    def present(self, default: str) -> list[Shown]:
        """Make tables, pictures and the page of these files. default: the strategy that the daemon chooses by."""
        from alcore.simulation.presentation import present

        return present(self._run.out, default)


def main(run: Run, pipe: Connection) -> None:
    """Answer (name of a method of `Player`, arguments) with ("done", what it returns) or ("failed", an AlcoreError or a text)."""
    _die_with_parent()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(run.threads)  # read when numpy and torch are imported
    from threadpoolctl import threadpool_limits

    threadpool_limits(run.threads)
    warnings.simplefilter("ignore")
    player = Player(run)
    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            return
        answer: tuple[str, Any]
        try:
            answer = ("done", getattr(player, name)(*arguments))
        except AlcoreError as e:
            answer = ("failed", e)
        except Exception as e:  # a fault of ours: told by the parent, which knows what was asked
            story = run.out / FAILURE
            story.write_text(traceback.format_exc())
            answer = ("failed", f"{type(e).__name__}: {e} (the whole story is in {story})")
        pipe.send(answer)


def _die_with_parent() -> None:
    """Also when it is killed: what this process writes is whole or not there at any moment."""
    parent = parent_process()

    def wait() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=wait, name="parent watch", daemon=True).start()
