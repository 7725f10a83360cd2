"""Removes what piles up over months: logs of jobs that ended long ago, vectors by encoders out of use, results that were taken in."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alcore.disk import no_space
from daemon.executors.logs import WORKERS_LOG, shorten
from daemon.pages import KEPT_S, PageKeeper
from daemon.retention import COMMANDS_S, leftovers_expire, log_expires
from daemon.store.room import Needless
from daemon.store.rows import EncoderRow
from daemon.store.store import Store
from daemon.wording import count
from daemon.workspace import Workspace

EVERY_S, PRESSED_EVERY_S = 3600.0, 60.0
"""Between two looks; when room is short."""
BUDGET_S = 0.3
"""For so long at a time removing holds up the daemon; it goes on at the next call, some seconds later."""
AT_ONCE = 256


@dataclass
class Tidying:
    """The hands of the last rules in `daemon.retention`. Called by the engine every few seconds; looks once an hour.

    Vectors are withdrawn on record first, and their files go then: nobody takes vectors for there that are half removed. What a
    kill leaves in between is found by its record. specs_of: names what an encoder makes.
    """

    store: Store
    workspace: Workspace
    keep_days: float
    specs_of: Callable[[EncoderRow], Sequence[str]]
    pages: PageKeeper
    seen: float = 0.0
    _left: Iterator[int] | None = field(default=None, init=False)

    def run(self, now: float, pressed: bool = False) -> int:
        """Remove what is due, for a moment; returns how many things. pressed: room is short."""
        self._cap_logs()
        if self._left is None:
            if 0 <= now - self.seen < (PRESSED_EVERY_S if pressed else EVERY_S):
                return 0
            self._left = self._all(now, pressed)
        until, done = time.monotonic() + BUDGET_S, 0
        try:
            for n in self._left:
                done += n
                if time.monotonic() > until:
                    return done
        except BaseException:
            self._left = None
            raise
        self._left, self.seen = None, now
        return done

    def _cap_logs(self) -> None:
        """Logs that somebody writes to now."""
        places = self.workspace.places
        running = [places.job(job.id) / "log.txt" for job in self.store.jobs.running()]
        for log in (places.jobs / WORKERS_LOG, *running):
            try:
                shorten(log)
            except OSError as e:
                if not no_space(e):
                    raise

    def _all(self, now: float, pressed: bool) -> Iterator[int]:
        """Step by step: how many things went in each."""
        self.store.room.note_use(now)
        yield 0
        before = leftovers_expire(now, self.keep_days, pressed)
        yield from self._vectors(before, now)
        yield from self._taken_in(before, now)
        for page in self.pages.outdated(self.store.room.needed(), now - KEPT_S):
            self.workspace.artifacts.discard(page)
            yield 0
        yield from self._logs(log_expires(now, self.keep_days))
        yield self.store.room.shorten_stories()
        yield self.store.room.forget_commands(now - COMMANDS_S)

    def _vectors(self, before: float, now: float) -> Iterator[int]:
        room, gone = self.store.room, 0
        specs = [spec for encoder in room.encoders_unused(before) for spec in self.specs_of(encoder)]
        while specs:
            needed = self.pages.named(room.needed())
            found = [one for one in room.vectors(specs, AT_ONCE) if one.key not in needed]
            if not found:
                break  # also where a job still reads the first of them: the next look finds the others
            room.withdraw(found, "its encoder is out of use (disk.keep_days)", now)
            yield 0
        while found := room.withdrawn_vectors(AT_ONCE):
            for n in self._discard(found, now):
                gone += n
                yield n
        if gone:
            text = f"vectors of {count(gone, 'volume')} by encoders out of use cleared away (disk.keep_days)"
            self.store.state.event("encoder", text, now)

    def _taken_in(self, before: float, now: float) -> Iterator[int]:
        """Their jobs stay done: it is known that this was asked, and what came of it."""
        while found := self.store.room.taken_in(before, AT_ONCE):
            needed = self.store.room.needed()  # nothing on a page was taken in
            found = [one for one in found if one.key not in needed]
            if not found:
                return
            yield from self._discard(found, now)

    def _discard(self, found: Sequence[Needless], now: float) -> Iterator[int]:
        """Files first, then the record that they are gone, for some at a time: one write to the disk."""
        for start in range(0, len(found), 32):
            some = found[start : start + 32]
            for one in some:
                self.workspace.artifacts.discard(one.key)
            self.store.room.cleared([one.key for one in some], now)
            yield len(some)

    def _logs(self, before: float) -> Iterator[int]:
        """Folders of jobs with their logs. Those with a checkpoint in them are the older rule's (training.keep_days)."""
        with os.scandir(self.workspace.places.jobs) as entries:
            jobs = [int(e.name) for e in entries if e.name.isdecimal() and e.is_dir(follow_symlinks=False)]
        for start in range(0, len(jobs), AT_ONCE):
            some = jobs[start : start + AT_ONCE]
            ended, known = self.store.room.ended(some, before), self.store.room.known(some)
            for job in some:
                folder = self.workspace.places.job(job)
                over = (
                    not (folder / "scratch").exists()
                    if job in ended
                    else job not in known and _is_older(folder, before)
                )
                if over:
                    shutil.rmtree(folder, ignore_errors=True)
                    yield 1
            yield 0


def _is_older(folder: Path, before: float) -> bool:
    """A folder of a database that was lost or put back: nobody knows its job any more."""
    try:
        return folder.stat().st_mtime < before
    except OSError:
        return False
