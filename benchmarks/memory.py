"""Peak memory of every stage on volumes larger than its budget. `python -m benchmarks.memory [--ram-gb 0.5] [stage ...]`.

Each stage runs in a process of its own; what is printed is the growth of its resident set (VmHWM) above that after the
imports of the stage, which no budget can lower. Volumes are synthetic and uncompressed: a quarter and a whole GB of
ordinary shape, one wide (few slices of 20000 x 20000 pixels) and one deep and narrow.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alcore import pages
from alcore.artifact import ArtifactStore
from alcore.errors import EncoderRejectedError
from alcore.run import QuietContext, execute
from alcore.stage import Input

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {
    "0.25 GB": (256, 1024, 1024),
    "1 GB": (1024, 1024, 1024),
    "wide": (3, 20000, 20000),
    "deep": (8192, 256, 256),
}
VOXEL_UM = (0.04, 0.01, 0.01)
READ = {"axes": "ZYX"}
HEAVY = {
    "volume": ("numpy", "tifffile", "scipy.ndimage", "PIL"),
    "pseudo": ("numpy", "tifffile", "scipy.ndimage", "scipy.sparse.csgraph", "zarr", "alcore.pseudo.threshold"),
    "traits": ("numpy", "tifffile", "zarr", "alcore.volumes.store", "alcore.arrays.imagetraits"),
    "encoder": (
        "torch",
        "timm",
        "alcore.encoder.training",
        "alcore.encoder.vit",
        "alcore.encoder.embed",
        "alcore.encoder.pool",
    ),
    "embedding": ("torch", "alcore.encoder.vit", "alcore.encoder.embed", "alcore.encoder.pool"),
    "suggestions": ("numpy", "faiss", "scipy.stats", "alcore.index", "alcore.coreset", "alcore.selection.assemble"),
    "package": ("numpy", "tifffile", "zarr", "PIL", "alcore.volumes.store"),
    "label": ("numpy", "tifffile", "skimage.measure", "alcore.volumes.labels"),
    "pretrain": ("torch", "zarr", "alcore.nnunet.trainer", "alcore.nnunet.planning", "alcore.nnunet.preprocessing"),
    "finetune": ("torch", "alcore.nnunet.trainer", "alcore.nnunet.planning", "alcore.nnunet.preprocessing"),
    "evaluate": ("torch", "skimage", "alcore.nnunet.instances", "alcore.nnunet.prediction"),
    "predict": ("torch", "alcore.nnunet.instances", "alcore.nnunet.prediction", "alcore.volumes.writers"),
}
"""What a stage imports, so that it counts as baseline."""
SMALL_SCHEDULE = {"epochs": 1, "iterations": 2, "validation_iterations": 1, "batch": 2}


@dataclass(frozen=True)
class Size:
    """How coarse the work is, which decides how long it takes: object radius of pseudo-labels and binning of the model, in
    voxels; patch (z, y, x)."""

    radius_px: float
    binning: int
    patch: tuple[int, int, int]


LEAST_DEPTH = 8
"""Slices that training needs: the augmentation of nnU-Net blurs along z, and fails where there is no room for it."""
USUAL = Size(7.5, 4, (16, 512, 512))


def main() -> int:
    """Measure, print a table in Markdown, and fail when a stage went beyond its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", default=list(HEAVY))
    parser.add_argument("--volumes", nargs="*", default=list(SHAPES))
    parser.add_argument("--ram-gb", type=float, default=0.5)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(inside(given.inside)))
        return 0
    print("| stage | volume | ram_gb | peak RSS above imports, MB | seconds |")
    print("|---|---|--:|--:|--:|")
    within = True
    with tempfile.TemporaryDirectory() as folder:
        for name in given.volumes:
            bench = Bench(Path(folder) / name.replace(" ", "-"), SHAPES[name], given.ram_gb)
            thin = SHAPES[name][0] < LEAST_DEPTH
            if thin:
                bench.made["finetune"] = small_model(Path(folder) / "small", given.ram_gb)
            for stage in HEAVY:
                if thin and stage in ("pretrain", "finetune"):
                    continue
                wanted = stage in given.stages
                if wanted or stage in NEEDED_BY_OTHERS:
                    peak_mb, seconds = bench.measure(stage)
                    within = within and peak_mb <= given.ram_gb * 1024
                    if wanted:
                        print(f"| {stage} | {name} | {given.ram_gb:g} | {peak_mb:.0f} | {seconds:.0f} |", flush=True)
            bench.remove()
    return 0 if within else 1


NEEDED_BY_OTHERS = ("volume", "pseudo", "traits", "embedding", "package", "label", "finetune")


