"""Faults of the engine with scripted science: a workspace is brought from its first file to its last label through them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from alcore.artifact import remove_tree
from tests.faults.campaign import life
from tests.faults.campaign.judge import Found, after_a_fault, at_rest
from tests.faults.campaign.life import BROKE, REFUSED, RESTED, STUCK, Weather
from tests.faults.campaign.points import ERRORS, Plan
from tests.faults.invariants import digests

FAR, MOST_LIVES, LIVES, MOST_AT_ONCE = 250, 60, 12, 40
"""Side effects of a life before its last one, at most; lives until everything is done, and of a run of a kind of its own, at
most; failures in a row, at most."""
DAY_S = 86400.0


class Finding(Exception):  # noqa: N818 - no error of the test
    """Something was found: the run ends, and what lies there is kept as it is."""


@dataclass
class Run:
    """One workspace. faults: how many were injected. points: where, in words."""

    root: Path
    rng: random.Random
    number: int
    found: Found = field(default_factory=Found)
    faults: int = 0
    points: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        life.prepare(self.root)
        self.watched = digests(self.root / "in")
        self._now = 1.8e9

    def weather(self, steps: dict[int, float] | None = None, lose: frozenset[int] = frozenset()) -> Weather:
        self._now += 2000
        return Weather(self._now, steps or {}, lose)

    def live(self, plan: Plan | None, weather: Weather | None = None) -> int:
        """A life and what is said of it; how it ended."""
        ended = life.live(self.root, plan, weather or self.weather())
        told = self.root / "told"
        if told.exists():
            self.points += (words := told.read_text().splitlines())
            self.faults += len(words)
            told.unlink()
        if ended == BROKE:
            words_of = (self.root / "words").read_text().splitlines()
            self.found.violations.append(f"the daemon would have died of {words_of[-1]}: {'; '.join(words_of[-7:-1])}")
        elif ended == STUCK:
            self.found.stuck.append("never at rest")
        after_a_fault(self.root, self.watched, self.found)
        if self.found:
            raise Finding
        return ended

    def plan(self, action: str, at: int, until: int = 0) -> Plan:
        return Plan(action, at, str(self.root / "ws"), until, str(self.root / "told"))

    def in_peace(self) -> None:
        """The last life: everything comes to its end."""
        ended = self.live(None)
        if ended == REFUSED:
            self.found.stuck.append((self.root / "words").read_text().splitlines()[-1])
        elif ended == RESTED:
            at_rest(self.root, self.found, life.N_VOLUMES)


def nth(action: str) -> Callable[[Run], None]:
    """One kill, at the n-th side effect of a new workspace; n is the number of the run."""

    def play(run: Run) -> None:
        run.live(run.plan(action, run.number + 1))
        run.in_peace()

    return play


def again_and_again(action: str) -> Callable[[Run], None]:
    """Kill after kill, at random side effects, until everything is done in spite of it."""

    def play(run: Run) -> None:
        for _ in range(MOST_LIVES):
            if run.live(run.plan(action, 1 + int(FAR * run.rng.random() ** 2))) == RESTED:
                break
        run.in_peace()

    return play


def failing(action: str) -> Callable[[Run], None]:
    """Lives in which some side effects in a row fail; in every other one a kill follows soon after."""

    def play(run: Run) -> None:
        for number in range(LIVES):
            at = run.rng.randint(1, FAR)
            if run.live(run.plan(action, at, at + run.rng.randint(0, MOST_AT_ONCE))) == REFUSED and not number:
                continue  # before there was anything
            if number % 2:
                run.live(run.plan("kill", run.rng.randint(1, FAR)))
        run.in_peace()

    return play


def workers_lost(run: Run) -> None:
    """Workers are killed at random orders, and the daemon as well."""
    for _ in range(LIVES):
        lose = frozenset(n for n in range(1, 60) if run.rng.random() < 0.25)
        run.points += [f"order {n}" for n in lose]
        run.faults += len(lose)
        run.live(run.plan("kill", run.rng.randint(40, 2 * FAR)), run.weather(lose=lose))
    run.in_peace()


def clock_steps(run: Run) -> None:
    """The clock is set forward and back, by seconds to years, and the daemon is killed."""
    for _ in range(LIVES):
        steps = {
            turn: run.rng.choice((-1, 1)) * run.rng.choice((30.0, 3600.0, DAY_S, 400 * DAY_S))
            for turn in range(60)
            if run.rng.random() < 0.15
        }
        run.points += [f"clock {s:+.0f} s" for s in steps.values()]
        run.faults += len(steps)
        run.live(run.plan("kill", run.rng.randint(40, 2 * FAR)), run.weather(steps))
    run.in_peace()


def damaged_pages(run: Run) -> None:
    """Pages of the database are overwritten: the daemon says so, ends, and touches nothing, unless they were empty. Then the
    workspace of before is put back."""
    workspace, kept = run.root / "ws", run.root / "kept"
    for _ in range(LIVES // 2):
        run.live(run.plan("kill", run.rng.randint(FAR, 4 * FAR)))
        database = workspace / "alscope.db"
        if not database.exists():
            continue
        with contextlib.closing(sqlite3.connect(database)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for name in ("ws", "answers"):
            shutil.copytree(run.root / name, kept / name)
        _overwrite(database, run.rng)
        run.faults += 1
        run.points.append("3 pages")
        damaged = database.read_bytes()
        ended = life.live(run.root, None, run.weather())
        if ended not in (REFUSED, RESTED):
            run.found.violations.append(f"a life on a damaged database ended with {ended}")
        elif ended == REFUSED and database.read_bytes() != damaged:
            run.found.violations.append("a damaged database was written to")
        if run.found:
            raise Finding
        for name in ("ws", "answers"):
            remove_tree(run.root / name)
            (kept / name).rename(run.root / name)
    run.in_peace()


def _overwrite(database: Path, rng: random.Random) -> None:
    """Up to three pages, with bytes at random."""
    pages = max(1, database.stat().st_size // 4096)
    with open(database, "r+b") as f:
        for page in {rng.randrange(pages) for _ in range(3)}:
            f.seek(4096 * page)
            f.write(rng.randbytes(4096))


def parts_deleted(run: Run) -> None:
    """Somebody deletes what can be made again: folders of the queue, predictions, caches, the folders of jobs."""
    for _ in range(LIVES):
        run.live(run.plan("kill", run.rng.randint(40, 2 * FAR)))
        workspace = run.root / "ws"
        name = run.rng.choice(("cache", "jobs", "drafts", "report", "artifacts/.staging", "commands"))
        if (workspace / name).is_dir():
            remove_tree(workspace / name)
            run.faults += 1
            run.points.append(f"deleted {name}")
    run.in_peace()


FAULTS: dict[str, Callable[[Run], None]] = {
    "kill -9 at the n-th side effect": nth("kill"),
    "kill -9, again and again": again_and_again("kill"),
    "power cut at the n-th side effect": nth("power"),
    "power cut, again and again": again_and_again("power"),
    **{f"{action} at side effects": failing(action) for action in ERRORS},
    "kill -9 of workers (scripted)": workers_lost,
    "clock steps": clock_steps,
    "pages of the database overwritten": damaged_pages,
    "parts of the workspace deleted": parts_deleted,
}


def play(fault: str, root: Path, number: int, seed: int) -> Run:
    """One run of a fault in a folder that does not exist yet; the same numbers give the same run."""
    run = Run(root, random.Random(f"{seed}:{fault}:{number}"), number)
    with contextlib.suppress(Finding):
        FAULTS[fault](run)
    return run


def scratch() -> Path:
    """Where workspaces live: in memory where there is such a place, for a disk that syncs would be what is measured."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else Path(os.environ.get("TMPDIR", "/tmp"))
