"""Pseudo-labels: how good, how quick, how much memory. `python -m benchmarks.pseudo [scores|left-out|throughput|memory|stitching ...]`.

scores: the threshold backend on the labelled sets beside Otsu with connected components and with a distance-transform
watershed. left-out: the same when two constants are chosen on the other sets only. throughput: the stage against bare calls
of micro_sam on the same slices. memory: peak of the slice-wise engine against the size of a volume. stitching: windows
against the whole plane, and the whole stack in memory against slice by slice. Tables in Markdown. --pictures FOLDER: a picture
of each set with what the threshold backend misses and what it invents; they show data, so keep them out of the repository.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from alcore.arrays.matching import score
from alcore.pseudo import backend
from alcore.run import QuietContext
from alcore.types import Scores
from benchmarks import pseudo_pictures
from benchmarks.table import machine
from tests.alcore.pseudo.cheap_model import CheapModel
from tests.alcore.pseudo.conftest import ArrayVolume, describe

Image = npt.NDArray[Any]
SETS: dict[str, tuple[tuple[float, float, float], bool, int]] = {
    "sbem_mito_z010-039": ((0.04, 0.0059, 0.0059), True, 512),
    "ovule_nuclei_1135": ((0.2837, 0.1268, 0.1268), False, 100),
    "ovule_cells": ((0.235, 0.15, 0.15), True, 128),
    "mouse_embryo_8cell": ((1.75, 0.8, 0.8), False, 128),
}
"""Voxel size (z, y, x) in um, whether objects are dark (told to Otsu only), and the crop (y, x) of the left-out table."""
FIGURES = ("f1", "accuracy", "panoptic", "precision", "dice")
GRID = {"min_contrast": (0.1, 0.2, 0.4), "max_leak": (0.35, 0.45, 0.6)}
"""Values of the constants that the left-out table chooses from; the middle ones are the defaults."""


def main() -> int:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=["scores", "left-out", "throughput", "memory", "stitching"])
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="where the pictures of the scores table go")
    given = parser.parse_args()
    tables: dict[str, Callable[[], None]] = {
        "scores": lambda: scores(given.pictures),
        "left-out": left_out,
        "throughput": throughput,
        "memory": memory,
        "stitching": stitching,
    }
    if given.inside:
        inside(given.inside)
        return 0
    print(f"On {machine()}.\n")
    for name in given.tables:
        print(f"### {name}\n", flush=True)
        tables[name]()
        print(flush=True)
    return 0


def _set(name: str, crop: int | None = None) -> tuple[Image, Image]:
    root = os.environ.get("ALSCOPE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    image, truth = (tifffile.imread(Path(root) / name / f)[:, :crop, :crop] for f in ("image.tif", "labels.tif"))
    return image, truth


def threshold(image: Image, voxel_um: tuple[float, float, float], **options: Any) -> Image:
    """Labels by the threshold backend with its defaults, but for `options`."""
    labels = np.zeros(image.shape, np.uint32)
    with tempfile.TemporaryDirectory() as folder:
        ctx = QuietContext(Path(folder) / "scratch", Path(folder) / "cache")
        volume = ArrayVolume(image[None], voxel_um)
        backend("threshold", options).label(volume, describe(image[None], voxel_um), labels, ctx)
    return labels


def otsu(image: Image, dark: bool) -> dict[str, Image]:
    """The two methods of comparison from scikit-image, after smoothing with 1 px, told which polarity is right."""
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian, threshold_otsu
    from skimage.segmentation import watershed

    smooth = gaussian(image, 1, preserve_range=True)
    mask = (smooth > threshold_otsu(smooth)) != dark
    distance = ndimage.distance_transform_edt(mask)
    peaks = peak_local_max(distance, min_distance=10, labels=mask.astype(np.uint8))
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return {"Otsu + components": ndimage.label(mask)[0], "Otsu + watershed": watershed(-distance, seeds, mask=mask)}


def scores(pictures: Path | None) -> None:
    """Every set whole, one set of defaults. pictures: a folder for what the threshold backend did (see `pseudo_pictures`)."""
    print("| set | method | F1 | accuracy | panoptic | precision | Dice | objects / true | CPU s |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, (voxel_um, dark, _) in SETS.items():
        image, truth = _set(name)
        began = time.process_time()
        methods = {"**threshold backend**": threshold(image, voxel_um)}
        took = time.process_time() - began
        if pictures is not None:
            pseudo_pictures.write(pictures, name, image, truth, methods["**threshold backend**"])
        for method, labels in (methods | otsu(image, dark)).items():
            s = score(labels, truth)
            figures = " | ".join(f"{getattr(s, f):.3f}" for f in FIGURES)
            seconds = f"{took:.1f}" if method.startswith("**") else ""
            print(f"| {name} | {method} | {figures} | {s.n_predicted} / {s.n_true} | {seconds} |", flush=True)


def left_out() -> None:
    """Constants chosen by mean F1 on three sets, scored on the fourth. Crops, so that it ends."""
    tried = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    found: dict[str, list[Scores]] = {}
    for name, (voxel_um, _, crop) in SETS.items():
        image, truth = _set(name, crop)
        found[name] = [score(threshold(image, voxel_um, **options), truth) for options in tried]
    default = tried.index({name: values[1] for name, values in GRID.items()})
    print("| left out (crop) | F1, defaults | F1, chosen on the others | chosen | best F1 on itself |")
    print("|---|--:|--:|---|--:|")
    for name in SETS:
        others = [np.mean([found[n][k].f1 for n in SETS if n != name]) for k in range(len(tried))]
        best = int(np.argmax(others))
        chosen = ", ".join(f"{k} {v:g}" for k, v in tried[best].items())
        own = max(s.f1 for s in found[name])
        print(f"| {name} | {found[name][default].f1:.3f} | {found[name][best].f1:.3f} | {chosen} | {own:.3f} |")


def throughput() -> None:
    """CPU seconds of one thread, tiny random model: the least that a model can cost, so the most that the rest can weigh."""
    import pytest
    import torch

    from alcore.pseudo.micro_sam_model import MicroSamModel
    from alcore.pseudo.micro_sam_settings import Thresholds
    from alcore.pseudo.planes import SliceOptions, picture_of
    from alcore.pseudo.slicewise import label_slices
    from alcore.types import Box
    from tests.alcore.pseudo import tiny_sam

    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    tiny_sam.register(patch)
    image = np.random.default_rng(0).normal(100, 20, (1, 6, 512, 512)).astype(np.float32)
    info, volume = describe(image, None), ArrayVolume(image, None)
    slices = [Box((z, 0, 0), (1, 512, 512)) for z in range(6)]
    print("| mode | bare calls, CPU s | stage, CPU s | throughput of the stage / bare |")
    print("|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        files = tiny_sam.save_checkpoints(Path(folder))
        for mode, kind in (("ais", "with_decoder"), ("amg", "plain")):
            thresholds = Thresholds(pred_iou=0.1, stability=0.0, min_size=50)
            model = MicroSamModel([files[kind]], mode, thresholds, 0.5, 4, "cpu", {})
            pictures = [picture_of(volume, info, (0,), s) for s in slices]
            model.segment(pictures[0])  # type: ignore[arg-type]
            bare, stage = [], []
            for turn in range(2):
                began = time.process_time()
                for picture in pictures:
                    model.segment(picture)  # type: ignore[arg-type]
                bare.append(time.process_time() - began)
                ctx = QuietContext(Path(folder) / f"{mode}{turn}", Path(folder) / "cache")
                labels = np.zeros(image.shape[1:], np.uint32)
                began = time.process_time()
                label_slices(model, SliceOptions(), volume, info, labels, ctx)
                stage.append(time.process_time() - began)
            print(f"| {mode} | {min(bare):.2f} | {min(stage):.2f} | {min(bare) / min(stage):.3f} |", flush=True)
    patch.undo()


def memory() -> None:
    """Growth of the resident set of a process that labels more and more slices of 1024 x 1024, and wider ones."""
    print("| voxels | slices x edge | peak RSS above the imports, MB |")
    print("|--:|---|--:|")
    for slices, edge in ((16, 1024), (64, 1024), (256, 1024), (16, 4096)):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.pseudo", "--inside", str(slices * 10_000 + edge)],
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"| {slices * edge**2 / 1e6:.0f} M | {slices} x {edge} | {float(done.stdout):.0f} |", flush=True)


class Rows(ArrayVolume):
    """A volume that is made up when it is read: discs in a lattice, which shift from slice to slice."""

    def _read(self, box: Any) -> Image:
        z, y, x = (np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True))
        disc = ((y % 64 - 32) ** 2)[:, None] + (((x + z[0] // 4) % 64 - 32) ** 2)[None] < 400
        return (disc * np.uint8(200))[None, None]


class Nowhere:
    """Takes labels and keeps none."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __setitem__(self, key: Any, value: Any) -> None:
        """Forget them."""


