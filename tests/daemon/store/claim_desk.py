"""What the verbs of `daemon.commands_annotation` need of an engine: a store with a few suggestions, and people who ask."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from daemon.commands_annotation import VERBS
from daemon.store.rows import Picked
from daemon.store.store import Store
from daemon.workspace import Workspace
from tests.daemon.sightings import settled

USERS = ("ana", "ben", "cleo")
IDS = ("s00001", "s00002", "s00003")
LEASE_S = 600.0
INFO = {"shape": [1, 8, 64, 64], "dtype": "uint8", "voxel_um": None, "voxel_source": "unknown", "stats": []}


def filled(root: Path, n: int = len(IDS)) -> Any:
    """What the verbs need of an engine, with n published suggestions of one volume."""
    workspace = Workspace(root)
    workspace.make()
    store = Store(root)
    store.sources.settled(settled(b"/in/a.tif", "x"), 1.0)
    (source,) = store.sources.to_read(True)
    store.learning.add_artifact("volume-1", "volume", 1, 0.1, 1.0)
    patches = [{"start": [0, 0, 16 * i], "shape": [8, 64, 16]} for i in range(n)]
    volume = {"info": INFO | {"sha256": "aa"}, "patches": patches, "notes": [], "part": "", "folder": "", "read": {}}
    (made,) = store.volumes.ingest(source.id, "x", "volume-1", {"volumes": [volume], "refused": []}, 1.0)
    for name in store.annotation.suggest([Picked(made, i, 0.5, "far") for i in range(n)], 1.0):
        store.learning.add_artifact(f"package-{name}", "package", 1, 0.1, 1.0)
        store.annotation.packaged(name, f"package-{name}")
        store.annotation.set_published(name, True)
    said = SimpleNamespace(annotation=SimpleNamespace(lease_min=LEASE_S / 60))
    return SimpleNamespace(store=store, workspace=workspace, settings=said)


def ask(engine: Any, verb: str, now: float = 5.0, **arguments: Any) -> str:
    return VERBS[verb](engine, arguments, now)


def given(engine: Any, user: str, **more: Any) -> Any:
    return json.loads(ask(engine, "claim", user=user, **more))


def receive(engine: Any, suggestion: str, author: str, now: float = 6.0) -> int:
    asked = engine.store.annotation.suggestion(suggestion)
    return engine.store.labels.receive(asked, b"/ws/inbox/x.tif", "sha", {"user": author} if author else {}, now)


def accept(engine: Any, number: int, now: float = 7.0) -> None:
    (received,) = engine.store.labels.received("id = ?", [number])
    engine.store.learning.add_artifact(f"label-{number}", "label", 1, 0.1, now)
    engine.store.labels.accept(received, f"label-{number}", "train", 3, [], now)
