"""A workspace in the middle of its life, made through the store: what status, dashboard and the commands are shown on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alcore.stage import Input
from daemon.arrival import Arriving, Settled
from daemon.store.rows import Flaw, JobRow, Novelty, Picked, Wanted
from daemon.store.store import Store
from daemon.wording import clean
from daemon.workspace import Lock, Workspace

HOSTILE = "a[red]b[bold]\x1b[31m\n\u202eevil.tif"
"""A file name that is markup, moves the cursor, breaks the line and turns the text around."""


class Scene:
    """`root`/config.toml, `root`/in and `root`/ws with an open store. Times are relative to `now`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = time.time()
        self.config = root / "config.toml"
        self.config.write_text('workspace = "ws"\n[[watch]]\nfolder = "in"\n[run]\nmin_free_gb = 0.0\n')
        (root / "in").mkdir(exist_ok=True)
        self.workspace = Workspace(root / "ws")
        self.workspace.make()
        self.store = Store(self.workspace.root)
        self.store.state.started(os.getpid(), "0.1.0", self.now - 8000)
        self.store.state.seen(self.now, "")
        self._lock = Lock(self.workspace)
        self.volumes: list[int] = []

    def running(self) -> Scene:
        """This process plays the daemon that holds the workspace."""
        self._lock.take()
        return self

    def close(self) -> None:
        self._lock.release()
        self.store.close()

    def artifact(self, key: str) -> str:
        self.store.learning.add_artifact(key, key.split("-")[0], 1, 0.1, self.now)
        return key

    def arriving(self, name: str) -> None:
        path = os.fsencode(self.root / "in") + b"/" + os.fsencode(name)
        event = Arriving(path, 0, 5_000_000, f'{{"ino": "{len(name)}"}}', 0.0, "growing, 5.0 MB", self.now - 4, 10.0)
        self.store.sources.arriving(event, self.now)

    def set_aside(self, name: str, reason: str) -> None:
        source, fingerprint = self._settled(name)
        self.store.sources.set_aside(source, fingerprint, reason, self.now - 300)

    def _settled(self, name: str) -> tuple[int, str]:
        path = os.fsencode(self.root / "in") + b"/" + os.fsencode(name)
        fingerprint = json.dumps({"ino": name})
        self.store.sources.settled(Settled(path, 0, 83_000_000, fingerprint, 0.0), self.now - 100)
        (source,) = [s for s in self.store.sources.to_read(True) if s.path == path]
        return source.id, fingerprint

    def volume(self, name: str, voxel_um: list[float] | None = None) -> int:
        """A volume of 8 patches, ingested."""
        source, fingerprint = self._settled(name)
        number = len(self.volumes) + 1
        info = {"shape": [1, 64, 512, 512], "dtype": "uint8", "voxel_um": voxel_um, "voxel_source": "file", "stats": []}
        patches = [{"start": [z, y, x], "shape": [32, 256, 256]} for z in (0, 32) for y in (0, 256) for x in (0, 256)]
        volume = {"info": info | {"sha256": f"{number:064x}"}, "patches": patches, "notes": []}
        volume |= {"read": {}, "part": "", "folder": "", "quality": {}}
        key = self.artifact(f"volume-{number:040d}")
        result = {"volumes": [volume], "refused": []}
        (made,) = self.store.volumes.ingest(source, fingerprint, key, result, self.now - 90)
        self.volumes.append(made)
        return made

    def job(
        self, stage: str, subject: str, volume: int | None = None, inputs: Mapping[str, list[Input]] | None = None
    ) -> int:
        made = self.store.jobs.want(
            Wanted(stage, subject, inputs or {}, {"of": subject}, 50, "spec", volume), self.now - 500
        )
        assert made is not None
        return made

    def claimed(self, stage: str, subject: str, volume: int | None = None, **more: Any) -> JobRow:
        return self.store.jobs.claim(self.job(stage, subject, volume, **more), "lease", self.now - 190)

    def done(self, stage: str, subject: str, volume: int | None = None, **more: Any) -> None:
        self.store.jobs.done(self.claimed(stage, subject, volume, **more).id, {}, self.now - 80)

    def suggest(self, n: int) -> list[str]:
        """Queue `n` patches with their folders."""
        picks = [
            Picked(
                self.volumes[i % len(self.volumes)],
                i // len(self.volumes),
                None if i < 3 else 0.5 - 0.01 * i,
                "far from the rest",
                arm="control" if i == 6 else "selected",
                why={"minutes": 3.5, "density": 0.4, "foreground": 0.25},
                neighbours=[(self.volumes[0], 0, 0.31)] if i > 3 else (),
            )
            for i in range(n)
        ]
        ids = self.store.annotation.suggest(picks, self.now - 70)
        for suggestion in ids:
            self.store.annotation.packaged(suggestion, self.artifact(f"package-{suggestion}"))
            folder = self.workspace.queue / suggestion
            folder.mkdir()
            (folder / "image.tif").write_bytes(b"image")
            self.store.annotation.set_published(suggestion, True)
        return ids

    def answer(self, suggestion: str, role: str = "train", reason: str = "") -> None:
        """A label came in: accepted, or rejected for a reason."""
        annotation, labels = self.store.annotation, self.store.labels
        asked = annotation.suggestion(suggestion)
        assert asked is not None
        number = labels.receive(asked, f"/in/{suggestion}.tif".encode(), suggestion, {"user": "ana"}, self.now - 60)
        (received,) = labels.received("id = ?", [number])
        if reason:
            labels.reject(received, reason, self.now - 20)
        else:
            labels.accept(received, self.artifact(f"label-{suggestion}"), role, 17, [], self.now - 50)
            annotation.set_published(suggestion, False)

    def round(self, number: int, f1: float, promoted: bool) -> None:
        """A round with its model and verdict."""
        learning, version = self.store.learning, f"M_f-{number:03d}"
        labels = self.store.labels.current()
        learning.open_round(labels, f"digest-{number}", 0.01 * number, self.now - 400)
        learning.add_model(
            version, "finetuned", "candidate", self.artifact(f"finetune-{number}"), None, labels, "d", self.now
        )
        learning.judge(number, version)
        active = learning.active_round()
        assert active is not None
        learning.finish_round(
            active, promoted, f"F1 {f1} on 1 held-out patch", scores(f1), scores(0.402), self.now - 300
        )

    def encoder(self, kind: str, n_patches: int) -> None:
        """An encoder that selects from now on."""
        result = {"kind": kind, "selftest": {"self_retrieval": 1.0, "effective_rank": 23.4, "failures": []}}
        key = self.artifact(f"encoder-{kind}-{n_patches}")
        made = self.store.encoders.add(key, kind, "design", n_patches, result, self.now - 85, False)
        self.store.encoders.switch(made.id)

    def refuse_encoder(self, n_patches: int) -> None:
        reason = f"the encoder failed its self-test and must not select: self-retrieval 0.41, at least 0.95 ({HOSTILE})"
        figures = {"selftest": {"self_retrieval": 0.41}}
        self.store.encoders.reject("encoder-refused", "mae", "design", n_patches, clean(reason), figures, self.now - 15)

    def novel(self, volume: int) -> None:
        """A volume unlike everything before it."""
        (encoder,) = self.store.encoders.in_use().values()
        novelty = Novelty(0.9, 0.7, 3, (self.volumes[0], 1), 0)
        self.store.selection.add_novelty(volume, encoder.id, novelty, "unlike everything before it", self.now - 12)

    def control(self) -> None:
        """The arms were compared after the newest round."""
        number = self.store.selection.newest_round_without_control()
        assert number is not None
        figures = {"selected": 0.62, "control": 0.589, "difference": 0.031, "low": 0.004, "high": 0.058}
        counts = {"n": 12, "n_gate": 5, "metric": "Dice", "words": "Selection helps: it does."}
        self.store.selection.add_control(number, counts | figures, self.now - 290)

    def live(self) -> Scene:
        """A healthy system in full work."""
        for i in range(4):
            volume = self.volume(f"stack_{i:02d}.tif", [0.05, 0.01, 0.01] if i else None)
            self.done("pseudo", f"volume:{volume}", volume)
        for volume in self.volumes[:3]:
            self.done("embedding", f"volume:{volume}", volume)
        self.done(
            "suggestions",
            "pool:3:0",
            inputs={"embedding": [Input(Path("x"), f"embedding-{v}") for v in self.volumes[:3]]},
        )
        self.arriving("stack_99.tif")
        self.encoder("descriptor", 16)
        self.encoder("mae", 24)
        ids = self.suggest(8)
        for i, suggestion in enumerate(ids[:4]):
            self.answer(suggestion, "gate" if i == 3 else "train")
        self.round(1, 0.45, True)
        self.round(2, 0.612, True)
        self.store.predictions.add(self.volumes[0], "M_f-002", "finetune-2", 9, self.now)
        self.store.predictions.shown(self.volumes[0], "M_f-002")
        self.control()
        job = self.claimed("finetune", "round:3")
        self.store.jobs.heartbeat(job.id, job.fence, 0.42, "epoch 13/30, loss 0.412, about 2 min left", self.now)
        self.job("predict", f"volume:{self.volumes[1]}", self.volumes[1])
        self.store.state.event("volume", "stack_00.tif: 64 x 512 x 512 voxels, 8 patches", self.now - 100)
        return self

    def troubled(self) -> Scene:
        """The same with something wrong everywhere, and a hostile file name."""
        self.live()
        volume = self.volume(HOSTILE)
        job = self.claimed("pseudo", f"volume:{volume}", volume)
        self.store.jobs.failed(job.id, "ValueError: [/] is not markup", "defect", self.now - 30)
        self.claimed("embedding", f"volume:{volume}", volume)
        self.set_aside("cut.tif", "cut.tif: 6 of 10 planes are there; the file is truncated: copy it again")
        self.refuse_encoder(24)
        self.store.selection.hold_back([Flaw(volume, 7, "it is blank", 2.0)], self.now - 25)
        self.novel(volume)
        self.answer("s00005", reason="s00005.tif: shape (Z, Y, X) = (32, 200, 256), but the patch is (32, 256, 256)")
        self.store.state.problem(
            "folder", "/data/em2", "/data/em2: the watched folder cannot be reached", self.now - 900
        )
        self.store.state.event("volume", f"{HOSTILE}: 64 x 512 x 512 voxels", self.now - 10)
        return self


def scores(f1: float) -> dict[str, float]:
    """Scores as the evaluate stage gives them."""
    names = ("accuracy", "precision", "recall", "panoptic")
    return (
        {"f1": f1, "dice": f1 + 0.2}
        | dict.fromkeys(names, f1 * 0.8)
        | {"n_true": 10, "n_predicted": 11, "n_matched": 6}
    )
