"""Training: it learns, it is the same every time, and neither a stop nor a kill changes the outcome."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alcore.encoder import checkpoint
from alcore.encoder.checkpoint import CHECKPOINT
from alcore.encoder.design import Design
from alcore.encoder.mae import Encoder
from alcore.encoder.training import Schedule, train
from alcore.errors import PermanentError, Preempted
from alcore.run import QuietContext

DESIGN = Design.of("micro", 1, 8, 32)
SCHEDULE = Schedule(epochs=4, warmup_epochs=1, base_lr=0.03, weight_decay=0.05, mask_ratio=0.75, batch=8, seed=3)


@pytest.fixture(autouse=True)
def saved_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs here take a moment."""
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)


def context(folder: Path) -> QuietContext:
    folder.mkdir(parents=True, exist_ok=True)
    return QuietContext(folder, folder)


def weights(encoder: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in encoder.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(v, other[k]) for k, v in one.items())


class StopsAfter(QuietContext):
    """Asks to stop at the n-th question."""

    asked = 0
    limit = 0

    def should_stop(self) -> bool:
        self.asked += 1
        return self.asked > self.limit


def test_it_learns(tmp_path: Path, textured: Callable[..., Any]) -> None:
    """Below 63/64, the loss of predicting each token's mean: past the plateau on which masked training starts."""
    slices = textured(512).astype(np.float16)
    ctx = context(tmp_path)
    _, losses = train(slices, DESIGN, replace(SCHEDULE, epochs=8, base_lr=0.064), ctx)
    assert losses[-1] < 0.975
    assert ctx.notes[-1][0] == 1.0
    assert f"loss {losses[-1]:.3f}" in ctx.notes[-1][1]
    assert "epoch 8/8" in ctx.notes[-1][1]


def test_same_seed_same_weights_and_stopping_changes_nothing(tmp_path: Path, textured: Callable[..., Any]) -> None:
    slices = textured(30).astype(np.float16)  # four batches an epoch, the last one smaller
    plain, losses = train(slices, DESIGN, SCHEDULE, context(tmp_path / "plain"))
    torch.manual_seed(99)  # the state of torch's own generator does not matter, and is left alone
    state = torch.get_rng_state()
    again, _ = train(slices, DESIGN, SCHEDULE, context(tmp_path / "again"))
    assert torch.equal(state, torch.get_rng_state())
    assert_same(weights(plain), weights(again))
    other, _ = train(slices, DESIGN, replace(SCHEDULE, seed=4), context(tmp_path / "other"))
    assert not torch.equal(other.embed.weight, plain.embed.weight)

    folder = tmp_path / "stopped"
    context(folder)
    for n, saved in ((2, 0), (6, 1), (3, 1), (5, 2)):
        stopping = StopsAfter(folder, folder)
        stopping.limit = n
        with pytest.raises(Preempted, match=f"{saved} are saved"):
            train(slices, DESIGN, SCHEDULE, stopping)
    resumed = context(folder)
    after, losses_after = train(slices, DESIGN, SCHEDULE, resumed)
    assert resumed.notes[0] == (0.5, "continuing after epoch 2")
    assert losses_after == losses
    assert_same(weights(plain), weights(after))


