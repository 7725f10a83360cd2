"""Play a simulation in as many processes as asked for; goes on where an earlier one, ended or killed, stopped.

Imports no numpy: everything heavy happens in the workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from alcore.disk import no_space
from alcore.errors import AlcoreError, PermanentError, TransientError
from alcore.simulation import folder, worker
from alcore.simulation.cell import Curve
from alcore.simulation.worker import Plan, Run

if TYPE_CHECKING:
    from alcore.simulation.presentation import Shown

TICK_S = 0.5
REPORT_EVERY_S = 120.0
"""So often the tables are brought up to date while cells are played."""


@dataclass(frozen=True)
class Progress:
    """Cells that are there, of how many; seconds until the end as it looks now (None: nobody knows yet); what is being done."""

    done: int
    total: int
    left_s: float | None
    doing: str


@dataclass
class _Worker:
    """A process, its end of the pipe, and what it is doing (None: waits)."""

    process: BaseProcess
    pipe: Connection
    doing: str | None = None

    def ask(self, doing: str, method: str, *arguments: Any) -> None:
        self.doing = doing
        self.pipe.send((method, arguments))

    def answer(self) -> Any:
        """What came back. Raises what the work raised, TransientError when the process is gone."""
        doing, self.doing = self.doing, None
        try:
            kind, value = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            raise TransientError(
                f"a process ended while it was at {doing} (exit code {self.process.exitcode}; killed, or out of memory?): the "
                "same command goes on where it stopped, --workers 1 needs least memory"
            ) from None
        if kind == "done":
            return value
        if isinstance(value, AlcoreError):
            raise value
        raise PermanentError(f"{doing}: {value}")


@dataclass(frozen=True)
class Outcome:
    """rows: of results.csv. played: cells that were played now. shown: what each learner's tables say."""

    rows: int
    played: int
    shown: list[Shown]


class StoppedError(KeyboardInterrupt):
    """Ctrl-C in the middle of a run. outcome: what is there by now, in tables and on a page; None where nothing is to be shown."""

    def __init__(self, outcome: Outcome | None) -> None:
        super().__init__()
        self.outcome = outcome


@dataclass
class Engine:
    """A run in progress. tell: is told about progress twice a second. default: the strategy that the daemon chooses by,
    which tables and pictures show first; "" = leave them out. remark: is told, before anything is played, what a person should
    know."""

    run: Run
    n_workers: int
    tell: Callable[[Progress], None]
    default: str = ""
    remark: Callable[[str], None] = lambda text: None
    _workers: list[_Worker] = field(default_factory=list)
    _total: int = 0
    _before: int = 0

    def play(self) -> Outcome:
        """Play what is missing, and write tables and pictures.

        Raises PermanentError for images, labels or settings that cannot be played, TransientError when a process was lost, or
        another run is at work in the folder, DiskFullError when there is no room. After Ctrl-C tables and pictures are made of
        what is there, and StoppedError is raised; a second one ends that too. What was played stays.
        """
        out = self.run.out
        try:
            folder.prepare(out)
            with folder.alone(out), self._staff():
                plan = self._first_of(self._start(), "reading the images", "plan")
                for text in plan.remarks:
                    self.remark(text)
                try:
                    outcome = self._all(plan)
                except KeyboardInterrupt:
                    raise StoppedError(self._so_far(plan)) from None
                (out / folder.FAILURE).unlink(missing_ok=True)
                return outcome
        except OSError as e:
            if no_space(e):
                raise folder.no_room(out) from e
            raise

    @contextlib.contextmanager
    def _staff(self) -> Iterator[None]:
        whole = False
        try:
            yield
            whole = True
        finally:
            self._dismiss(whole)

    def _dismiss(self, whole: bool) -> None:
        """End all workers; those that are at work, or all of a run that is not whole, at once."""
        for one in self._workers:
            if one.doing is not None or not whole:
                one.process.kill()
            one.pipe.close()
        while self._workers:
            one = self._workers.pop()
            one.process.join()
            one.process.close()

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=worker.main, args=(self.run, theirs), name="simulation")
        # Ctrl-C goes to the whole group, and the parent decides: its children are born with the signal blocked. The tracker that
        # `start` would start unblocks it on the way: it has to run before.
        with _quiet_tracker():
            resource_tracker.ensure_running()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, ours))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return self._workers[-1]

    def _first_of(self, one: _Worker, doing: str, method: str, *arguments: Any) -> Any:
        """The answer to a question that nothing else can be done before."""
        one.ask(doing, method, *arguments)
        while not one.pipe.poll(TICK_S):
            self.tell(Progress(self._total, self._total, None, doing))
        return one.answer()

    def _all(self, plan: Plan) -> Outcome:
        missing = {i: [f for f in files if not f.exists()] for i, files in enumerate(plan.files)}
        waiting = deque(plan.curves[i] for i, files in missing.items() if files)
        open_files = {file for files in missing.values() for file in files}
        self._total = total = sum(map(len, plan.files))
        to_play = len(open_files)
        self._before = total - to_play
        while len(self._workers) < min(self.n_workers, len(waiting)):
            self._start()
        began = reported = time.monotonic()
        while waiting or any(one.doing for one in self._workers):
            for one in self._workers:
                if one.doing is None and time.monotonic() - reported > REPORT_EVERY_S:
                    one.ask("the tables", "report", plan.curves)
                    reported = time.monotonic()
                elif one.doing is None and waiting:
                    curve = waiting.popleft()
                    one.ask(_words(curve), "play", curve)
            busy = [one for one in self._workers if one.doing is not None]
            for pipe in wait([one.pipe for one in busy], TICK_S):
                next(one for one in busy if one.pipe is pipe).answer()
            open_files = {file for file in open_files if not file.exists()}
            played = to_play - len(open_files)
            left = (time.monotonic() - began) / played * len(open_files) if played else None
            doing = next((one.doing for one in self._workers if one.doing), "")
            self.tell(Progress(total - len(open_files), total, left, doing))
        return self._shown(self._workers[0], plan, to_play, True)

    def _shown(self, one: _Worker, plan: Plan, played: int, maps: bool) -> Outcome:
        """Write the tables and, where they are wanted and there is a result, the pictures."""
        rows = self._first_of(one, "the tables", "report", plan.curves)
        wanted = rows and self.default
        shown = self._first_of(one, "the pictures", "present", self.default, maps) if wanted else []
        return Outcome(rows, played, shown)

    def _so_far(self, plan: Plan) -> Outcome | None:
        """What is there of an unfinished run: whatever is being played is given up, and a fresh process makes the tables."""
        self._dismiss(False)
        there = sum(file.exists() for files in plan.files for file in files)
        return self._shown(self._start(), plan, there - self._before, False) if there else None


@contextlib.contextmanager
def _quiet_tracker() -> Iterator[None]:
    """A process that is killed leaves semaphores, which Python's tracker removes, with a warning that helps nobody: the tracker is
    born without it."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before, "ignore:resource_tracker:UserWarning")))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def _words(curve: Curve) -> str:
    first = curve.first
    start = "pre-trained" if first.pretrained else "from scratch"
    return f"{first.pool}, region {first.split}, seed {first.seed}, {first.strategy}, {start}"