def inside(code: int) -> None:
    """One measurement, in a process of its own; prints MB."""
    from alcore.pseudo.planes import SliceOptions
    from alcore.pseudo.slicewise import label_slices

    slices, edge = divmod(code, 10_000)
    small = np.zeros((1, 2, 64, 64), np.uint8)
    small[..., 16:48, 16:48] = 200
    about = describe(small, None)
    info = type(about)("00", (1, slices, edge, edge), "uint8", None, "unknown", about.stats)
    volume = Rows(np.broadcast_to(np.uint8(0), info.shape), None)
    with tempfile.TemporaryDirectory() as folder:
        ctx = QuietContext(Path(folder) / "warm", Path(folder) / "cache")
        tiny = type(about)("00", (1, 2, 64, 64), "uint8", None, "unknown", about.stats)
        label_slices(CheapModel(), SliceOptions(), ArrayVolume(small, None), tiny, Nowhere((2, 64, 64)), ctx)
        before = _resident("VmRSS")
        ctx.scratch = Path(folder) / "scratch"
        label_slices(CheapModel(), SliceOptions(), volume, info, Nowhere(info.zyx), ctx)
    print(_resident("VmHWM") - before)


def _resident(which: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / 1024
    return 0.0


def stitching() -> None:
    """Share of objects that are the same, voxel for voxel: windows against whole planes, the graph against the stack."""
    from micro_sam.multi_dimensional_segmentation import merge_instance_segmentation_3d

    from alcore.pseudo.planes import SliceOptions
    from alcore.pseudo.slicewise import label_slices

    print("| set | objects | windows of 96 px (overlap 48) | slice by slice, against micro_sam on the whole stack |")
    print("|---|--:|--:|--:|")
    for name, (_, dark, crop) in SETS.items():
        image, _ = _set(name, crop)
        shown = (image.max() - image if dark else image)[None]
        made = {}
        with tempfile.TemporaryDirectory() as folder:
            for window in (None, 96):
                ctx = QuietContext(Path(folder) / str(window), Path(folder) / "cache")
                labels = np.zeros(image.shape, np.uint32)
                options = SliceOptions(window_px=window, overlap_px=48)
                label_slices(CheapModel(), options, ArrayVolume(shown, None), describe(shown, None), labels, ctx)
                made[window] = labels
        stack, n = np.zeros(image.shape, np.uint32), 0
        for z, plane in enumerate(_planes(shown)):
            stack[z] = np.where(plane > 0, plane + n, 0)
            n += int(plane.max())
        theirs = merge_instance_segmentation_3d(stack, verbose=False)
        whole = made[None]
        print(f"| {name} | {whole.max()} | {_same(made[96], whole):.4f} | {_same(whole, theirs):.4f} |", flush=True)


def _planes(shown: Image) -> list[Image]:
    from alcore.pseudo.planes import picture_of
    from alcore.types import Box

    info, volume = describe(shown, None), ArrayVolume(shown, None)
    _, depth, height, width = shown.shape
    pictures = [picture_of(volume, info, (0,), Box((z, 0, 0), (1, height, width))) for z in range(depth)]
    return [np.zeros((height, width), np.uint32) if p is None else CheapModel().segment(p).ids for p in pictures]


def _same(a: Image, b: Image) -> float:
    """Share of the objects of `b` that are an object of `a`, voxel for voxel."""
    width = int(a.max()) + 1
    keys, common = np.unique(b.ravel().astype(np.int64) * width + a.ravel(), return_counts=True)
    of_b, of_a = np.divmod(keys, width)
    equal = (np.bincount(b.ravel().astype(np.int64))[of_b] == common) & (np.bincount(a.ravel())[of_a] == common)
    return float((equal & (of_b > 0) & (of_a > 0)).sum() / max(len(np.unique(b)) - 1, 1))


if __name__ == "__main__":
    sys.exit(main())
