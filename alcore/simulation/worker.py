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

from alcore.disk import is_full, no_space
from alcore.errors import AlcoreError, DiskFullError, PermanentError, TransientError
from alcore.simulation.cell import Curve
from alcore.simulation.folder import FAILURE, no_room
from alcore.simulation.pair import Pair
from alcore.simulation.settings import Settings

if TYPE_CHECKING:
    from alcore.simulation.game import Game
    from alcore.simulation.presentation import Shown


@dataclass(frozen=True)
class Run:
    """Everything that is asked for. starts: with pre-training, without, or both. out: the folder of the results, where artifacts
    are kept too. threads: of each process. left_out: files of the folder of the images that are not played, to be told of."""

    pairs: tuple[Pair, ...]
    settings: Settings
    strategies: tuple[str, ...]
    starts: tuple[bool, ...]
    seeds: tuple[int, ...]
    learner: str
    out: Path
    device: str = "cpu"
    threads: int = 1
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All curves, the files of their cells, and what a person should know before they are played."""

    curves: tuple[Curve, ...]
    files: tuple[tuple[Path, ...], ...]
    remarks: tuple[str, ...] = ()


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
        from alcore.simulation.earlier import no_longer_shown
        from alcore.simulation.game import curves
        from alcore.simulation.settings import check_names

        run = self._run
        check_names(run.strategies, STRATEGIES, "--strategies")
        found: list[Curve] = []
        files: list[tuple[Path, ...]] = []
        remarks: list[str] = []
        digests = {}
        for pair in run.pairs:
            game = self.game(pair)
            game.warm()
            remarks += [*game.pool.remarks, *game.pool.concerns]
            digests[pair.name] = game.folder.name
            for curve in curves(game.pool, list(run.strategies), list(run.starts), list(run.seeds), run.learner):
                found.append(curve)
                files.append(tuple(cell.path(game.folder) for cell in curve.cells))
        remarks += no_longer_shown(run.out, (cell for curve in found for cell in curve.cells), digests)
        return Plan(tuple(found), tuple(files), tuple(remarks))

    def play(self, curve: Curve) -> int:
        """Play what is missing of a curve."""
        (pair,) = (pair for pair in self._run.pairs if pair.name == curve.first.pool)
        return self.game(pair).play(curve)

    def report(self, curves: Sequence[Curve]) -> int:
        """Write the files of the run from what is there; returns the rows of results.csv."""
        from alcore.simulation import report

        games = [self.game(pair) for pair in self._run.pairs]
        return report.write(self._run.out, games, curves, report.about(self._run, games))

    def present(self, default: str, maps: bool = True) -> list[Shown]:
        """Make tables, pictures and the page of these files. default: the strategy that the daemon chooses by. maps: the latent
        map too, which takes longest."""
        from alcore.simulation.presentation import present

        return present(self._run.out, default, maps)


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
        except Exception as e:
            answer = ("failed", _failure(e, run.out))
        pipe.send(answer)


def _failure(error: Exception, out: Path) -> AlcoreError | str:
    """What the parent is told, which knows what was asked: the error itself where it is meant for people, else its name. Then
    the whole story is kept in a file, where there is room for it."""
    if isinstance(error, DiskFullError) or no_space(error) or (not isinstance(error, AlcoreError) and is_full(out)):
        return no_room(out)
    if isinstance(error, AlcoreError):  # as a plain one: some of its kinds do not come through a pipe
        kind = TransientError if isinstance(error, TransientError) else PermanentError
        return kind(str(error), error.detail)
    from alcore.simulation.damaged import damaged

    if found := damaged(out / "cache" / "artifacts", error):
        return found
    said = " ".join(f"{type(error).__name__}: {error}".split())
    story = out / FAILURE
    try:
        story.write_text("".join(traceback.format_exception(error)))
    except OSError as e:
        return f"{said} (the whole story could not be written to {story}: {e.strerror})"
    return f"{said} (the whole story is in {story})"


def _die_with_parent() -> None:
    """Also when it is killed: what this process writes is whole or not there at any moment."""
    parent = parent_process()

    def wait() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=wait, name="parent watch", daemon=True).start()
