"""The threads around the engine: scan, watcher, timers, couriers. Made as config.toml wants them, exchanged when it wants others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from daemon.alarming import couriers
from daemon.config import Settings
from daemon.ingest import Ingest
from daemon.store.connection import LOCAL_FILE_SYSTEMS, NETWORK_FILE_SYSTEMS, file_system_of
from daemon.store.store import Store
from daemon.ticks import Ticks
from daemon.timers import Timers
from daemon.walk import INBOX, Folder
from daemon.watcher import Watcher
from daemon.workspace import Workspace

if TYPE_CHECKING:
    from daemon.metrics import MetricsServer

log = logging.getLogger("alscope")

REMOTE_RESCAN_S = 10.0
"""Folders on network file systems are scanned so often: events tell nothing of what other machines write."""


class Hands:
    """report: puts a word into the engine's queue. wake: has the engine look again. words: what else timers say, by their
    interval in seconds."""

    def __init__(
        self,
        settings: Settings,
        workspace: Workspace,
        store: Store,
        report: Callable[[Any], None],
        wake: Callable[[], None],
        words: Mapping[str, tuple[float, Callable[[], None]]],
    ) -> None:
        self.settings = settings
        self._workspace, self._store = workspace, store
        self._report, self._wake, self._words = report, wake, words
        self._started = False
        self._make_scan()
        self.timers = self._new_timers()
        self.couriers = couriers(settings, workspace, report)
        self.ticks = Ticks()
        self._metrics: MetricsServer | None = None

    def _make_scan(self) -> None:
        watched = [
            Folder(watch.folder, number, watch.settle_s, watch.include, watch.exclude, watch.slices, watch.marker)
            for number, watch in enumerate(self.settings.watch)
        ]
        folders = [*watched, Folder(self._workspace.inbox, INBOX, self.settings.inbox.settle_s, ("*",))]
        sources = self._store.sources
        self.ingest = Ingest(folders, self._report, sources.known(), sources.identities())
        seen = [watch.folder for watch in self.settings.watch]
        self.watcher = Watcher([*seen, self._workspace.inbox, self._workspace.commands], self._hint)

    def _new_timers(self) -> Timers:
        rescan_s = self.settings.run.rescan_s
        return Timers(
            {
                "rescan": (rescan_s, self.rescan),
                "rescan_remote": (min(REMOTE_RESCAN_S, rescan_s), self.rescan_remote),
                **self._words,
            }
        )

    def rescan(self) -> None:
        """Scan soon; very large folders less often, while events tell of new files there."""
        if not (
            self.ingest.was_dear() and self.watcher.hears_all() and LOCAL_FILE_SYSTEMS.issuperset(self._file_systems())
        ):
            self.ingest.wake()

    def rescan_remote(self) -> None:
        """Scan, if any watched folder lies on a network file system just now."""
        if any(kind in NETWORK_FILE_SYSTEMS for kind in self._file_systems()):
            self.ingest.wake()

    def _file_systems(self) -> list[str]:
        return [file_system_of(watch.folder) for watch in self.settings.watch]

    def _hint(self) -> None:
        self.ingest.wake()
        self._wake()

    def start(self) -> None:
        """Begin to scan, and to count the time."""
        self.ingest.start()
        self.timers.start()
        self._started = True

    def supervise_metrics(self) -> None:
        """Listen, where config.toml wants that; what is in the way is a problem, and it is tried again at the next call."""
        wanted, state = self.settings.metrics, self._store.state
        if wanted.port and self._metrics is None:
            from daemon.metrics import Figures, MetricsServer

            try:
                self._metrics = MetricsServer(wanted.address, wanted.port, Figures(self._workspace.root, self.ticks))
            except OSError as e:
                where = f"metrics.address = {wanted.address}, metrics.port = {wanted.port}"
                words = f"{where}: cannot listen there ({e.strerror or e}); choose another port, or end what uses it"
                state.problem("metrics", "metrics", words, time.time())
                return
            log.info("figures for Prometheus at %s port %d", wanted.address, wanted.port)
        state.solved("metrics", "metrics")

    def _close_metrics(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    @property
    def scan_died(self) -> bool:
        """Did the scan begin, and is it over?"""
        return self._started and not self.ingest.is_alive()

    def stop_scan(self) -> None:
        """Nothing is reported of the watched folders after this. Returns at once the second time."""
        self.watcher.close()
        if self.ingest.ident is not None:
            self.ingest.close()

    def exchange(self, settings: Settings, changed: Collection[str]) -> None:
        """Others for the parts that these keys are about. Where `scans(changed)`, after `stop_scan`. May be called again after an
        error on the way."""
        self.settings = settings
        if any(key.startswith("alarms.") for key in changed):
            for courier in self.couriers.values():
                courier.close()  # what it had under way is told by the next one
            self.couriers = couriers(settings, self._workspace, self._report)
        if any(key.startswith("metrics.") for key in changed):
            self._close_metrics()
            self.supervise_metrics()
        if scans(changed):
            self._make_scan()
            self.watcher.supervise()
            self.ingest.start()
        if "run.rescan_s" in changed:
            self.timers.close()
            self.timers = self._new_timers()
            self.timers.start()

    def close(self) -> None:
        """End them, but for the couriers, whose last letters may still be reported."""
        self.timers.close()
        self.stop_scan()
        self._close_metrics()


def scans(changed: Collection[str]) -> bool:
    """Are these keys about what is scanned, and how?"""
    return any(key.startswith(("watch.", "inbox.settle_s")) for key in changed)
