"""A labelled volume as a pool: the artifacts of its stages, made once, its truth, its patches and its test regions."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.artifact import ArtifactStore, remove_tree
from alcore.errors import PermanentError
from alcore.run import QuietContext, execute, key_of, stage
from alcore.simulation import code, concerns, cutting, expert, wording
from alcore.simulation.pair import Pair, content_key
from alcore.simulation.settings import Settings
from alcore.stage import Input
from alcore.types import Box, VolumeInfo

Rows = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint32]
LIMIT_GB = 16.0
"""Images and masks up to this size are read; a simulation holds both in memory."""
FROM_OBJECTS = ("foreground", "border", "n_objects")


@dataclass(frozen=True)
class Workshop:
    """Where stages work: artifacts, scratch and caches below one folder, on a device with so many threads."""

    folder: Path
    device: str = "cpu"
    threads: int = 1
    ram_bytes: int = 4 << 30

    @property
    def artifacts(self) -> ArtifactStore:
        """Everything made so far, by recipe."""
        return ArtifactStore(self.folder / "artifacts")

    def made(self, name: str, inputs: Mapping[str, list[Input]], params: Mapping[str, Any]) -> Input:
        """The artifact of a stage, made now or earlier; what a killed run left of a training goes on from its checkpoint."""
        key = key_of(name, inputs, params)
        scratch = self.folder / "scratch" / key
        with self._alone(key):  # two processes that want the same training would share its checkpoints
            if not self.artifacts.has(key):
                scratch.mkdir(parents=True, exist_ok=True)
                ctx = QuietContext(scratch, self.folder / "rebuildable", self.device, self.threads, self.ram_bytes)
                execute(name, inputs, params, self.artifacts, ctx)
            if scratch.exists():
                remove_tree(scratch)
        return Input(self.artifacts.path(key), key)

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Only one process at a time makes this artifact; one that is killed lets go."""
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with open(locks / key, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def result(self, made: Input) -> dict[str, Any]:
        """What a stage said in its manifest."""
        found: dict[str, Any] = json.loads((made.path / "manifest.json").read_text())["result"]
        return found


class LabelledPool:
    """One image with its labels. Raises PermanentError, naming the file, for what does not fit together or is too small.

    voxels: (C, Z, Y, X) normalised with the constants of the whole volume, which no label enters; truth: (Z, Y, X) ids 1..n.
    """

    def __init__(self, pair: Pair, settings: Settings, shop: Workshop) -> None:
        self.pair, self.settings, self.shop = pair, settings, shop
        self.source = Input(pair.image, content_key(pair.image))
        self.labels = Input(pair.labels, content_key(pair.labels))
        with wording.for_this_command():
            shape = self._shape()
            self.patch_px = settings.patch_px or cutting.patch_for(shape)
            self.volume = self._volume()
        self.info = VolumeInfo.from_json(json.loads((self.volume.path / "info.json").read_text()))
        self.boxes = [Box.from_json(b) for b in json.loads((self.volume.path / "patches.json").read_text())]
        cut = cutting.splits(
            self.info.zyx, self.boxes, self.patch_px, settings.axis, settings.test_share, settings.gap_px
        )
        usable = self._with_objects(cut)
        self.size = cutting.pool_size(usable, settings.pool_size)  # whichever of them are played
        self.splits = usable[: settings.regions]

    def _volume(self) -> Input:
        """The artifact of stage `volume`."""
        params = {
            "read": self.read,
            "voxel_um": list(self.settings.voxel_um) if self.settings.voxel_um else None,
            "patch": {"shape_px": list(self.patch_px)},
            "fingerprint": None,
            "limit_gb": LIMIT_GB,
        }
        return self.shop.made("volume", {"source": [self.source]}, params)

    def _shape(self) -> tuple[int, int, int]:
        """(Z, Y, X). Raises PermanentError for a file that holds more than one volume."""
        from alcore.volumes import open_volume, parts

        held = parts(self.pair.image, self.read)
        with open_volume(self.pair.image, {**self.read, **held[0].select}) as reader:
            shape = reader.shape[1:]
        if len(held) > 1:
            n = {what: 1 + max(part.select.get(what, 0) for part in held) for what in ("scene", "time", "channel")}
            held_words = wording.several(n["scene"], n["time"], n["channel"], shape[0])
            raise PermanentError(f"{self.pair.image}: {held_words}")
        return shape

    def _with_objects(self, found: Sequence[cutting.Split]) -> list[cutting.Split]:
        """Those whose test region holds an object: in another there is nothing to find. Raises PermanentError without any."""
        if not self.truth.any():
            raise PermanentError(f"{self.pair.labels}: holds no object, every voxel is 0")
        kept = [split for split in found if self.truth[split.region.slices].any()]
        if not kept:
            raise PermanentError(
                f"{self.pair.labels}: no test region holds an object; cut them along the other axis (--axis) or larger "
                "(--test-share)"
            )
        return kept

    @cached_property
    def concerns(self) -> list[str]:
        """What a person should know of the labels before believing a score."""
        return concerns.of_labels(self.pair.labels, self.truth)

    @property
    def remarks(self) -> list[str]:
        """What was taken for granted of the image."""
        return concerns.of_voxels(self.pair.image, self.info.voxel_um, self.info.zyx[0])

    def versions(self, learner: str) -> dict[str, int | str]:
        """Of every stage that a score rests on, and of the code and the libraries that play: what changed makes cells new."""
        names = ["volume", "pseudo", "traits", "encoder", "embedding"]
        names += ["truth", "pretrain", "finetune", "evaluate", "predict"] if learner == "nnunet" else []
        return {name: stage(name).version for name in names} | code.versions()

    @property
    def voxels_inputs(self) -> dict[str, list[Input]]:
        """What most stages take."""
        return {"volume": [self.volume], "source": [self.source]}

    @property
    def read(self) -> dict[str, Any]:
        """Read options of the image."""
        return dict(self.settings.read)

    @cached_property
    def truth(self) -> Ids:
        """True instances (Z, Y, X), ids 1..n."""
        from alcore.arrays.instancing import relabel_sequential
        from alcore.arrays.label_values import whole_numbers
        from alcore.volumes.truth import open_truth

        with (
            wording.for_this_command(of_labels=True),
            open_truth(self.pair.labels, int(LIMIT_GB * 1e9), int(LIMIT_GB * 1e9)) as mask,
        ):
            if mask.shape != self.info.zyx:
                raise PermanentError(
                    f"{self.pair.labels}: the labels have the shape {mask.shape} (z, y, x), {self.pair.image.name} has "
                    f"{self.info.zyx}; they must be equal"
                )
            stored = mask.read(Box((0, 0, 0), mask.shape))
        try:
            return relabel_sequential(whole_numbers(stored))
        except ValueError as e:
            raise PermanentError(f"{self.pair.labels}: {e}") from e

    @cached_property
    def voxels(self) -> npt.NDArray[np.float32]:
        """The image (C, Z, Y, X), normalised."""
        from alcore.arrays import normalise
        from alcore.volumes import open_volume

        with open_volume(self.source.path, self.read) as reader:
            return normalise.fixed(reader.read(Box((0, 0, 0), self.info.zyx)), self.info.stats)

    @cached_property
    def pseudo(self) -> Input:
        """The artifact of stage `pseudo`."""
        return self.shop.made("pseudo", self.voxels_inputs, {"read": self.read, **self.settings.pseudo})

    @cached_property
    def pseudo_labels(self) -> Ids:
        """Its instances (Z, Y, X)."""
        from alcore.volumes.store import open_labels

        return np.asarray(open_labels(self.pseudo.path / "instances.zarr")[...]).astype(np.uint32)

    @cached_property
    def encoder(self) -> Input:
        """The artifact of stage `encoder`. It sees the slices of the whole image, those of test regions too: they have no
        labels, and a lab would have acquired them as well."""
        return self.shop.made("encoder", self.voxels_inputs, {"read": [self.read], **self.settings.encoder})

    @cached_property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """Unit vectors (N, D), row i of patch i."""
        made = self.shop.made("embedding", self.voxels_inputs | {"encoder": [self.encoder]}, {"read": self.read})
        return np.load(made.path / "embeddings.npy")

    @cached_property
    def seen_traits(self) -> dict[str, npt.NDArray[np.float32]]:
        """Of every patch, what the loop knows without labels: of the image, and of the pseudo-labels (stage `traits`)."""
        made = self.shop.made("traits", self.voxels_inputs | {"pseudo": [self.pseudo]}, {"read": self.read})
        with np.load(made.path / "traits.npz") as stored:
            return {name: stored[name] for name in stored.files}

    @cached_property
    def true_traits(self) -> dict[str, npt.NDArray[np.float32]]:
        """Of every patch, as `seen_traits`, but foreground, border and n_objects are those of the truth: for oracles."""
        from alcore.arrays.patch_objects import shares

        truth = self.truth
        found = shares(self.boxes, int(truth.max()), lambda area: truth[area.slices], truth.size).result()
        return self.seen_traits | {name: found[name] for name in FROM_OBJECTS}

    def drawn(self, row: int, seed: int) -> Ids:
        """What the expert draws in a patch (Z, Y, X): the same whoever asks, so that strategies can be compared."""
        rng = np.random.default_rng([seed, row, 7])
        return expert.draw(self.truth[self.boxes[row].slices], self.settings.expert, rng)

    def labelled(self, seed: int) -> Input:
        """Label artifacts of all patches as the expert of this seed draws them, made by stage `truth`: a folder for each row."""
        patches = [{"row": row, **box.to_json()} for row, box in enumerate(self.boxes)]
        return self._cut(self._drawn_whole(seed) if self.settings.expert.errs else self.labels, patches)

    def exam(self, split: int) -> Input:
        """The label artifact of a test region: the whole region, with the truth and the pseudo-labels."""
        made = self._cut(self.labels, [{"row": split, **self.splits[split].region.to_json()}])
        return Input(made.path / f"{split:06d}", f"{made.key}/{split:06d}")

    def _cut(self, truth: Input, patches: list[dict[str, Any]]) -> Input:
        inputs = self.voxels_inputs | {"truth": [truth], "pseudo": [self.pseudo]}
        params = {"read": self.read, "patches": patches, "skip_empty": False, "not_looked_at": 0, "limit_gb": LIMIT_GB}
        return self.shop.made("truth", inputs, params)

    def _drawn_whole(self, seed: int) -> Input:
        """A mask of the whole volume as the expert draws it, patch by patch, with ids that no two patches share."""
        from alcore.volumes.writers import write_labels_tiff

        whole = np.zeros(self.info.zyx, np.uint32)
        for row, box in enumerate(self.boxes):
            drawn = self.drawn(row, seed)
            whole[box.slices] = np.where(drawn > 0, drawn + whole.max(), 0)
        path = self.shop.folder / "drawn" / f"{self.pair.name}-{self.settings.digest(self.labels.key, seed)}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        write_labels_tiff(partial, whole, self.info.zyx, "uint32", self.info.voxel_um)
        os.replace(partial, path)
        return Input(path, f"sha256:{hashlib.sha256(whole.tobytes()).hexdigest()}")

    def voxels_of(self, rows: Rows) -> int:
        """Voxels in these patches."""
        return sum(self.boxes[int(row)].voxels for row in rows)

    def places(self, rows: Sequence[int] | Rows) -> tuple[Rows, Rows]:
        """(start, shape), each (n, 3), of these patches."""
        boxes = [self.boxes[int(row)] for row in rows]
        return (
            np.array([b.start for b in boxes], np.int64).reshape(-1, 3),
            np.array([b.shape for b in boxes], np.int64).reshape(-1, 3),
        )
