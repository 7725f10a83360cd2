"""The demo's examiner: runs the real stages on the test volumes, outside the daemon's workspace, and scores what comes out."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.artifact import ArtifactStore
from alcore.run import key_of, stage
from alcore.stage import Input, Inputs, Params
from daemon.device import device, threads
from daemon.errors import AlscopeError
from daemon.executors.port import Finished, Order, Places
from daemon.executors.process import Lane, ProcessExecutor
from daemon.planner import Planner

if TYPE_CHECKING:
    import numpy as np

    from daemon.config import Settings

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Trained:
    """A model version, its scores pooled over the test volumes, and its instances (Z, Y, X) on each."""

    version: str
    scores: dict[str, float]
    instances: list[Array]


@dataclass(frozen=True)
class Exam:
    """What came out on the test volumes: the pseudo-labels' scores and instances, and every model's."""

    pseudo_scores: dict[str, float]
    pseudo: list[Array]
    trained: list[Trained]


class Examiner:
    """Runs the real stages on the test volume, outside the daemon's workspace, and scores what comes out."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._settings = settings
        self._places = Places(folder / "artifacts", folder / "cache", folder / "jobs")
        self._reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads = threads(settings.run)
        self._executor = ProcessExecutor(self._places, self._reports, [Lane(True, self._threads)], nice=0)
        self._artifacts = ArtifactStore(self._places.artifacts)
        self._n = 0

    def close(self) -> None:
        """End the worker."""
        self._executor.shutdown(0.0)

    def run(self, name: str, inputs: Inputs, params: Params) -> tuple[Path, str]:
        """Run one stage to its end; returns the artifact's folder and key. Raises AlscopeError if it fails."""
        self._n += 1
        key = key_of(name, inputs, params)
        order = Order(
            self._n,
            1,
            key,
            name,
            inputs,
            params,
            device(self._settings.run),
            self._threads,
            int(self._settings.run.ram_gb * 2**30),
            True,
            False,
            stage(name).hang_s,
        )
        self._executor.start(order)
        while not isinstance(end := self._reports.get(), Finished):
            pass
        if end.outcome != "done":
            raise AlscopeError(
                f"{name} on the test volume failed: {end.error}; see {self._places.job(self._n)}/log.txt"
            )
        return self._artifacts.path(key), key

    def examine(self, tests: Sequence[tuple[Path, Array]], models: Sequence[tuple[str, Path, str]]) -> Exam:
        """Scores of the pseudo-labels and of each model (version, folder, key), instances of whole volumes, pooled.

        tests: each test volume's file with its true instances (Z, Y, X).
        """
        import numpy as np

        from alcore.arrays.matching import count, pool
        from alcore.volumes.labels import read_labels
        from alcore.volumes.store import open_labels

        planner = Planner(self._settings, "cpu", self._artifacts.path, Path())
        watch = self._settings.watch[0]
        read = {"read": watch.read_options()}
        voxel_um = list(watch.voxel_um) if watch.voxel_um else None
        reading = {
            "voxel_um": voxel_um,
            "patch": {"shape_px": list(self._settings.patch.shape_px)},
            "fingerprint": None,
        }
        inputs: list[dict[str, list[Input]]] = []
        pseudo: list[Array] = []
        for path, _ in tests:
            source = Input(path, f"file:{path.name}")
            limit = {"limit_gb": self._settings.run.max_volume_gb}
            volume = Input(*self.run("volume", {"source": [source]}, read | reading | limit))
            inputs.append({"volume": [volume], "source": [source]})
            backend = {"backend": self._settings.pseudo.backend, "options": self._settings.pseudo.options}
            found, _ = self.run("pseudo", inputs[-1], read | backend)
            pseudo.append(np.asarray(open_labels(found / "instances.zarr")[:]))
        truths = [truth for _, truth in tests]
        trained = []
        for version, folder, key in models:
            params = planner.predict_params() | read | {"version": version}
            folders = [self.run("predict", i | {"model": [Input(folder, key)]}, params)[0] for i in inputs]
            predicted = [read_labels(f / "instances.tif")[0] for f in folders]
            scores = pool([count(p, t) for p, t in zip(predicted, truths, strict=True)])
            trained.append(Trained(version, scores.to_json(), predicted))
        return Exam(pool([count(p, t) for p, t in zip(pseudo, truths, strict=True)]).to_json(), pseudo, trained)
