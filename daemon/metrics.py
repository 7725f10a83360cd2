"""Figures for Prometheus, served from a thread of their own that only reads the database: a scrape holds up nobody."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from daemon.disk import free_gb
from daemon.errors import WorkspaceError
from daemon.look import look
from daemon.store.views import Snapshot
from daemon.ticks import Ticks
from daemon.vitals import memory
from daemon.wording_problems import problem_state
from daemon.wording_state import HANDED_BACK

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily, Metric

FRESH_S = 1.0
"""However often it is asked, the database is read so often at most."""
SILENT_S = 10.0
"""A client that says nothing for so long is hung up on."""


class Figures:
    """A collector of prometheus_client over one workspace."""

    def __init__(self, workspace: Path, ticks: Ticks) -> None:
        self._workspace, self._ticks = workspace, ticks
        self._lock = threading.Lock()
        self._seen: tuple[float, Snapshot | None] = (float("-inf"), None)

    def collect(self) -> Iterator[Metric]:
        """All figures as of now."""
        from prometheus_client.core import SummaryMetricFamily

        shot = self._look()
        yield _gauge("alscope_database_readable", "1 while the database can be read.", {"": float(shot is not None)})
        if shot is not None:
            yield from _of(shot)
        own, workers = memory(os.getpid())
        words = "Resident memory of the daemon and of its worker processes."
        yield _gauge("alscope_resident_memory_bytes", words, {"daemon": own, "workers": workers}, "process")
        free = {"": free_gb(self._workspace) * 1e9}
        yield _gauge("alscope_disk_free_bytes", "Free space on the disk of the workspace.", free)
        ticks = self._ticks
        yield _gauge("alscope_last_tick_seconds", "Time that the last tick of the engine took.", {"": ticks.last_s})
        yield SummaryMetricFamily("alscope_tick_seconds", "Ticks of the engine.", ticks.n, ticks.total_s)

    def _look(self) -> Snapshot | None:
        with self._lock:
            at, shot = self._seen
            if time.monotonic() - at >= FRESH_S:
                try:
                    shot = look(self._workspace, time.time())
                except WorkspaceError:
                    shot = None
                self._seen = (time.monotonic(), shot)
            return shot


def _of(shot: Snapshot) -> Iterator[Metric]:
    waiting = sum(q.state in HANDED_BACK and q.ready for q in shot.queue)
    severities = [problem_state(problem) for problem in shot.problems]
    yield _gauge("alscope_info", "The version that runs.", {shot.daemon.version or "": 1.0}, "version")
    yield _gauge("alscope_paused", "1 while no new work is started.", {"": float(shot.daemon.state == "paused")})
    yield _gauge("alscope_volumes", "Volumes by how far they are.", shot.volumes, "state")
    yield _gauge("alscope_patches", "Patches of the pool.", shot.patches, "kind")
    yield _gauge("alscope_jobs", "Jobs by state.", shot.jobs, "state")
    yield _gauge("alscope_queue_depth", "Patches that wait for an annotator.", {"": waiting})
    yield _gauge("alscope_labels", "Labels by kind.", shot.labels, "kind")
    counted = {name: severities.count(name) for name in ("fail", "warn")}
    yield _gauge("alscope_problems", "Problems by severity.", counted, "severity")
    if shot.room is not None:
        words = "What the workspace takes, by kind, as it was measured last."
        yield _gauge("alscope_workspace_bytes", words, shot.room.kinds, "kind")
    best = next((m for m in shot.models if m.state == "promoted"), None)
    if best is not None and best.scores:
        scores = {name: best.scores[name] for name in ("f1", "dice") if name in best.scores}
        yield _gauge("alscope_model_score", "Scores of the model in use on held-out patches.", scores, "score")


def _gauge(name: str, words: str, values: Any, label: str = "") -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    found = GaugeMetricFamily(name, words, labels=[label] if label else [])
    for key, value in values.items():
        found.add_metric([str(key)] if label else [], float(value))
    return found


class _Handler(WSGIRequestHandler):
    timeout = SILENT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a line each."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """As WSGIServer does, without asking a name server what this machine is called, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class MetricsServer:
    """Listens until it is closed. Raises OSError where it cannot."""

    def __init__(self, address: str, port: int, figures: Figures) -> None:
        from prometheus_client import CollectorRegistry, make_wsgi_app

        registry = CollectorRegistry()
        registry.register(figures)
        kind = _Server6 if ":" in address else _Server
        self._server = make_server(address, port, make_wsgi_app(registry), kind, _Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