def test_short_epochs_are_not_each_saved(
    tmp_path: Path, textured: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing the state takes as long as a short epoch. The last one is saved in any case."""
    monkeypatch.setattr(checkpoint, "EVERY_S", 3600.0)
    slices = textured(16).astype(np.float16)  # two batches an epoch
    stopping = StopsAfter(context(tmp_path).scratch, tmp_path)
    stopping.limit = 7
    with pytest.raises(Preempted, match="stopped in epoch 4 of 4; 0 are saved"):
        train(slices, DESIGN, SCHEDULE, stopping)
    assert not (tmp_path / CHECKPOINT).exists()
    _, losses = train(slices, DESIGN, SCHEDULE, context(tmp_path))
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["losses"] == losses
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]  # nothing unfinished is left


def test_a_batch_in_parts_is_the_same_batch(tmp_path: Path, textured: Callable[..., Any]) -> None:
    """Up to rounding: the optimiser sees the same gradients, whole batches and the last, smaller one."""
    slices = textured(29).astype(np.float16)  # the last batch of 5 does not divide into 3 equal parts
    short = replace(SCHEDULE, epochs=2)
    whole, losses = train(slices, DESIGN, short, context(tmp_path / "whole"))
    parts, in_parts = train(slices, DESIGN, replace(short, accumulate=3), context(tmp_path / "parts"))
    np.testing.assert_allclose(in_parts, losses, rtol=1e-4)
    theirs = weights(parts)
    moved = max(float((v - theirs[k]).abs().max()) for k, v in weights(whole).items())
    assert moved < 1e-3
    wrong, _ = train(slices, DESIGN, replace(short, batch=3), context(tmp_path / "wrong"))
    assert max(float((v - theirs[k]).abs().max()) for k, v in weights(wrong).items()) > 10 * moved


def test_it_starts_from_given_weights(tmp_path: Path, textured: Callable[..., Any]) -> None:
    """And a checkpoint of another start is not continued."""
    slices = textured(8).astype(np.float16)
    torch.manual_seed(5)
    initial = Encoder(DESIGN).state_dict()
    still = replace(SCHEDULE, epochs=1, warmup_epochs=0, base_lr=1e-12)
    ctx = context(tmp_path)
    encoder, _ = train(slices, DESIGN, still, ctx, initial)
    assert all(torch.allclose(v, initial[k], atol=1e-6) for k, v in encoder.state_dict().items())
    other, _ = train(slices, DESIGN, still, ctx)
    assert "training starts again" in ctx.notes[-2][1]
    assert not torch.allclose(other.embed.weight, initial["embed.weight"], atol=1e-3)


KILLED = """
import sys
from pathlib import Path
import numpy as np, torch
from alcore.encoder import checkpoint
from alcore.encoder.design import Design
from alcore.encoder.training import Schedule, train
from alcore.run import QuietContext
torch.set_num_threads(1)
checkpoint.EVERY_S = 0.0
folder = Path(sys.argv[1])
train(np.load(folder / "slices.npy"), Design.of("micro", 1, 8, 32),
      Schedule(epochs=4000, warmup_epochs=1, base_lr=0.03, weight_decay=0.05, mask_ratio=0.75, batch=8, seed=3),
      QuietContext(folder, folder))
"""


def test_a_killed_process_continues(tmp_path: Path, textured: Callable[..., Any]) -> None:
    """kill -9 at an arbitrary moment: the checkpoint is whole, and what it holds is a prefix of the undisturbed run."""
    slices = textured(16).astype(np.float16)
    np.save(tmp_path / "slices.npy", slices)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3]), "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=env)
    try:
        until = time.monotonic() + 120
        while not (tmp_path / CHECKPOINT).exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.33)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    done = len(state["losses"])
    assert 1 <= done < 4000
    schedule = replace(SCHEDULE, epochs=4000)
    stopping = StopsAfter(tmp_path, tmp_path)
    stopping.limit = 2 * 2  # two more epochs of two batches
    with pytest.raises(Preempted, match=f"{done + 2} are saved"):
        train(slices, DESIGN, schedule, stopping)
    plain = StopsAfter(context(tmp_path / "plain").scratch, tmp_path)
    plain.limit = 2 * min(done + 2, 40)
    with pytest.raises(Preempted):
        train(slices, DESIGN, schedule, plain)
    resumed, undisturbed = (
        torch.load(folder / CHECKPOINT, weights_only=True)["losses"] for folder in (tmp_path, tmp_path / "plain")
    )
    assert resumed[: len(undisturbed)] == undisturbed


@pytest.mark.parametrize("damage", ["truncated", "text", "foreign"])
def test_a_checkpoint_that_does_not_fit_is_not_used(tmp_path: Path, textured: Callable[..., Any], damage: str) -> None:
    slices = textured(8).astype(np.float16)
    short = replace(SCHEDULE, epochs=2)
    plain, _ = train(slices, DESIGN, short, context(tmp_path / "plain"))
    ctx = context(tmp_path / "damaged")
    path = ctx.scratch / CHECKPOINT
    train(slices, DESIGN, replace(short, seed=8) if damage == "foreign" else short, ctx)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "text":
        path.write_text("hello")
    ctx.notes.clear()
    again, _ = train(slices, DESIGN, short, ctx)
    assert "training starts again" in ctx.notes[0][1]
    assert_same(weights(plain), weights(again))


def test_divergence_is_said(tmp_path: Path, textured: Callable[..., Any]) -> None:
    slices = textured(16).astype(np.float16)
    slices[3, 0, 20, 20] = np.nan
    with pytest.raises(PermanentError, match=r"loss is nan in epoch 1 .* lower encoder base_lr"):
        train(slices, DESIGN, SCHEDULE, context(tmp_path))
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"warmup_epochs": 4}, "warmup_epochs 4"),
        ({"batch": 0}, "batch is 0"),
        ({"base_lr": 0.0}, "base_lr is 0"),
        ({"weight_decay": -1.0}, "weight_decay -1"),
        ({"mask_ratio": 1.0}, "mask_ratio is 1.0"),
        ({"mask_ratio": 0.01}, "mask_ratio is 0.01"),
        ({"accumulate": 0}, "accumulate is 0 with batch 8"),
        ({"accumulate": 9}, "accumulate is 9 with batch 8"),
    ],
)
def test_a_schedule_that_cannot_train_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(PermanentError, match=said):
        replace(SCHEDULE, **change).validate(DESIGN)


def test_learning_rate() -> None:
    schedule = replace(SCHEDULE, epochs=400, warmup_epochs=40, base_lr=1e-3, batch=512)
    assert schedule.learning_rate(0) == 0
    assert schedule.learning_rate(20) == pytest.approx(1e-3)
    assert schedule.learning_rate(40) == pytest.approx(2e-3)
    assert schedule.learning_rate(220) == pytest.approx(1e-3)
    assert schedule.learning_rate(400) == pytest.approx(0)
