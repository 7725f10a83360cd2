"""A workspace whose work ends as a test says: orders are held until then, the folders and the scan are in its hand."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from alcore.errors import SourceChangedError, SourceMissingError
from alcore.fileset import fingerprint_of
from alcore.run import _same_sources
from daemon.arrival import Arriving, Gone, Settled
from daemon.commands import ask
from daemon.engine import Engine
from daemon.executors.port import Finished, Order
from daemon.store.store import Store
from daemon.walk import INBOX
from tests.daemon.play import Stage
from tests.daemon.scripted import ScriptedExecutor, evaluation, results

BAD = b"bad"
"""What begins so is no image, and no label."""
QUALITY = (0.2, 0.5, 0.8)
"""F1 of models on every held-out patch; by the hash of their recipe."""
EVERY, DEPTH = 3, 4
OPTIONS: dict[str, Any] = {
    "training": {"every": EVERY, "gate_min_patches": 2},
    "selection": {"queue_depth": DEPTH},
    "annotation": {"lease_min": 1440.0},
    "run": {"min_free_gb": 0.0, "keep_backups": 1, "yield_to_acquisition": "off"},
}


def quality(artifact: str) -> float:
    """How good a model is."""
    return QUALITY[int(hashlib.sha256(artifact.encode()).hexdigest(), 16) % len(QUALITY)]


class Held(ScriptedExecutor):
    """Begins every order, and ends none by itself."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.held: dict[int, Order] = {}

    def start(self, order: Order) -> None:
        self.orders.append(order)
        assert order.job_id not in self.held, f"job {order.job_id} was given to two workers"
        self.held[order.job_id] = order

    def work(self, order: Order) -> Finished:
        """Do it as a real worker does, with acquisitions compared before and after."""
        del self.held[order.job_id]
        if self._artifacts.has(order.key):
            return Finished(order.job_id, order.fence, "done")
        try:
            said = self._said(order)
        except (SourceChangedError, SourceMissingError) as e:
            return Finished(order.job_id, order.fence, "failed", str(e), e.kind, e.detail)
        if isinstance(said, Finished):
            return said
        self.held[order.job_id] = order
        self.script = lambda _: said
        super().start(order)
        self.orders.pop()
        del self.held[order.job_id]
        found: Finished = self.reports.get_nowait()
        return found

    def _said(self, order: Order) -> Any:
        _same_sources(order.inputs)
        if order.stage == "volume":
            _same_file(order)
        for item in (*order.inputs.get("source", ()), *order.inputs.get("file", ())):
            if order.stage in ("volume", "label") and item.path.read_bytes().startswith(BAD):
                words = f"{item.path}: it is bad"
                return Finished(order.job_id, order.fence, "failed", words, "permanent")
        if order.stage == "evaluate":
            model = order.inputs["model"]
            return evaluation(order, quality(model[0].key) if model else 0.1)
        said = results(order)
        if order.stage == "suggestions" and order.params["waiting"]:
            waiting = [(key, row) for key, rows in order.params["waiting"].items() for row in rows]
            gone = waiting[: min(len(waiting) // 2, len(said["suggestions"]))]  # each for another that teaches more
            said["taken_back"] = [{"embedding": key, "row": row, "reason": "others teach more"} for key, row in gone]
        return said


def _same_file(order: Order) -> None:
    path = order.inputs["source"][0].path
    found = fingerprint_of(os.fsencode(path))
    if found is None:
        raise SourceMissingError(f"{path}: is not there now", {"path": str(path)})
    if found.to_text() != json.dumps(order.params["fingerprint"], sort_keys=True):
        raise SourceChangedError(f"{path}: changed since it was found whole", {"path": str(path)})


class World(Stage):
    """Folders, engine and store; `growing` are the files that their writer is still at."""

    executor: Held

    def __init__(self, root: Path) -> None:
        self.growing: set[str] = set()
        super().__init__(root, **OPTIONS)

    def open(self) -> None:
        self.store = Store(self.workspace.root)
        self.executor = Held(self.workspace.artifacts)
        self.engine = Engine(self.settings, self.workspace, self.store, self.executor, "cpu", 1, "me", lambda: self.now)
        self.engine.files.sweep()
        self.engine.start()
        self.store.state.started(1, "test", self.now)

    def scan(self) -> None:
        """Say of every file what the scan would say."""
        known = self.store.sources.known()
        there = {os.fsencode(p): p for p in self.folder.iterdir()}
        events: list[Any] = [Gone(p, True) for p, k in known.items() if p not in there and not k.gone]
        for name, path in sorted(there.items()):
            found, seen = fingerprint_of(name), known.get(name)
            assert found is not None
            text, newest = found.to_text(), found.mtime_ns / 1e9
            if path.name in self.growing:
                events.append(Arriving(name, 0, found.size, text, newest, "growing, 1 B", self.now, 10.0))
            elif seen is None or seen.fingerprint != text:
                events.append(Settled(name, 0, found.size, text, newest))
            elif seen.gone:
                events.append(Gone(name, False))
        self.engine.sightings(events)
        for path in sorted(self.inbox.iterdir()):
            self.settled(path, INBOX)

    def tick(self) -> None:
        self.now += 1
        self.engine.tick()

    def ask(self, verb: str, **arguments: Any) -> str:
        """Leave a command; the next tick obeys. Returns its name."""
        return ask(self.workspace, verb, arguments)

    def sql(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Rows, by plain SQL."""
        return list(self.store._db.query(sql, list(values)))
