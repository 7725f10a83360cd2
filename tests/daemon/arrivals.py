"""A real engine, store and scan on a real folder, with time in the hand of the test: every look happens when it is called."""

from __future__ import annotations

import json
import os
import queue
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daemon.arrival import Settled
from daemon.config import from_mapping
from daemon.engine import Engine, is_sighting
from daemon.ingest import Ingest
from daemon.store.store import Store
from daemon.walk import INBOX, Folder
from daemon.workspace import Workspace
from tests.daemon.filesets import Worker
from tests.daemon.scripted import ScriptedExecutor

SETTLE_S = 10.0
START = 1e9
QUIET: dict[str, Any] = {"encoder": {"min_patches": 10**6}, "training": {"pretrain": False}}


class Arrivals:
    """`root`/in is watched. `look`, `tick` and `rest` are all that ever happens."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.root, self.folder = root, root / "in"
        self.folder.mkdir()
        self.now = START
        self.options = {"watch": [{"folder": "in", "settle_s": SETTLE_S}], **QUIET, **options}
        self.meanwhile: Callable[[], None] = lambda: None
        self.worker = Worker(monkeypatch, root, lambda: self.meanwhile())
        self.told: list[Any] = []
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now)
        monkeypatch.setattr("daemon.ingest.time", clock)
        self.open()

    def open(self) -> None:
        raw = {"workspace": "ws", "run": {"min_free_gb": 0.0}} | self.options
        settings = from_mapping(raw, self.root / "config.toml")
        workspace = Workspace(settings.workspace)
        workspace.make()
        self.worker.artifacts = workspace.artifacts
        self.store = Store(workspace.root)
        self.executor = ScriptedExecutor(workspace.artifacts, self.worker)
        self.reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
        watched = [
            Folder(w.folder, n, w.settle_s, w.include, w.exclude, w.slices, w.marker)
            for n, w in enumerate(settings.watch)
        ]
        folders = [*watched, Folder(workspace.inbox, INBOX, 2.0, ("*",))]
        known, identities = self.store.sources.known(), self.store.sources.identities()
        self.ingest = Ingest(folders, self.reports.put, known, identities)
        self.engine = Engine(
            settings, workspace, self.store, self.executor, "cpu", 1, "me", lambda: self.now, self.ingest
        )
        self.engine.start()

    def restart(self, **options: Any) -> None:
        """As after a kill: whatever was in memory is gone; with another configuration if given."""
        self.close()
        self.options |= options
        self.open()

    def close(self) -> None:
        self.store.close()

    def look(self, scan: bool = True) -> None:
        """One look of the scan at all folders, or only at what it waits for."""
        self.ingest._woken.clear()
        for folder, state in self.ingest._folders.items():
            self.ingest._look(folder, state, scan)

    def hear(self, most: int = 10**6) -> None:
        """Let the engine hear so many of the reports of the scan and the workers."""
        for source in (self.reports, self.executor.reports):
            while most and not source.empty():
                most -= 1
                event = source.get_nowait()
                self.told.append(event)
                if is_sighting(event):
                    self.engine.sightings([event])
                else:
                    self.engine.handle(event)

    def tick(self) -> None:
        self.engine.tick()

    def rest(self, turns: int = 60) -> None:
        """Until nothing is left to do."""
        quiet = 0
        for _ in range(turns):
            self.now += 3 * SETTLE_S
            before = self.changes()
            self.look()
            self.hear()
            self.tick()
            self.hear()
            quiet = quiet + 1 if self.changes() == before else 0
            if quiet > 40 * SETTLE_S / (3 * SETTLE_S):
                return
        raise AssertionError(f"it never comes to rest: {self.told[-12:]}\n{self.rows()}")

    def changes(self) -> int:
        """Rows that were ever written."""
        return int(self.store.jobs._db.conn.total_changes)

    def rows(self) -> list[dict[str, Any]]:
        return list(self.store.jobs._db.query("SELECT * FROM source ORDER BY path"))

    def there(self) -> dict[str, tuple[str, str | None]]:
        """What is neither gone nor out of reach: name in the folder -> (state, hash of its volume now)."""
        sql = (
            "SELECT s.path, s.state, v.sha256 FROM source s LEFT JOIN source_part l ON l.source_id = s.id AND l.current = 1"
            " LEFT JOIN volume v ON v.id = l.volume_id WHERE s.gone = 0 AND s.away = 0"
        )
        found: dict[str, tuple[str, str | None]] = {}
        for r in self.store.jobs._db.query(sql):
            name = os.path.relpath(os.fsdecode(bytes(r["path"])), self.folder)
            assert name not in found, f"{name} holds two volumes"
            found[name] = (r["state"], r["sha256"] if r["state"] == "ingested" else None)
        return found

    def fingerprint(self, name: str) -> Any:
        """What the store remembers of one acquisition."""
        sql = "SELECT fingerprint FROM source WHERE path = ?"
        return json.loads(next(self.store.jobs._db.query(sql, [os.fsencode(self.folder / name)]))["fingerprint"])

    def jobs(self, state: str) -> int:
        sql = "SELECT COUNT(*) AS n FROM job WHERE state = ?"
        return int(next(self.store.jobs._db.query(sql, [state]))["n"])

    def heard(self, kind: type) -> list[Any]:
        return [e for e in self.told if isinstance(e, kind)]

    def settled(self) -> list[str]:
        """Names of what was found whole, in order."""
        return [Path(os.fsdecode(e.path)).name for e in self.heard(Settled)]
