"""Runs a stage at once, in the calling process: for tests and for commands that work without a daemon."""

from __future__ import annotations

from daemon.executors.perform import perform
from daemon.executors.port import Order, Places, Reports


class InlineExecutor:
    """`start` returns when the job is finished; its reports wait in the queue."""

    groups = (None,)

    def __init__(self, places: Places, reports: Reports) -> None:
        self._places = places
        self._reports = reports
        self._asked_to_stop: set[int] = set()

    def holds(self, stage: str) -> bool:
        """Nothing runs between calls."""
        return False

    def free(self, long: bool, stage: str) -> bool:
        """Always: one at a time is all there is."""
        return True

    def start(self, order: Order) -> None:
        """Run to the end."""
        stopped = lambda: order.job_id in self._asked_to_stop  # noqa: E731
        self._reports.put(perform(order, self._places, self._reports.put, stopped))
        self._asked_to_stop.discard(order.job_id)

    def stop(self, job_id: int) -> None:
        """Takes effect when called from within the job's own progress report, or before it starts."""
        self._asked_to_stop.add(job_id)

    def hold(self, job_id: int, held: bool) -> None:
        """Nothing runs between calls."""

    def kill(self, job_id: int) -> None:
        """The same as `stop`: one cannot kill oneself."""
        self.stop(job_id)

    def shutdown(self, grace_s: float) -> None:
        """Nothing runs between calls."""
