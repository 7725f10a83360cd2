"""Our prediction against plain nnUNetPredictor, on the same volumes with the same network. `python -m benchmarks.prediction`.

Both make a foreground mask with nnU-Net's Gaussian-weighted sliding window at step 0.5, without mirroring, on one CPU thread,
each in a process of its own. Ours reads the volume from its file and leaves the mask in one, in `--ram-gb`; theirs is given the
normalised image as an array and returns an array. Seconds are CPU seconds of prediction alone; memory is the growth of the
resident set (VmHWM) above that before the volume was touched. Agreement: voxels on which both masks say the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alcore.run import QuietContext
from benchmarks.table import machine

ROOT = Path(__file__).resolve().parent.parent
VOXEL_UM = (0.04, 0.01, 0.01)
SHAPES = ((16, 256, 256), (16, 512, 512), (32, 512, 512), (32, 1024, 1024))
MOST_RATIO = 1.05
SCHEDULE = {"epochs": 2, "iterations": 6, "lr": 3e-3, "validation_iterations": 1}


def main() -> int:
    """Measure, print a table in Markdown, and fail when ours takes longer than allowed or more memory than its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ram-gb", type=float, default=0.125)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(inside(json.loads(given.inside))))
        return 0
    print(f"Measured on {machine()}; ours with ram_gb = {given.ram_gb:g}.\n")
    print("| volume (z y x) | voxels, M | ours, CPU s | plain, CPU s | ratio | ours, MB | plain, MB | agreement |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = train(root)
        for shape in SHAPES:
            volume = write(root, shape)
            order = {"volume": str(volume), "model": str(model), "ram_gb": given.ram_gb, "root": folder}
            runs: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
            for _ in range(given.repeats):  # in turns: whatever else the machine does befalls both
                for who, found in runs.items():
                    found.append(measure(order | {"who": who}))
            seconds = {who: min(r["seconds"] for r in found) for who, found in runs.items()}
            memory = {who: max(r["mb"] for r in found) for who, found in runs.items()}
            same = (np.load(root / "ours.npy") == np.load(root / "plain.npy")).mean()
            ratio = seconds["ours"] / seconds["plain"]
            kept = kept and ratio <= MOST_RATIO and memory["ours"] <= given.ram_gb * 1024
            size = " x ".join(str(n) for n in shape)
            print(
                f"| {size} | {np.prod(shape) / 1e6:.1f} | {seconds['ours']:.1f} | {seconds['plain']:.1f} | {ratio:.2f} "
                f"| {memory['ours']:.0f} | {memory['plain']:.0f} | {same:.5f} |",
                flush=True,
            )
    return 0 if kept else 1


def blobs(seed: int, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Image (1, Z, Y, X) uint8 of bright balls on noise, and their instances (Z, Y, X)."""
    rng = np.random.default_rng(seed)
    ids = np.zeros(shape, np.uint32)
    z, y, x = np.ogrid[:7, :17, :17]
    ball = ((z - 3) / 3) ** 2 + ((y - 8) / 8) ** 2 + ((x - 8) / 8) ** 2 < 1
    for n in range(1, 1 + max(3, int(np.prod(shape)) // 12000)):
        a, b, c = (int(rng.integers(0, s - t)) for s, t in zip(shape, ball.shape, strict=True))
        part = ids[a : a + 7, b : b + 17, c : c + 17]
        part[ball & (part == 0)] = n
    image = 90 + 60 * (ids > 0) + rng.normal(0, 25, shape)
    return image.clip(0, 255).astype(np.uint8)[None], ids


def write(root: Path, shape: Sequence[int]) -> Path:
    """A volume on disk, uncompressed, with its statistics beside it."""
    import tifffile

    from alcore.arrays import normalise

    image, _ = blobs(7, shape)
    path = root / f"{'x'.join(map(str, shape))}.tif"
    tifffile.imwrite(path, image[0], imagej=True, metadata={"axes": "ZYX"})
    stats = normalise.measure(image, np.random.default_rng(0))
    path.with_suffix(".json").write_text(json.dumps([vars(s) for s in stats]))
    return path


def train(root: Path) -> Path:
    """A model of the tiny plan, without binning, so that both work on the same grid."""
    from alcore.arrays import normalise
    from alcore.nnunet import training
    from alcore.nnunet.case import Arrays, Case
    from alcore.nnunet.plan import PlanRequest
    from alcore.nnunet.schedule import Schedule

    def load(seed: int) -> Arrays:
        image, ids = blobs(seed, (16, 96, 96))
        return normalise.fixed(image, normalise.measure(image, np.random.default_rng(0))), ids

    ctx = QuietContext(root / "scratch", root / "cache")
    out = root / "model"
    for folder in (ctx.scratch, out):
        folder.mkdir()
    cases = [Case(f"blobs {n}", VOXEL_UM, lambda n=n: load(n)) for n in range(3)]  # type: ignore[misc]
    designed = training.design(PlanRequest("tiny", binning=(1, 1, 1)), cases, ctx)
    training.train(designed, training.Mixture(cases), Schedule(**SCHEDULE), 0, None, out, ctx, {})  # type: ignore[arg-type]
    return out


def measure(order: dict[str, Any]) -> dict[str, float]:
    """One prediction in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.prediction", "--inside", json.dumps(order)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def inside(order: dict[str, Any]) -> dict[str, float]:
    """{"seconds": CPU, "mb": growth of the resident set} of one prediction; leaves the mask in <who>.npy."""
    from alcore.nnunet.environment import nnunet_process

    root, who = Path(order["root"]), order["who"]
    with nnunet_process(root / "scratch", "cpu", 1):
        return (ours if who == "ours" else plain)(order, root)


def _statistics(order: dict[str, Any]) -> Any:
    from alcore.types import IntensityStats

    return [IntensityStats(**s) for s in json.loads(Path(order["volume"]).with_suffix(".json").read_text())]


def ours(order: dict[str, Any], root: Path) -> dict[str, float]:
    """Blocks of a lazy reader into a file."""
    from alcore.arrays.diskgrid import DiskGrid
    from alcore.nnunet.prediction import ArrayVoxels, Predictor
    from alcore.volumes import open_volume

    predictor = Predictor(Path(order["model"]), "cpu", 0.5, int(order["ram_gb"] * 2**30))
    stats = _statistics(order)
    with open_volume(Path(order["volume"]), {"axes": "ZYX"}) as reader:
        _, *zyx = reader.shape
        mask = DiskGrid(root / "mask.raw", (zyx[0], zyx[1], zyx[2]), np.uint8)
        warm = np.zeros((1, 16, 64, 64), np.uint8)
        list(predictor.foreground(ArrayVoxels(warm), stats, None))
        before, began = _peak(), time.process_time()
        for box, part in predictor.foreground(reader, stats, None):
            mask[box.slices] = part
        seconds, peak = time.process_time() - began, _peak()
    np.save(root / "ours.npy", mask[tuple(slice(0, n) for n in zyx)])  # type: ignore[index]
    mask.remove()
    return {"seconds": seconds, "mb": (peak - before) / 1024}


def plain(order: dict[str, Any], root: Path) -> dict[str, float]:
    """nnU-Net's own predictor, of the whole volume, as its documentation calls it from Python."""
    import tifffile
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from alcore.arrays import normalise
    from alcore.nnunet import model, precision

    folder = Path(order["model"])
    design, weights = model.load_design(folder), model.load_weights(folder)
    manager = PlansManager(dict(design.plans))
    setup = manager.get_configuration(design.configuration)
    network = nnUNetTrainer.build_network_architecture(manager, setup, design.n_channels, 2, False)
    network.load_state_dict(weights)
    precision.speed_up(network.eval(), torch.device("cpu"))  # the same arithmetic for both
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.manual_initialization(network, manager, setup, [weights], dict(design.dataset), "x", None)
    stats = _statistics(order)
    predictor.predict_sliding_window_return_logits(torch.zeros(1, 16, 64, 64))
    before, began = _peak(), time.process_time()
    image = normalise.fixed(tifffile.imread(order["volume"])[None], stats)
    logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(image))
    found = logits.argmax(0).numpy().astype(np.uint8)
    seconds, peak = time.process_time() - began, _peak()
    np.save(root / "plain.npy", found)
    return {"seconds": seconds, "mb": (peak - before) / 1024}


def _peak() -> int:
    """kB: the high-water mark of this process's resident set."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1])


if __name__ == "__main__":
    sys.exit(main())
