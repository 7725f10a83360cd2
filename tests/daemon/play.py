"""A workspace, a watched folder and an engine on them with the science replaced by a script: the whole loop in a second."""

from __future__ import annotations

import os
import queue
import time
from pathlib import Path
from typing import Any

from alcore.fileset import fingerprint_of
from daemon.arrival import Settled
from daemon.config import from_mapping
from daemon.engine import Engine
from daemon.store.report import snapshot
from daemon.store.store import Store
from daemon.walk import INBOX
from daemon.workspace import Workspace
from tests.daemon.scripted import ScriptedExecutor


class Stage:
    """A workspace, a watched folder and an engine on them; `run` turns until nothing is left to do."""

    def __init__(self, root: Path, script=None, **options: Any) -> None:
        self.inbox = root / "ws" / "inbox"
        self.folder = root / "in"
        self.folder.mkdir(exist_ok=True)
        raw = {"workspace": "ws", "watch": [{"folder": "in"}], "run": {"min_free_gb": 0.0}} | options
        encoder = {"size": "micro"} | options.get("encoder", {})
        self.settings = from_mapping(raw | {"encoder": encoder}, root / "config.toml")
        self.workspace = Workspace(self.settings.workspace)
        self.workspace.make()
        self.now = time.time()
        self.script = script
        self.open()

    def open(self) -> None:
        self.store = Store(self.workspace.root)
        self.executor = ScriptedExecutor(self.workspace.artifacts, self.script)
        self.engine = Engine(self.settings, self.workspace, self.store, self.executor, "cpu", 1, "me", lambda: self.now)
        self.engine.start()
        self.store.state.started(1, "test", self.now)

    def restart(self) -> None:
        """As after a kill: whatever was in memory is gone."""
        self.store.close()
        self.open()

    def drop(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.write_bytes(content)
        self.settled(path, 0)

    def label(self, suggestion_id: str, content: bytes = b"label") -> None:
        path = self.inbox / f"{suggestion_id}.tif"
        path.write_bytes(content + suggestion_id.encode())
        self.settled(path, INBOX)

    def settled(self, path: Path, watch: int) -> None:
        found = fingerprint_of(os.fsencode(path))
        assert found is not None
        self.engine.handle(Settled(os.fsencode(path), watch, found.size, found.to_text(), found.mtime_ns / 1e9))

    def turn(self) -> bool:
        """One tick and its reports; False when nothing happened."""
        before = len(self.executor.orders)
        self.now += 1
        self.engine.tick()
        reports = 0
        while True:
            try:
                self.engine.handle(self.executor.reports.get_nowait())
                reports += 1
            except queue.Empty:
                return reports > 0 or len(self.executor.orders) > before

    def run(self) -> None:
        quiet = 0
        for _ in range(500):
            quiet = 0 if self.turn() else quiet + 1
            if quiet == 3:
                return
            if quiet:
                self.now += 700  # let every backoff pass
        raise AssertionError("it never comes to rest")

    def shot(self):
        return snapshot(self.workspace.root, self.now)

    def stages(self) -> list[str]:
        return [o.stage for o in self.executor.orders]


def answer_all(stage: Stage) -> int:
    open_ones = [q.id for q in stage.shot().queue if q.state in ("open", "rejected")]
    for suggestion_id in open_ones:
        stage.label(suggestion_id)
    return len(open_ones)


def events(stage: Stage) -> list[str]:
    """Everything that was told, oldest first."""
    return [r["message"] for r in stage.store.state._db.query("SELECT message FROM event ORDER BY id")]
