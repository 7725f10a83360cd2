"""A week of acquisitions in an hour: does the daemon stay as small and as quick as it was? `python -m benchmarks.soak --minutes 60`.

How time is compressed, 168 times: acquisitions and labels come 168 times as often; the times that config.toml knows (settling,
scanning, days for which things are kept) are divided as well, where the scan can still tell them apart; the clock is not touched. What
config.toml does not know stays as it is: timers of seconds (planning, signs of life), the checkpoint of the database every 5 minutes,
and what is done once an hour or a night. So that those happen as often as in a week, config.toml is changed and read again every
night (SIGHUP), which begins the hourly work anew, and a backup is asked for. Work is not compressed either: images and trainings
are tiny (8 x 96 x 96 voxels, two steps), and a new model segments what is new. With fewer minutes less of the week is played, as fast.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks.soak_week import DAY_S, People, Week
from benchmarks.table import Row, show
from daemon.demo.conductor import actor
from daemon.store.connection import DATABASE, open_reader
from daemon.store.views import Snapshot
from tests.daemon.daemons import RealDaemon, real_daemon
from tests.faults.invariants import check, digests

PATIENCE_S, QUIET_S, LOOK_S, STATUS_RUNS = 300.0, 3.0, 0.2, 3
KEEP_DAYS = 2.0
"""Days for which things are kept that are not needed: within a week they are cleared away."""


@dataclass(frozen=True)
class Sample:
    """The daemon in a quiet moment. day: of the laboratory. Sizes in bytes. read_s: from the last byte to "read", beyond the settle
    time, median of what came since the sample before. rested: nothing was left to do; else it was measured at work."""

    day: float
    rested: bool
    rss: int
    children_rss: int
    children: int
    descriptors: int
    threads: int
    wal: int
    database: int
    read_s: float
    status_s: float


@dataclass
class Peaks:
    """The largest sizes at any moment, at work too. Bytes."""

    rss: int = 0
    wal: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def watch(self, process: psutil.Process, wal: Path) -> None:
        while not self.stop.wait(0.5):
            with suppress(psutil.Error, OSError):
                self.rss = max(self.rss, process.memory_info().rss)
                self.wal = max(self.wal, wal.stat().st_size)


@dataclass
class Soak:
    """One play: a daemon, people, and what was measured."""

    week: Week
    daemon: RealDaemon
    samples: list[Sample] = field(default_factory=list)
    peaks: Peaks = field(default_factory=Peaks)
    seen: set[str] = field(default_factory=set)

    def play(self) -> list[Row]:
        """The whole play; returns the rows of the table. Raises AssertionError when anything was lost, or the daemon has ended."""
        self.daemon.start()
        self.daemon.ready()
        people = People(self.week, self.daemon)
        assert self.daemon.process is not None
        watched = psutil.Process(self.daemon.process.pid)
        with actor("expert", people.answer) as expert, _thread(self.peaks, watched, self._wal):
            self._before(people)
            self._sample(0.0, people)
            for part in range(1, self.week.n_parts + 1):
                began = time.monotonic()
                for left in people.day():
                    assert self.daemon.process.poll() is None, f"the daemon ended:\n{self.daemon.log[-3000:]}"
                    time.sleep(min(left, 0.2))
                self._night(part)
                self._sample(part * self.week.part_days, people)
                time.sleep(max(0.0, began + self.week.part_s - time.monotonic()))
                assert expert.is_alive(), people.expert.error
            last = self._end(people)
        return [*self.rows(), *last]

    @property
    def _wal(self) -> Path:
        return self.daemon.workspace / f"{DATABASE}-wal"

    def _before(self, people: People) -> None:
        """Before the first day everything happens once, so that all that is ever loaded is loaded."""
        for _ in range(6):
            people.acquire(0.1)
        people.due = self.week.every
        ended = self._wait(lambda shot: any(r.state in ("done", "failed") for r in shot.rounds))
        assert ended, f"no round came to its end: {self.daemon.log[-3000:]}"
        self._night(0)

    def _night(self, part: int) -> None:
        """Somebody changes a setting and makes a backup."""
        assert self.daemon.process is not None
        self.daemon.config.write_text(self.week.config(KEEP_DAYS + 0.1 * (part % 2)))
        self.daemon.process.send_signal(signal.SIGHUP)
        made = self.daemon.alscope("backup", timeout=120)
        assert made.returncode == 0, made.stderr

    def _wait(self, there: Callable[[Snapshot], bool], still_s: float = 0.0) -> bool:
        """Until it has been so for so long; False when that does not come. Time in which all of this was stopped does not count."""
        so_for_s = 0.0
        for _ in range(round(PATIENCE_S / LOOK_S)):
            shot = self.daemon.shot()
            if shot is not None and there(shot):
                if so_for_s >= still_s:
                    return True
                so_for_s += LOOK_S
            else:
                so_for_s = 0.0
            time.sleep(LOOK_S)
        return False

    def _is_at_rest(self, shot: Snapshot) -> bool:
        busy = shot.volumes["arriving"] or any((self.daemon.workspace / "inbox").iterdir())
        return not busy and not any(shot.jobs.get(s, 0) for s in ("waiting", "ready", "running"))

    def _sample(self, day: float, people: People) -> None:
        rested = self._wait(self._is_at_rest, QUIET_S)
        assert self.daemon.process is not None
        process = psutil.Process(self.daemon.process.pid)
        children = [c.memory_info().rss for c in process.children(recursive=True)]
        sample = Sample(
            day=day,
            rested=rested,
            rss=process.memory_info().rss,
            children_rss=sum(children),
            children=len(children),
            descriptors=process.num_fds(),
            threads=process.num_threads(),
            wal=self._wal.stat().st_size if self._wal.exists() else 0,
            database=(self.daemon.workspace / DATABASE).stat().st_size,
            read_s=self._latency(people),
            status_s=statistics.median(self._status() for _ in range(STATUS_RUNS)),
        )
        self.samples.append(sample)
        print(f"day {day:.2f}: {sample}", file=sys.stderr, flush=True)

    def _latency(self, people: People) -> float:
        """Median of what was read since the last sample. When a volume was read is what the daemon says."""
        sql = "SELECT s.name, v.created_at AS at FROM source s JOIN volume v ON v.id = s.volume_id"
        with closing(open_reader(self.daemon.workspace / DATABASE)) as db:
            read = {r["name"]: float(r["at"]) for r in db.execute(sql) if r["name"] not in self.seen}
        self.seen |= read.keys()
        return statistics.median(at - people.written[name] - 0.5 for name, at in read.items()) if read else float("nan")

    def _status(self) -> float:
        began = time.monotonic()
        assert self.daemon.alscope("status").returncode == 0
        return time.monotonic() - began

    def _end(self, people: People) -> list[Row]:
        """Was anything lost? Then the daemon is stopped."""
        watched = digests(self.daemon.folder)
        with closing(open_reader(self.daemon.workspace / DATABASE)) as db:
            sources = {r["name"]: r["state"] for r in db.execute("SELECT name, state FROM source WHERE gone = 0")}
            received = {
                r["suggestion_id"] for r in db.execute("SELECT suggestion_id FROM received WHERE state = 'accepted'")
            }
            failed = db.execute(
                "SELECT stage FROM job WHERE state = 'failed' AND stage NOT IN ('volume', 'label')"
            ).fetchall()
            n_rounds = dict(db.execute("SELECT state, COUNT(*) FROM round GROUP BY state").fetchall())
            n_labels = db.execute("SELECT COUNT(*) FROM label WHERE superseded_by IS NULL").fetchone()[0]
        wrong = [n for n in people.written if sources.get(n) != "ingested"]
        wrong += [n for n in people.broken if sources.get(n) != "set_aside"]
        unheard = [s for s in people.expert.answered if s not in received]
        began = time.monotonic()
        assert self.daemon.stop(60) == 0, "it did not stop in good order"
        stopped = time.monotonic() - began
        check(self.daemon.workspace)
        assert digests(self.daemon.folder) == watched, "the watched folder was changed"
        assert set(watched) == {*people.written, *people.broken}
        return [
            Row("volumes acquired (and cut off: " + str(len(people.broken)) + ")", len(people.written), ""),
            Row("acquisitions that are not as they should be", len(wrong), "", 0),
            Row("labels that count", n_labels, ""),
            Row("labels that were saved and not accepted", len(unheard), "", 0),
            Row("rounds", n_rounds.get("done", 0), ""),
            Row("rounds that failed", n_rounds.get("failed", 0), "", 0),
            Row("other jobs that failed", len(failed), "", 0),
            Row("SIGTERM to exit", stopped, "s", 5.0),
        ]

    def rows(self) -> list[Row]:
        """Start, middle and end of each figure, and by how much it grows in a day from the middle on (least squares over those
        nights): in the first days caches fill, such as that of the database, and pools of threads."""
        half = len(self.samples) // 2
        later = self.samples[half:]
        shown = {"start": self.samples[0], "middle": later[0], "end": later[-1]}
        rows = []
        for what, of, unit, scale, limit, growth in FIGURES:
            values = [getattr(s, of) / scale for s in later]
            rows += [Row(f"{what}, {when}", getattr(s, of) / scale, unit, limit) for when, s in shown.items()]
            slope = float(np.polyfit([s.day for s in later], values, 1)[0])
            rows.append(Row(f"{what}, growth in a day", slope, unit, growth))
        rows.append(Row("daemon, RSS, largest at any moment", self.peaks.rss / 1e6, "MB"))
        rows.append(Row("write-ahead log, largest at any moment", self.peaks.wal / 1e6, "MB", 64.0))
        rows.append(Row("nights in which work never ended", sum(not s.rested for s in self.samples), "", 0))
        return rows


FIGURES: tuple[tuple[str, str, str, float, float | None, float | None], ...] = (
    ("daemon, RSS", "rss", "MB", 1e6, 100.0, 1.0),
    ("idle workers, RSS", "children_rss", "MB", 1e6, None, None),
    ("idle workers", "children", "", 1, None, None),
    ("descriptors", "descriptors", "", 1, None, 0.5),
    ("threads", "threads", "", 1, None, 0.5),
    ("write-ahead log", "wal", "MB", 1e6, None, None),
    ("database", "database", "MB", 1e6, None, None),
    ("last byte to read, median", "read_s", "s", 1, 1.0, None),
    ("alscope status", "status_s", "s", 1, 0.5, None),
)
"""What, attribute of a Sample, unit, its size, limit, and limit of its growth in a day."""


@contextmanager
def _thread(peaks: Peaks, process: psutil.Process, wal: Path) -> Iterator[None]:
    """Watch the largest sizes in the background."""
    thread = threading.Thread(target=peaks.watch, args=(process, wal), daemon=True)
    thread.start()
    try:
        yield
    finally:
        peaks.stop.set()
        thread.join(10)


def soak(root: Path, week: Week) -> list[Row]:
    """Play a week, or a part of one, in an empty folder."""
    with real_daemon(root, week.config(KEEP_DAYS)) as daemon:
        return Soak(week, daemon).play()


def main() -> int:
    """Play as many minutes as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of this machine [default: 60, a week]")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    week = Week(days=arguments.minutes * 60 * Week.compression / DAY_S, seed=arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = soak(Path(folder), week)
    return show(f"soak, {week.days:.1f} days in {arguments.minutes:g} min", rows)


if __name__ == "__main__":
    sys.exit(main())
