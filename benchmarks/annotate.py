"""From `alscope annotate` to a window one can draw in. `xvfb-run -a python -m benchmarks.annotate [RUNS]`.

Limits (issue "Annotation"): embeddings do not count, and our own code is less than a tenth of the start. Segment Anything has one
layer here; what the real one takes for a slice is counted up from what was measured of it (`CPU_SLICE_S`).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from alcore.annotate.order import OPENED, Order, Weights
from alcore.annotate.patch import picture, read_patch
from alcore.annotate.sam import embed_slice, load_predictor, store_embeddings
from alcore.annotate.weights import CPU_SLICE_S
from alcore.weights.places import digest
from benchmarks.table import Row, show

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
SHAPE = (32, 256, 256)
"""The default patch; its margin comes on top."""
COMMAND = """
import sys
from daemon.cli.main import main
from daemon.cli import sitting
sitting.Sitting.__init__.__defaults__ = ((sys.executable, "-m", "benchmarks.annotate_once"),)
sys.exit(main(sys.argv[1:]))
"""


Steps = dict[str, float]
"""Seconds by what they were spent on."""


def main() -> int:
    """Open windows in every way, and print what they took."""
    import pytest

    from tests.alcore.pseudo import tiny_sam
    from tests.annotate.patches import suggestion

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        tiny_sam.register(pytest.MonkeyPatch())
        files = tiny_sam.save_checkpoints(root)
        weights = Weights("vit_b_lm", (str(files["plain"]), str(files["decoder"])))
        folder = suggestion(root / "s00001", SHAPE, margin=16)
        planes = picture(read_patch(folder).image)
        predictor, _ = load_predictor(weights, "cpu")
        began = time.monotonic()
        store_embeddings(
            root / "ahead", digest(files["plain"]), len(planes), lambda z: embed_slice(predictor, planes[z])
        )
        tiny_s = (time.monotonic() - began) / len(planes)
        order = Order("s00001", str(folder), str(root / "work"), "bench", weights, reasons=("other",))
        before = _open(replace(order, embeddings=str(root / "ahead")))
        plain = _open(replace(order, weights=None, why_plain="benchmark"))
        rows = _rows(before, _open(order), plain, tiny_s)
        rows += _command(root, before, plain)
    return show("annotate", rows)


def _rows(before: list[Steps], demand: list[Steps], plain: list[Steps], tiny_s: float) -> list[Row]:
    own = statistics.median(run["own_s"] / run["total_s"] for run in before)
    real = SHAPE[0] * CPU_SLICE_S["vit_b"]
    rows = [
        Row("window, embeddings computed before", _median(before, "total_s"), "s"),
        Row("window, embeddings on demand", _median(demand, "total_s"), "s"),
        Row(
            "difference that embeddings make to opening",
            _median(demand, "total_s") - _median(before, "total_s"),
            "s",
            2.0,
        ),
        Row("window, plain napari", _median(plain, "total_s"), "s"),
        Row("first prompt on a slice, computed before", _median(before, "prompt_s"), "s"),
        Row("first prompt on a slice, on demand, one layer", _median(demand, "prompt_s"), "s"),
        Row("all slices before opening, as micro_sam does, one layer", tiny_s * SHAPE[0], "s"),
        Row("the same with vit_b on one CPU thread, counted up", float(real), "s"),
        Row("of which interpreter and libraries", _median(before, "start_s"), "s"),
        Row("of which the viewer of napari with annotator_3d of micro_sam", _median(before, "annotator_s"), "s"),
        Row("of which napari's way onto the screen, first picture drawn", _median(before, "shown_s"), "s"),
        Row("of which our own code", _median(before, "own_s"), "s"),
        Row("our own share of the window's start", 100 * own, "%", 10.0),
    ]
    return rows


def _median(runs: list[Steps], what: str) -> float:
    return statistics.median(run.get(what, 0.0) for run in runs)


def _open(order: Order) -> list[Steps]:
    """Open it several times; seconds of each step and in total (process start to event loop)."""
    work = Path(order.work)
    work.mkdir(parents=True, exist_ok=True)
    runs = []
    for _ in range(RUNS):
        for name in (OPENED, "prompt.json", "draft.tif", "draft.json", "uncommitted.tif"):
            (work / name).unlink(missing_ok=True)
        path = order.save()
        environment = os.environ | ({"PROMPT": "1"} if order.weights else {})
        began = time.time()
        subprocess.run(
            [sys.executable, "-m", "benchmarks.annotate_once", str(path)],
            env=environment,
            check=True,
            capture_output=True,
        )
        steps: Steps = json.loads((work / OPENED).read_text())
        steps["start_s"] = steps["python_s"] + steps["libraries_s"]
        steps["total_s"] = (work / OPENED).stat().st_mtime - began
        if order.weights is not None:
            steps["prompt_s"] = json.loads((work / "prompt.json").read_text())
        runs.append(steps)
    return runs


def _command(root: Path, before: list[Steps], plain: list[Steps]) -> list[Row]:
    """What the command adds to the window that it opens: interpreter, config, claim with a daemon that answers, words for the
    dock. Measured with plain napari, whose libraries take the least time to hide it behind."""
    from tests.annotate.patches import suggestion
    from tests.daemon.cli.conftest import Attendant
    from tests.daemon.scene import Scene

    folder = root / "scene"
    folder.mkdir()
    scene = Scene(folder)
    scene.volume("a.tif")
    (name,) = scene.suggest(1)
    (scene.workspace.queue / name / "image.tif").unlink()
    (scene.workspace.queue / name).rmdir()
    suggestion(scene.workspace.queue / name, SHAPE, margin=16)
    attendant = Attendant(scene.running())
    attendant.start()
    took = []
    try:
        for _ in range(RUNS):
            began = time.time()
            arguments = ["--config", str(scene.config), "annotate", name, "--user", "bench", "--plain"]
            subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=True, capture_output=True)
            took.append((scene.workspace.drafts / name / "bench" / OPENED).stat().st_mtime - began)
            time.sleep(1.0)  # the patch is given back
    finally:
        attendant.end()
        scene.close()
    added = max(0.0, statistics.median(took) - _median(plain, "total_s"))
    share = (_median(before, "own_s") + added) / (_median(before, "total_s") + added)
    return [
        Row("from the command to a plain window", statistics.median(took), "s"),
        Row("of which the command itself", added, "s"),
        Row("our own share from the command on", 100 * share, "%", 10.0),
    ]


if __name__ == "__main__":
    sys.exit(main())
