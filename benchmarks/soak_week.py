"""A week at a microscope, played faster: what is acquired, what people do, and how the timers of a daemon are scaled to it."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alcore.arrays.synthetic import em_volume
from daemon.demo.expert import Expert
from daemon.demo.microscope import Microscope
from daemon.demo.split import Piece

if TYPE_CHECKING:
    from tests.daemon.daemons import RealDaemon

DAY_S = 86400.0
SHAPE, PATCH, VOXEL_UM = (8, 96, 96), (8, 48, 48), (0.05, 0.01, 0.01)
AWAKE = 2 / 3
"""Share of a day in which something is acquired and people work; the rest is night."""


@dataclass(frozen=True)
class Week:
    """How much is played, and how fast. compression: so many seconds of the laboratory pass in one second.

    volumes, labels: in a day, evenly over its waking part; every: labels for a round. A day too short for whole numbers of
    them has fewer.
    """

    days: float = 7.0
    compression: float = 168.0
    volumes: int = 24
    labels: int = 24
    every: int = 8
    seed: int = 1

    @property
    def n_parts(self) -> int:
        """Each part of the play is a day of work with a night after it; two at least, so that there is a middle."""
        return max(2, round(self.days))

    @property
    def part_days(self) -> float:
        """Length of a part, in days of the laboratory."""
        return self.days / self.n_parts

    @property
    def part_s(self) -> float:
        """The same in seconds of this machine."""
        return self.part_days * DAY_S / self.compression

    def config(self, keep_days: float) -> str:
        """config.toml. Times that can be said there are scaled, down to what the scan can tell apart; keep_days: in the laboratory."""
        kept = keep_days / self.compression
        return f"""workspace = "ws"
[[watch]]
folder = "in"
settle_s = 0.5
[patch]
shape_px = {list(PATCH)}
[encoder]
size = "descriptor"
[pseudo]
backend = "threshold"
[selection]
queue_depth = {self.every}
[training]
every = {self.every}
keep_days = {kept:.6f}
pretrain_schedule = {{epochs = 1, iterations = 2}}
finetune_schedule = {{epochs = 1, iterations = 2}}
[prediction]
policy = "new"
keep_days = {kept:.6f}
[inbox]
settle_s = 0.2
[run]
rescan_s = 1.0
yield_to_acquisition = "off"
workers = 1
threads = 1
min_free_gb = 0.0
"""


@dataclass
class People:
    """Microscope and expert of one play. `written` is when each whole acquisition was closed, in seconds since the epoch."""

    week: Week
    daemon: RealDaemon
    truth: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    spoilt: list[str] = field(default_factory=list)
    due: int = 0

    def __post_init__(self) -> None:
        self.expert = Expert(self.truth, self.daemon.workspace, 0.0, self._may_answer, save_s=0)

    def _may_answer(self) -> bool:
        return len(self.expert.answered) < self.due

    def answer(self, stop: threading.Event) -> None:
        """The expert at work until told to stop; a folder of the queue may be taken back while it is looked at."""
        while not stop.is_set():
            self.expert.run(stop)
            if "FileNotFoundError" not in self.expert.error:
                return
            self.expert.error = ""

    def acquire(self, seconds: float) -> None:
        """One volume, written plane by plane."""
        n = len(self.written)
        image, labels = em_volume(SHAPE, VOXEL_UM, np.random.default_rng([self.week.seed, n]))
        piece = Piece(f"v{n:04d}.tif", image, labels, VOXEL_UM)
        self.truth[piece.name] = labels
        microscope = Microscope([piece], self.daemon.folder, seconds)
        microscope.run(threading.Event())
        if microscope.error:
            raise RuntimeError(microscope.error)
        self.written[piece.name] = time.time()

    def break_one(self) -> None:
        """An acquisition is cut off in the middle: it can never be read."""
        whole = self.daemon.folder / next(iter(self.written))
        path = self.daemon.folder / f"cut{len(self.broken):04d}.tif"
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        self.broken.append(path.name)

    def save_again(self) -> None:
        """A better label of a patch that has one."""
        for name in reversed(self.expert.answered):
            path = self.daemon.workspace / "labels" / f"{name}.tif"
            if path.exists():
                self._into_inbox(path, f"{name}.tif")
                return

    def spoil_one(self) -> None:
        """A label that is no image is saved for a patch that waits; a right one follows."""
        for item in self._waiting():
            if item not in self.spoilt and item not in self.expert.answered:
                bad = self.daemon.root / "bad.tif"
                bad.write_bytes(b"no image")
                self.spoilt.append(item)
                self._into_inbox(bad, f"{item}.tif")
                return

    def skip_one(self) -> None:
        """Somebody does not want the last of those that wait."""
        waiting = self._waiting()
        if waiting:
            self.daemon.alscope("queue", "skip", waiting[-1], "--kind", "other", "--reason", "not now")

    def _waiting(self) -> list[str]:
        said = self.daemon.alscope("queue", "--json")
        assert said.returncode == 0, said.stderr
        return [q["id"] for q in json.loads(said.stdout) if q["ready"] and q["state"] == "open"]

    def _into_inbox(self, path: Path, name: str) -> None:
        half = self.daemon.workspace / f".{name}.again"
        shutil.copyfile(path, half)
        half.rename(self.daemon.workspace / "inbox" / name)

    def day(self) -> Iterator[float]:
        """Live through the waking part of a day; yields whenever somebody has a moment, with the seconds left of it."""
        week, rng = self.week, np.random.default_rng([self.week.seed, len(self.written), 7])
        awake_s = AWAKE * week.part_s
        n_volumes = max(1, round(week.volumes * week.part_days))
        n_labels = max(1, round(week.labels * week.part_days))
        wait_s = awake_s / n_volumes
        deeds = [(self.acquire, (n + 0.2 * rng.random()) * wait_s) for n in range(n_volumes)]
        others = (self.break_one, self.spoil_one, self.skip_one, self.save_again)
        began, due = time.monotonic(), self.due
        plan: list[tuple[float, Any]] = [(at, lambda act=act: act(0.3 * wait_s)) for act, at in deeds]
        plan += [(awake_s * (0.3 + 0.15 * n), act) for n, act in enumerate(others)]
        for at, act in sorted(plan, key=lambda p: p[0]):
            while (left := began + at - time.monotonic()) > 0:
                self._fall_due(due, n_labels, (time.monotonic() - began) / awake_s)
                yield left
            act()
        while (left := began + awake_s - time.monotonic()) > 0:
            self._fall_due(due, n_labels, (time.monotonic() - began) / awake_s)
            yield left
        self.due = due + n_labels

    def _fall_due(self, before: int, n_labels: int, share: float) -> None:
        self.due = before + min(n_labels, round(share * n_labels))
