"""A workspace with a pool of any size at rest: every volume read, pseudo-labelled, embedded and segmented; nothing is left to do.

Made through the store, in one transaction, without any file: what planner and status cost at scale is measured on it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alcore.run import key_of
from daemon.arrival import Settled
from daemon.config import Settings, from_mapping
from daemon.engine import LOOK_AGAIN_S, Engine
from daemon.planning import Planning
from daemon.policy import design, encoder_kind
from daemon.store.rows import EncoderRow, JobRow, Novelty, Picked, VolumeRow, Wanted
from daemon.store.store import Store
from daemon.workspace import Workspace
from tests.daemon.scripted import ScriptedExecutor

PATCHES = [{"start": [z, y, x], "shape": [32, 256, 256]} for z in (0, 32) for y in (0, 256) for x in (0, 256)]
MODEL = "M_f-001"
NOVELTY = Novelty(0.3, 0.2, 1, None, 0)
CONTROL = {"n": 5, "n_gate": 3, "metric": "Dice", "words": "it cannot be told yet"}
QUALITY = {
    "mean": [91.5],
    "percentile_00_5": [3.0],
    "percentile_99_5": [240.0],
    "sharpness": 0.8,
    "saturated": [0.0],
    "blank": [],
    "repeated": [],
    "unsharp": [],
    "warnings": [],
}


class Pool:
    """`root`/config.toml, `root`/in and `root`/ws with an engine on them whose executor never ends a job by itself.

    patches: boxes of the patches of every volume.
    """

    def __init__(self, root: Path, patches: Sequence[dict[str, list[int]]] = PATCHES, **options: Any) -> None:
        self.now, self.patches = time.time(), list(patches)
        (root / "in").mkdir(exist_ok=True)
        self.config = root / "config.toml"
        self.config.write_text('workspace = "ws"\n[[watch]]\nfolder = "in"\n[run]\nmin_free_gb = 0.0\n')
        raw: dict[str, Any] = {"workspace": "ws", "watch": [{"folder": "in"}], "run": {"min_free_gb": 0.0}}
        encoder = {"size": "micro"} | options.pop("encoder", {})
        self.settings: Settings = from_mapping(raw | options | {"encoder": encoder}, self.config)
        self.folder = self.settings.watch[0].folder
        self.workspace = Workspace(self.settings.workspace)
        self.workspace.make()
        self.store = Store(self.workspace.root)
        self.executor = ScriptedExecutor(self.workspace.artifacts, lambda order: None)
        self.engine = Engine(self.settings, self.workspace, self.store, self.executor, "cpu", 1, "me", lambda: self.now)
        self.planning: Planning = self.engine.planning

    def close(self) -> None:
        self.store.close()

    # steps

    def settled(self, first: int, n: int) -> None:
        """Acquisitions number first..first+n-1 are whole; the higher the number the newer."""
        with self.store.transaction():
            for number in range(first, first + n):
                event = Settled(self._path(number), 0, 83_000_000, fingerprint(number), float(number))
                self.store.sources.settled(event, self.now)

    def ingested(self, first: int, n: int) -> None:
        """The same, and read."""
        self.settled(first, n)
        with self.store.transaction():
            for number in range(first, first + n):
                source = self.store.sources.at(self._path(number))
                assert source is not None
                found = self.store.sources.source(source)
                assert found is not None
                job = self.done(self.planning.planner.volume(found), {})
                result = read_result(number, self.patches)
                self.store.volumes.ingest(source, fingerprint(number), job.key, result, self.now)

    def encoder(self, kind: str = "mae") -> EncoderRow:
        """An encoder of all volumes that embeds them."""
        wanted = self.planning.planner.encoder(kind, self.volumes())
        job = self.done(wanted, {})
        n, spare = self.store.volumes.n_patches(), kind != encoder_kind(self.settings.encoder, "cpu")
        made = self.store.encoders.add(job.key, kind, design(wanted.params), n, {}, self.now, spare)
        self.store.jobs.forget(job.id)
        return made

    def pseudo_labelled(self) -> None:
        for volume in self.store.volumes.without("pseudo", self.planning.planner.pseudo_spec(), 1 << 30):
            job = self.done(
                self.planning.planner.pseudo(volume, self.planning.pool.pseudo.labeler(self.now)), {"n_objects": 3}
            )
            self.done(self.planning.planner.traits(volume, job.key), {"n": len(self.patches)})

    def embedded(self) -> None:
        """By every encoder; the newest one serves from now on."""
        for encoder in self.store.encoders.in_use().values():
            for volume in self.volumes():
                self.done(self.planning.planner.embedding(volume, encoder), {"n": len(self.patches), "dim": 192})
        newest = self.store.encoders.in_use().get("embedding")
        if newest is not None:
            self.store.encoders.switch(newest.id)
        for wanted in self.planning.pool.novelty():
            self.done(wanted, {})
            for volume in self.volumes():
                self.store.selection.add_novelty(volume.id, int(wanted.subject.split(":")[1]), NOVELTY, "", self.now)

    def queued(self, n: int) -> list[str]:
        """Suggestions with their folders made, spread over the volumes."""
        encoder, selection = self.store.encoders.in_use()["current"], self.store.selection
        levels = self.planning.selection._levels(encoder, self.now)
        pool, covered = selection.pool(levels), selection.covered()
        spec = self.planning.planner.suggestions_spec(levels.embedding, selection.size(levels), n)
        wanted = self.planning.selection._wanted(levels, n, spec, {})
        if self.store.jobs.by_key(self.planning.key(wanted)) is None:
            self.store.jobs.forget(self.done(wanted, {}).id)
        chosen = [pool[i * len(pool) // n].id for i in range(n)]
        picks = [Picked(volume, len(covered.get(volume, [])), 0.5, "far from the rest") for volume in chosen]
        made = self.store.annotation.suggest(picks, self.now, self.planning.selection._level(levels))
        for suggestion in made:
            self.store.annotation.packaged(suggestion, self.artifact(f"package-{suggestion}"))
            self.store.annotation.set_published(suggestion, True)
        return made

    def labelled(self, suggestions: list[str]) -> None:
        """Answered by an expert; every fourth label is held out."""
        annotation, labels = self.store.annotation, self.store.labels
        for number, suggestion in enumerate(suggestions):
            asked = annotation.suggestion(suggestion)
            assert asked is not None
            inbox = bytes(self.workspace.inbox / f"{suggestion}.tif")
            made = labels.receive(asked, inbox, suggestion, {"user": "ana"}, self.now)
            (received,) = labels.received("id = ?", [made])
            role = "gate" if number % 4 == 3 else "train"
            labels.accept(received, self.artifact(f"label-{suggestion}"), role, 17, [], self.now)
            labels.set_filed(made, True)
            annotation.set_published(suggestion, False)

    def pretrained(self) -> None:
        for wanted in self.planning.training.pretraining():
            job = self.done(wanted, {"n_cases": 64})
            self.store.learning.add_model("M_p-001", "pretrained", "baseline", job.key, None, [], "", self.now)

    def round(self) -> None:
        """A round on all labels, whose model is promoted."""
        assert self.planning.learning.open_round(self.now) == ""
        learning = self.store.learning
        (wanted,) = self.planning.learning.round(self.now)
        job, active = self.done(wanted, {}), learning.active_round()
        assert active is not None
        learning.add_model(MODEL, "finetuned", "candidate", job.key, "M_p-001", active.train, "d", self.now)
        learning.judge(active.number, MODEL)
        active = learning.active_round()
        assert active is not None
        learning.finish_round(active, True, "better", {"f1": 0.6, "dice": 0.7}, {"f1": 0.4, "dice": 0.6}, self.now)
        for wanted in self.planning.learning.control():
            self.done(wanted, {})
            self.store.selection.add_control(active.number, CONTROL, self.now)

    def predicted(self) -> None:
        """Every volume is segmented by the promoted model."""
        model = self.store.learning.promoted()
        assert model is not None
        for volume in self.volumes():
            job = self.done(self.planning.planner.predict(volume, model), {"n_objects": 5})
            self.store.predictions.add(volume.id, model.version, job.key, 5, self.now)
            self.store.predictions.shown(volume.id, model.version)

    def reported(self) -> None:
        """The report of the newest round is made, with its parts."""
        while wanted := list(self.planning.report.wanted(self.now)):
            for one in wanted:
                self.store.jobs.forget(self.done(one, {"n": 8, "n_fitted": 8}).id)

    def at_rest(self, n: int, n_labels: int = 40) -> Pool:
        """`n` volumes with everything done that can be done without an expert, who has labelled `n_labels` patches."""
        n_labels = min(n_labels, n)
        with self.store.transaction():
            self.ingested(0, n)
            self.pseudo_labelled()
            self.encoder()
            self.embedded()
            self.pretrained()
            self.labelled(self.queued(n_labels))
            self.round()
            self.predicted()
            assert not list(self.planning.predictions.wanted(self.now))  # and advice is given
            self.queued(self.settings.selection.queue_depth)
        self.reported()
        self.store.state.started(1, "0.1.0", self.now)
        return self

    def whole_look(self) -> None:
        """A tick that asks everything again, although nothing has changed."""
        self.now += LOOK_AGAIN_S
        self.engine.tick()

    # pieces

    def volumes(self) -> list[VolumeRow]:
        return self.store.volumes.readable()

    def artifact(self, key: str, stage: str = "test") -> str:
        self.store.learning.add_artifact(key, stage, 1, 0.1, self.now)
        return key

    def done(self, wanted: Wanted, result: dict[str, Any]) -> JobRow:
        """The job was wanted, run and finished."""
        made = self.store.jobs.want(wanted, self.now)
        assert made is not None, f"{wanted.stage} of {wanted.subject} exists already"
        job = self.finish(made, result)
        assert job.key == key_of(wanted.stage, wanted.inputs, wanted.params)
        return job

    def finish(self, job_id: int, result: dict[str, Any]) -> JobRow:
        """A job that is ready was run."""
        job = self.store.jobs.claim(job_id, "me", self.now)
        self.store.jobs.done(job_id, result, self.now)
        self.artifact(job.key, job.stage)
        return job

    def _path(self, number: int) -> bytes:
        return bytes(self.folder / name(number))


def name(number: int) -> str:
    """Of acquisition `number`."""
    return f"stack_{number:05d}.tif"


def fingerprint(number: int) -> str:
    """Of acquisition `number`, as it is stored."""
    value = {"content": f"{number:032x}", "files": 1, "mtime_ns": number, "size": 83_000_000, "tree": f"{number:032x}"}
    return json.dumps(value, sort_keys=True)


def read_result(number: int, patches: Sequence[dict[str, list[int]]] = PATCHES) -> dict[str, Any]:
    """What the stage volume says of acquisition `number`."""
    stats = {"mean": 91.5, "std": 12.25, "minimum": 0.0, "maximum": 255.0}
    info = {
        "sha256": f"{number:064x}",
        "shape": [1, 64, 512, 512],
        "dtype": "uint8",
        "voxel_um": [0.05, 0.01, 0.01],
        "voxel_source": "file",
        "stats": [stats | {"percentile_00_5": 3.0, "percentile_99_5": 240.0}],
    }
    volume = {"info": info, "read": {}, "part": "", "folder": "", "notes": [], "quality": QUALITY}
    volume["patches"] = list(patches)
    return {"sha256": info["sha256"], "volumes": [volume], "refused": []}
