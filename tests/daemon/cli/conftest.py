"""Commands on a workspace made through the store; where an answer is needed, somebody who plays the daemon."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from daemon.cli.main import main
from daemon.commands import drop_label_note, label_note, obey
from daemon.config import load
from daemon.files import Files
from tests.daemon.scene import Scene

NO_LABEL = "there is no accepted label to train on yet"


@pytest.fixture
def scene(tmp_path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


@pytest.fixture
def alscope(scene, capsys) -> Callable[..., SimpleNamespace]:
    """Run a command on the scene: code, out, err, and (for --json) data."""

    def run(*arguments: str) -> SimpleNamespace:
        capsys.readouterr()
        code = main(["--config", str(scene.config), *arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(
            code=code, out=out, err=err, data=json.loads(out) if "--json" in arguments and out else None
        )

    return run


class Attendant(threading.Thread):
    """Plays the daemon: obeys commands with its own code, and takes labels; one that contains b"bad" is rejected."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene
        self.killed: list[int] = []
        self.notes: list[dict[str, Any]] = []
        self._ended = threading.Event()

    def run(self) -> None:
        scene = self.scene
        files = Files(scene.store, scene.workspace)
        engine: Any = SimpleNamespace(
            store=scene.store,
            workspace=scene.workspace,
            settings=load(scene.config),
            executor=SimpleNamespace(kill=self.killed.append, holds=lambda stage: True),
            planning=SimpleNamespace(learning=SimpleNamespace(open_round=lambda now: NO_LABEL)),
        )
        while not self._ended.is_set():
            obey(engine, time.time())
            for path in sorted(scene.workspace.inbox.glob("[!.]*.tif")):
                self._take(path, files)
            self._ended.wait(0.05)

    def _take(self, path, files: Files) -> None:
        annotation, labels = self.scene.store.annotation, self.scene.store.labels
        suggestion = annotation.suggestion(path.stem)
        self.notes.append(label_note(self.scene.workspace, path.stem))
        drop_label_note(self.scene.workspace, path.stem)
        content = path.read_bytes()
        author = str(self.notes[-1].get("user", ""))
        number = labels.receive(
            suggestion, os.fsencode(path), hashlib.sha256(content).hexdigest(), {"user": author}, time.time()
        )
        files.reconcile()
        (received,) = labels.received("id = ?", [number])
        if b"bad" in content:
            labels.reject(received, f"{path.name}: shape (1, 2, 3), but the patch is (32, 256, 256)", time.time())
        else:
            labels.accept(received, self.scene.artifact(f"label-{number}"), "train", 5, ["1 speck"], time.time())

    def end(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture
def attended(scene) -> Callable[[], Any]:
    """`with attended() as attendant:` somebody plays the daemon."""

    @contextmanager
    def play() -> Iterator[Attendant]:
        attendant = Attendant(scene.running())
        attendant.start()
        try:
            yield attendant
        finally:
            attendant.end()

    return play
