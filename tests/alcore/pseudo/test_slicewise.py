"""Whole volumes through the engine that all slice-wise backends share: windows, gaps, memory, a kill in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from alcore.errors import PermanentError
from alcore.pseudo.planes import SliceOptions
from alcore.pseudo.slicewise import label_slices
from tests.alcore.pseudo.cheap_model import CheapModel
from tests.alcore.pseudo.conftest import ArrayVolume, describe
from tests.alcore.pseudo.test_slices_to_volume import same_partition

Image = np.ndarray[Any, Any]


def run(image: Image, ctx: Any, model: CheapModel | None = None, **options: Any) -> tuple[Image, Any]:
    """(labels, what is said) of an image (Z, Y, X) or (C, Z, Y, X)."""
    image = image[None] if image.ndim == 3 else image
    labels = np.zeros(image.shape[1:], np.uint32)
    volume = ArrayVolume(image, None)
    said = label_slices(model or CheapModel(), SliceOptions(**options), volume, describe(image, None), labels, ctx)
    return labels, said


@pytest.fixture
def rods() -> Image:
    """(Z, Y, X): rods along z, far apart, one of which is not seen in one slice."""
    image = np.zeros((9, 60, 130), np.float32)
    for k, (y, x) in enumerate([(5, 5), (5, 60), (30, 25), (35, 100), (45, 60)]):
        image[k : 9 - k // 2, y : y + 12, x : x + 14] = 100 + 20 * k
    image[4, 5:17, 5:19] = 0
    return image


def test_objects_of_the_volume_are_those_of_3d_components(rods: Image, ctx: Any) -> None:
    labels, said = run(rods, ctx)
    expected, n = ndimage.label(rods > 50)
    assert n == 6 and said.n_objects == 6 and same_partition(labels, expected)
    assert said.foreground_fraction == pytest.approx((rods > 50).mean())
    assert np.array_equal(labels[labels > 0][:1], [1]), "ids follow first voxels"
    brightest = labels[5, 50, 65]
    assert np.argmax(said.confidence) == brightest - 1


def test_a_gap_is_closed_and_short_objects_are_left_out(rods: Image, ctx: Any) -> None:
    labels, said = run(rods, ctx, gap_closing=1)
    assert said.n_objects == 5 and labels[4, 10, 10] == labels[0, 10, 10] > 0
    _, said = run(rods, ctx, gap_closing=1, min_z_extent=6)
    assert said.n_objects == 3
    _, said = run(rods, ctx, min_voxels=12 * 14 * 6)
    assert said.n_objects == 2


@pytest.mark.parametrize("window", [32, 50, 70])
def test_windows_give_what_the_whole_gives(rods: Image, ctx: Any, window: int) -> None:
    whole, said = run(rods, ctx)
    model = CheapModel()
    cut, again = run(rods, ctx, model, window_px=window, overlap_px=16)
    assert model.shown > rods.shape[0] and np.array_equal(cut, whole)
    assert again.confidence == pytest.approx(said.confidence, abs=2e-4)


def test_flat_windows_are_not_shown_and_channels_are_chosen(rods: Image, ctx: Any) -> None:
    model = CheapModel()
    image = np.stack([np.full_like(rods, 7), rods])
    image[1, 8] = 0
    _, said = run(image, ctx, model)
    assert model.shown == 8 and said.n_objects > 0
    assert any("only channel 1 was segmented" in note for note in said.notes)
    _, said = run(image, ctx, channels=[0])
    assert said.n_objects == 0
    with pytest.raises(PermanentError, match=r"channels asks for 2, but the volume has 2 channel\(s\)"):
        run(image, ctx, channels=[2])


def test_what_takes_too_long_on_a_cpu_is_refused_only_there(rods: Image, ctx: Any) -> None:
    slow = CheapModel(seconds=3600)
    with pytest.raises(PermanentError, match=r"about 9\.0 h on this CPU"):
        run(rods, ctx, slow)
    ctx.threads = 11
    with pytest.raises(PermanentError, match=r"about 1\.1 h on this CPU"):
        run(rods, ctx, slow, max_cpu_hours=1)
    run(rods, ctx, slow, max_cpu_hours=2)
    ctx.threads, ctx.device = 1, "cuda"
    run(rods, ctx, slow)


def test_a_slice_beyond_the_budget_is_refused(rods: Image, ctx: Any) -> None:
    ctx.ram_bytes = 100_000
    with pytest.raises(PermanentError, match=r"slices of 60 x 130 need about .* more than run\.ram_gb allows"):
        run(rods, ctx)


def test_memory_does_not_grow_with_the_number_of_slices(ctx: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plane = np.kron(rng.random((8, 8)) < 0.3, np.ones((32, 32))).astype(np.uint8) * 200

    def peak(slices: int) -> int:
        image = np.broadcast_to(plane, (1, slices, *plane.shape))
        info = describe(image[:, :2], None)
        info = type(info)("00", image.shape, "uint8", None, "unknown", info.stats)
        labels = np.zeros(image.shape[1:], np.uint32)
        ctx.scratch = tmp_path / str(slices)
        tracemalloc.start()
        label_slices(CheapModel(), SliceOptions(), ArrayVolume(image, None), info, labels, ctx)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(4)
    assert peak(150) < 1.2 * peak(40)


KILLED = """
import sys, time, numpy as np
from pathlib import Path
from tests.alcore.pseudo.cheap_model import CheapModel
from tests.alcore.pseudo.conftest import ArrayVolume, StoppableContext, describe
from alcore.pseudo.planes import SliceOptions
from alcore.pseudo.slicewise import label_slices

class Slow(CheapModel):
    def segment(self, picture):
        time.sleep(0.15)
        return super().segment(picture)

image = np.load(sys.argv[1])[None]
ctx = StoppableContext(Path(sys.argv[2]), Path(sys.argv[2]))
label_slices(Slow(), SliceOptions(), ArrayVolume(image, None), describe(image, None), np.zeros(image.shape[1:], np.uint32), ctx)
"""


def test_a_kill_loses_no_finished_picture(rods: Image, ctx: Any, tmp_path: Path) -> None:
    whole, said = run(rods, ctx)
    ctx.scratch = tmp_path / "killed"
    np.save(tmp_path / "image.npy", rods)
    root = Path(__file__).resolve().parents[3]
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "image.npy"), str(ctx.scratch)],
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    until = time.monotonic() + 90
    while time.monotonic() < until and len(list(ctx.scratch.glob("cheap-*/slices-*.npz"))) < 3:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    finished = len(list(ctx.scratch.glob("cheap-*/slices-*.npz")))
    model = CheapModel()
    labels, again = run(rods, ctx, model)
    assert 3 <= finished < 9 and model.shown == 9 - finished
    assert np.array_equal(labels, whole) and again == said