class Bench:
    """A workspace with one volume; `measure` runs a stage on it and keeps the artifact for those that come after."""

    def __init__(self, root: Path, shape: tuple[int, int, int], ram_gb: float, size: Size = USUAL) -> None:
        root.mkdir()
        self.root, self.ram_gb, self.size = root, ram_gb, size
        self.source = write_volume(root / "image.tif", shape)
        self.made: dict[str, tuple[str, str]] = {}
        untrained_encoder(root / "encoder")
        self.made["encoder"] = (str(root / "encoder"), "encoder-0")

    def measure(self, stage: str) -> tuple[float, float]:
        """(growth of the resident set in MB, seconds) of one stage."""
        job = {"stage": stage, "root": str(self.root), "ram_gb": self.ram_gb, "made": self.made, **asdict(self.size)}
        command = [sys.executable, "-m", "benchmarks.memory", "--inside", json.dumps(job)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise RuntimeError(f"{stage} on {self.root.name}: {done.stderr}")
        said = json.loads(done.stdout.splitlines()[-1])
        if stage != "encoder":
            self.made[stage] = tuple(said["made"])
        return said["peak_mb"], said["seconds"]

    def remove(self) -> None:
        """Make room for the next volume."""
        (self.root / "image.tif").unlink()
        for path in (self.root / "scratch").rglob("*"):
            if path.is_file():
                path.unlink()


def small_model(root: Path, ram_gb: float) -> tuple[str, str]:
    """(folder, key) of a model trained for a moment on a small volume, for volumes that cannot be trained on."""
    small = Bench(root, (16, 256, 256), ram_gb, Size(7.5, 4, (16, 256, 256)))
    for needed in ("volume", "pseudo", "package", "label", "finetune"):
        small.measure(needed)
    return small.made["finetune"]


def inside(job_json: str) -> dict[str, Any]:
    """Run one stage in this process."""
    job = json.loads(job_json)
    root, stage = Path(job["root"]), job["stage"]
    made = {name: Input(Path(path), key) for name, (path, key) in job["made"].items()}
    for module in HEAVY[stage]:
        importlib.import_module(module)
    size = Size(job["radius_px"], job["binning"], tuple(job["patch"]))
    inputs, params = RECIPES[stage](Input(root / "image.tif", "file:1"), made, size)
    scratch = root / "scratch" / stage
    scratch.mkdir(parents=True, exist_ok=True)
    ctx = QuietContext(scratch, root / "cache")
    ctx.ram_bytes = int(job["ram_gb"] * 2**30)
    store = ArtifactStore(root / "artifacts")
    before, began = resident_mb(), time.monotonic()
    reset_peak()
    made_now: list[str] = []
    with contextlib.suppress(
        EncoderRejectedError
    ):  # synthetic slices may be too much alike; its memory counts all the same
        manifest = execute(stage, inputs, params, store, ctx)
        made_now = [str(store.path(manifest.key)), manifest.key]
    return {"peak_mb": peak_mb() - before, "seconds": time.monotonic() - began, "made": made_now}


def _status_mb(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {name} in /proc/self/status")


def resident_mb() -> float:
    """Resident set of this process."""
    return _status_mb("VmRSS")


def peak_mb() -> float:
    """The largest resident set so far."""
    return _status_mb("VmHWM")


def reset_peak() -> None:
    """Forget the largest resident set so far (that of the imports)."""
    Path("/proc/self/clear_refs").write_text("5")


def write_volume(path: Path, shape: tuple[int, int, int]) -> Path:
    """A uint8 stack of bright bodies: one block, tiled and shifted; uncompressed, written band by band."""
    import tifffile

    block = bodies((32, 256, 256), np.random.default_rng(0))
    tifffile.imwrite(path, shape=shape, dtype="uint8", photometric="minisblack", metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tif:
        offset = int(tif.pages[0].dataoffsets[0])
    repeats = (-(-shape[1] // 256), -(-shape[2] // 256))
    with open(path, "r+b") as file:
        file.seek(offset)
        for z in range(shape[0]):
            for row in range(repeats[0]):
                # no two places are alike: an encoder could not tell them apart
                tiles = [np.roll(block[(z + row) % len(block)], 37 * k + z * z, axis=1) for k in range(repeats[1])]
                band = np.concatenate(tiles, axis=1)[: shape[1] - 256 * row, : shape[2]]
                file.write(np.ascontiguousarray(band).tobytes())
    return path


def bodies(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bright balls (flattened along z) on noise."""
    z, y, x = np.indices(shape, dtype=np.float32)
    image = rng.normal(80, 12, shape).astype(np.float32)
    for _ in range(24):
        c = rng.uniform(0.1, 0.9, 3) * shape
        image[((z - c[0]) * 4) ** 2 + (y - c[1]) ** 2 + (x - c[2]) ** 2 < 18**2] += 90
    return image.clip(0, 255).astype(np.uint8)


def untrained_encoder(folder: Path) -> None:
    """An encoder of the smallest size, with measured standardisation, as embedding reads it."""
    import torch

    from alcore.encoder.design import Design
    from alcore.encoder.embed import Embedder
    from alcore.encoder.mae import Encoder
    from alcore.encoder.standardise import Standardisation
    from alcore.encoder.vit import ViTFeatures

    folder.mkdir()
    torch.manual_seed(0)
    features = ViTFeatures(Encoder(Design.of("micro", 1, 8, 64)), "cpu")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(24, 1, 64, 64)).astype(np.float32).cumsum(axis=2) / 4
    Embedder(features, Standardisation.measured(features, images, rng)).save(folder, {})


Made = Mapping[str, Input]
Recipe = tuple[dict[str, list[Input]], dict[str, Any]]


def _volume(source: Input, made: Made, size: Size) -> Recipe:
    params = {"read": READ, "voxel_um": VOXEL_UM, "patch": {"shape_px": list(size.patch)}, "fingerprint": None}
    return {"source": [source]}, {**params, "limit_gb": 8.0}


def _on_volume(source: Input, made: Made) -> dict[str, list[Input]]:
    return {"volume": [made["volume"]], "source": [source]}


def _pseudo(source: Input, made: Made, size: Size) -> Recipe:
    options = {"polarity": "bright", "radius_px": size.radius_px}
    return _on_volume(source, made), {"read": READ, "backend": "threshold", "options": options}


def _encoder(source: Input, made: Made, size: Size) -> Recipe:
    training = {"size": "micro", "epochs": 1, "warmup_epochs": 0, "base_lr": 0.001, "weight_decay": 0.05, "seed": 0}
    how = {"kind": "mae", "mask_ratio": 0.75, "image_px": 64, "batch": 32, "max_slices": 512}
    return _on_volume(source, made), {"read": [READ], **training, **how}


def _embedding(source: Input, made: Made, size: Size) -> Recipe:
    return {**_on_volume(source, made), "encoder": [made["encoder"]]}, {"read": READ}


def _suggestions(source: Input, made: Made, size: Size) -> Recipe:
    row = {name: made[name].key for name in ("embedding", "volume", "traits")}
    store, key = ArtifactStore(made["volume"].path.parents[1]), pages.page_key([row])
    pages.write(store, key, [row])
    return {pages.STAGE: [Input(store.path(key), key)]}, {"strategy": "guided", "covered": {}, "n": 8, "seed": 0}


def _traits(source: Input, made: Made, size: Size) -> Recipe:
    return {**_on_volume(source, made), "pseudo": [made["pseudo"]]}, {"read": READ}


def _box(made: Made) -> dict[str, list[int]]:
    box: dict[str, list[int]] = json.loads((made["volume"].path / "patches.json").read_text())[0]
    return box


def _package(source: Input, made: Made, size: Size) -> Recipe:
    told = {"id": "s1", "distance": None, "reason": "", "volume_name": "v"}
    return {**_on_volume(source, made), "pseudo": [made["pseudo"]]}, {
        "read": READ,
        "box": _box(made),
        "suggestion": told,
    }


def _label(source: Input, made: Made, size: Size) -> Recipe:
    received = Input(made["package"].path / "pseudo_label.tif", "file:2")
    inputs = {"file": [received], "package": [made["package"]], "volume": [made["volume"]]}
    return inputs, {"suggestion": "s1", "box": _box(made), "confirm_empty": True}


def _plan(size: Size) -> dict[str, Any]:
    return {"name": "tiny", "binning": [1, size.binning, size.binning]}


def _pretrain(source: Input, made: Made, size: Size) -> Recipe:
    patches = [{"volume": 0, **box} for box in json.loads((made["volume"].path / "patches.json").read_text())[:8]]
    inputs = {**_on_volume(source, made), "pseudo": [made["pseudo"]]}
    return inputs, {"read": [READ], "patches": patches, "plan": _plan(size), "schedule": SMALL_SCHEDULE, "seed": 0}


def _finetune(source: Input, made: Made, size: Size) -> Recipe:
    return {"label": [made["label"]]}, {"plan": _plan(size), "schedule": SMALL_SCHEDULE, "seed": 0}


def _evaluate(source: Input, made: Made, size: Size) -> Recipe:
    return {"model": [made["finetune"]], "label": [made["label"]]}, {}


def _predict(source: Input, made: Made, size: Size) -> Recipe:
    params = {"read": READ, "version": "bench", "min_voxels": 0, "tile_step": 1.0}
    return {**_on_volume(source, made), "model": [made["finetune"]]}, params


RECIPES: Mapping[str, Callable[[Input, Made, Size], Recipe]] = {
    "volume": _volume,
    "pseudo": _pseudo,
    "traits": _traits,
    "encoder": _encoder,
    "embedding": _embedding,
    "suggestions": _suggestions,
    "package": _package,
    "label": _label,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "evaluate": _evaluate,
    "predict": _predict,
}
"""By stage: its inputs and params on the volume of the bench."""


if __name__ == "__main__":
    sys.exit(main())
