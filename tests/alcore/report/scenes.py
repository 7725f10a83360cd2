"""Reports of pools of any size: real artifacts on disk, real files behind some patches, the stage itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from alcore.artifact import ArtifactStore
from alcore.fileset import fingerprint_of
from alcore.report.content import Ancestor, Arm, Card, Column, Content, Point, Score, Table
from alcore.run import QuietContext, execute
from alcore.stage import Input

HOSTILE = '</script><img src=x onerror="alert(1)">"&\'é\u202e.tif'
"""A file name that would be a page of its own."""
PATCH = (4, 32, 32)


@dataclass
class Scene:
    """A folder with artifacts, and a pool of `n_volumes` volumes of 10 patches each, of which the first `n_files` can be read."""

    folder: Path
    n_volumes: int
    n_files: int = 3
    ctx: QuietContext = field(init=False)
    store: ArtifactStore = field(init=False)

    def __post_init__(self) -> None:
        self.ctx = QuietContext(self.folder / "scratch", self.folder / "cache")
        self.store = ArtifactStore(self.folder / "artifacts")

    def files(self) -> list[Path]:
        """The acquisitions, made when they are first asked for: a grey level of its own in every patch."""
        paths = [self.folder / f"v{i}.tif" for i in range(self.n_files)]
        for i, path in enumerate(paths):
            if not path.exists():
                noise = np.random.default_rng(i).integers(0, 60, (4, 32, 320))
                image = noise + 20 * (np.arange(320) // 32)[None, None, :]
                tifffile.imwrite(path, image.astype(np.uint8), metadata={"axes": "ZYX"}, ome=False, imagej=True)
        return paths

    def map(self) -> Input:
        """A `latent_map` artifact: clusters of volumes, as the stage writes it."""
        n, rng = 10 * self.n_volumes, np.random.default_rng(0)
        centres = rng.normal(0, 8, (25, 2))
        of = np.repeat(np.arange(self.n_volumes), 10)
        xy = centres[of % 25] + rng.normal(0, 1.5, (n, 2))
        start = np.stack([np.zeros(n), np.zeros(n), np.tile(32 * np.arange(10), self.n_volumes)], axis=1)

        def fill(out: Path) -> dict[str, Any]:
            np.savez(
                out / "map.npz",
                keys=np.array([self.key(i) for i in range(self.n_volumes)]),
                xy=xy.astype(np.float32),
                of=of.astype(np.int32),
                row=np.tile(np.arange(10), self.n_volumes),
                start=start.astype(np.int64),
                shape=np.tile(PATCH, (n, 1)),
            )
            return {"n": n, "n_fitted": n, "n_placed": 0, "method": f"UMAP of {n:,} patches, cosine distance"}

        made = self.store.create("latent_map-1", "latent_map", 1, {}, {}, fill)
        return Input(self.store.path(made.key), made.key)

    @staticmethod
    def key(i: int) -> str:
        """Of the embedding of a volume."""
        return f"embedding-{i}"

    def params(self, content: Content) -> dict[str, Any]:
        """What the daemon would gather. The first volume has a hostile name; five patches wait, ten are labelled, two look broken."""
        files = self.files()
        fingerprints = [fingerprint_of(bytes(path)) for path in files]
        key, last = self.key, self.n_volumes - 1
        volumes = [
            {
                "key": key(i),
                "name": HOSTILE if i == 0 else f"stack_{i:05d}.tif",
                "source": i if i < self.n_files else None,
                "read": {},
                "content": fingerprints[i].content if i < self.n_files and fingerprints[i] else "",
            }
            for i in range(self.n_volumes)
        ]
        marks = {
            "suggested": {key(0): [0, 1, 2], key(1): [3, 4]},
            "by chance": {key(1): [3]},
            "labelled": {key(1): [0, 1], key(last): [0]},
            "held out": {key(2): [5]},
            "outlier": {key(2): [6, 7]},
            "newest": {key(last): list(range(10))},
        }
        note = {"key": key(0), "row": 0, "note": f"s00001 (open): {HOSTILE}", "package": None}
        return {"content": content.to_json(), "volumes": volumes, "marks": marks, "patches": [note]}

    def report(self, content: Content | None = None, with_map: bool = True) -> tuple[Path, dict[str, Any]]:
        """Run the stage. Returns the folder of its artifact, and its result."""
        params = self.params(content or self.content())
        inputs = {
            "map": [self.map()] if with_map else [],
            "source": [Input(path, f"sha256:{i}") for i, path in enumerate(self.files())],
        }
        made = execute("report", inputs, params, self.store, self.ctx)
        return self.store.path(made.key), made.result

    def content(self) -> Content:
        """Everything that a report may say, with the hostile name wherever a name can be."""
        columns = (
            Column("volume", "volume"),
            Column("patches", "patches"),
            Column("expected_dice", "expected Dice", 2),
        )
        rows = tuple((HOSTILE if i == 0 else f"stack_{i}", 10, 0.5 + 0.4 / (i + 1)) for i in range(self.n_volumes))
        timings = (Column("stage", "stage"), Column("total_s", "total (s)", 1))
        return Content(
            title=f"alscope: {HOSTILE}",
            made="2026-01-02 03:04 UTC",
            about=(("workspace", HOSTILE),),
            tiles=(("labels", "11 of 24", HOSTILE),),
            notes={"advice": HOSTILE, "map": HOSTILE},
            curve=tuple(
                Point(
                    n,
                    0.06 * n,
                    4 * n,
                    8,
                    f"M_f-{n:03d}",
                    n != 2,
                    Score(0.4 + 0.05 * n, 0.3, 0.8),
                    Score(0.6, 0.5, 0.7),
                    0.35,
                )
                for n in (1, 2, 3)
            ),
            base=(0.3, 0.5),
            arms=(Arm(2, 6, "Dice", 0.6, 0.5, 0.1, -0.05, 0.25), Arm(3, 9, "Dice", 0.65, 0.5, 0.15, 0.02, 0.28)),
            cards=(Card("s00001", HOSTILE, HOSTILE, "○ open", (("volume", HOSTILE),), None),),
            n_waiting=5,
            models=(
                Ancestor("M_p-001", "", "baseline", "○", ("F1 0.30",)),
                Ancestor("M_f-001", "M_p-001", "promoted", "✓", (HOSTILE,)),
            ),
            tables=(
                Table("volumes", "Volumes", HOSTILE, columns, rows),
                Table("timings", "Time by stage", "", timings, (("embedding", 12.5), ("=cmd()", 3.0))),
            ),
        )


def empty() -> Content:
    """A report of a workspace in which nothing has happened yet."""
    return Content(title="alscope: new", made="2026-01-02 03:04 UTC", notes={"map": "No volume has arrived yet."})


def without_curve(content: Content) -> Content:
    """The same before any round was scored."""
    return replace(content, curve=(), arms=())


def suggestion_folder(folder: Path, margin: int = 0) -> Path:
    """What stage package leaves: an image with a pseudo-label of one object."""
    from alcore.volumes.writers import write_image_tiff, write_labels_tiff

    folder.mkdir()
    shape = (4, 32 + 2 * margin, 32 + 2 * margin)
    image = np.random.default_rng(0).integers(0, 200, (1, *shape)).astype(np.uint8)
    labels = np.zeros(shape, np.uint32)
    labels[:, margin + 8 : margin + 20, margin + 8 : margin + 20] = 1
    write_image_tiff(folder / "image.tif", image, None, {})
    write_labels_tiff(folder / "pseudo_label.tif", labels, shape, "uint16", None, {})
    around = {"before": [0, margin, margin], "after": [0, margin, margin]}
    page = {"box": {"start": [0, 0, 0], "shape": [4, 32, 32]}, "margin": around}
    (folder / "suggestion.json").write_text(json.dumps(page))
    return folder
