"""Timers, and nothing but timers: they put a word into the engine's queue. Work itself lives in the job table."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from apscheduler.schedulers.background import BackgroundScheduler

CLOCK_STEP_S = 5.0


class Timers:
    """Calls functions at intervals; survives steps of the wall clock, which APScheduler alone does not."""

    def __init__(self, timers: dict[str, tuple[float, Callable[[], None]]]) -> None:
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._timers = timers
        self._scheduler: BackgroundScheduler | None = None
        self._offset = 0.0

    def start(self) -> None:
        """Begin."""
        self._offset = time.time() - time.monotonic()
        self._scheduler = BackgroundScheduler(
            timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        for name, (every_s, call) in self._timers.items():
            self._scheduler.add_job(call, "interval", seconds=every_s, id=name)
        self._scheduler.start()

    def check_clock(self) -> bool:
        """Start the timers afresh when the wall clock was set; returns True if it was."""
        if self._scheduler is None or abs(time.time() - time.monotonic() - self._offset) < CLOCK_STEP_S:
            return False
        self.close()
        self.start()
        return True

    def close(self) -> None:
        """End all timers."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=True)
            self._scheduler = None
