"""Training a masked autoencoder on stored slices: the paper's recipe, resumable after every epoch. Imports torch: import it lazily."""

from __future__ import annotations

import contextlib
import io
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alcore.artifact import write_atomic
from alcore.encoder.design import Design
from alcore.encoder.mae import Encoder, MaskedAutoencoder
from alcore.encoder.pretrained import digest
from alcore.encoder.slices import random_crops
from alcore.encoder.stored import Slices
from alcore.errors import PermanentError, Preempted, TransientError
from alcore.stage import Context

CHECKPOINT = "encoder-checkpoint.pt"
REFERENCE_BATCH = 256
ADAM_BETAS = (0.9, 0.95)
REPORT_S = 5.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. The paper: 400 epochs, 40 of warm-up, base_lr 1e-3, weight decay 0.05, mask ratio 0.75.

    base_lr is for a batch of 256; the learning rate is base_lr * batch / 256 (He et al. 2022, appendix A.1).
    accumulate: a batch goes through the model in so many parts, whose gradients are added up: the optimiser sees the whole
    batch, the memory holds a part of it.
    """

    epochs: int
    warmup_epochs: int
    base_lr: float
    weight_decay: float
    mask_ratio: float
    batch: int
    seed: int
    accumulate: int = 1

    def validate(self, design: Design) -> None:
        """Raise PermanentError, naming the setting, for a schedule that cannot train `design`."""
        if self.epochs < 1 or not 0 <= self.warmup_epochs < self.epochs:
            raise PermanentError(
                f"encoder epochs is {self.epochs} and warmup_epochs {self.warmup_epochs}; need 0 <= warmup_epochs < epochs"
            )
        if self.batch < 1:
            raise PermanentError(f"encoder batch is {self.batch}; it must be at least 1")
        if not 1 <= self.accumulate <= self.batch:
            raise PermanentError(
                f"encoder accumulate is {self.accumulate} with batch {self.batch}; a batch has from 1 to {self.batch} parts"
            )
        if not (self.base_lr > 0 and self.weight_decay >= 0):
            raise PermanentError(
                f"encoder base_lr is {self.base_lr} and weight_decay {self.weight_decay}; need base_lr > 0, weight_decay >= 0"
            )
        if not 0 < self.mask_ratio < 1 or math.floor(design.tokens * self.mask_ratio) < 1:
            raise PermanentError(
                f"encoder mask_ratio is {self.mask_ratio}; it must lie in (0, 1) and hide one of {design.tokens} tokens"
            )

    def learning_rate(self, epoch: float) -> float:
        """Linear warm-up, then half a cosine down to zero; `epoch` counts from 0 and may be fractional."""
        peak = self.base_lr * self.batch / REFERENCE_BATCH
        if epoch < self.warmup_epochs:
            return peak * epoch / self.warmup_epochs
        done = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return peak * 0.5 * (1 + math.cos(math.pi * done))


def train(
    slices: Slices, design: Design, schedule: Schedule, ctx: Context, initial: Mapping[str, torch.Tensor] | None = None
) -> tuple[Encoder, list[float]]:
    """Train on slices (n, C, S, S), S >= design.image_px, and return the encoder (on ctx.device) and the loss of each epoch.

    initial: weights that the encoder starts from, see `alcore.encoder.pretrained`; None starts from chance.
    A checkpoint in ctx.scratch after each epoch lets the same call continue; on a CPU it then ends with the same weights
    bit for bit, because the chances of an epoch depend on the seed and its number only.
    Raises Preempted when asked to stop (the unfinished epoch is lost), PermanentError when the loss is not finite,
    TransientError when the GPU has no memory left.
    """
    schedule.validate(design)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)
        model = MaskedAutoencoder(design)
    if initial is not None:
        model.encoder.load_state_dict(initial)
    model.to(ctx.device).train()
    optimizer = torch.optim.AdamW(_parameter_groups(model, schedule.weight_decay), lr=0.0, betas=ADAM_BETAS)
    recipe = {
        "design": design.to_json(),
        "schedule": asdict(schedule),
        "slices": list(slices.shape),
        "initial": digest(initial or {}),
    }
    path = ctx.scratch / CHECKPOINT
    losses = _resume(path, recipe, model, optimizer, ctx)
    report = _Report(ctx, schedule.epochs, len(losses))
    for epoch in range(len(losses), schedule.epochs):
        try:
            losses.append(_epoch(epoch, slices, model, optimizer, schedule, ctx, report))
        except torch.OutOfMemoryError as e:
            raise TransientError(
                f"the GPU ran out of memory with encoder batch {schedule.batch} in {schedule.accumulate} parts; "
                "raise encoder accumulate or free the GPU"
            ) from e
        _save(path, recipe, model, optimizer, losses)
        report(epoch + 1, losses[-1], now=True)
    return model.encoder.eval(), losses


class _Report:
    """Progress with epoch, loss and time left: after every epoch, and every few seconds within a long one."""

    def __init__(self, ctx: Context, epochs: int, first: int) -> None:
        self._ctx, self._epochs, self._first = ctx, epochs, first
        self._began = self._last = time.monotonic()

    def __call__(self, done: float, loss: float, now: bool = False) -> None:
        """`done` epochs (may be fractional) are trained; `loss` is the latest."""
        moment = time.monotonic()
        if not now and moment - self._last < REPORT_S:
            return
        self._last = moment
        left_s = (moment - self._began) * (self._epochs - done) / (done - self._first)
        self._ctx.progress(
            done / self._epochs, f"epoch {math.ceil(done)}/{self._epochs}, loss {loss:.3f}, {left_s:.0f} s left"
        )


def _epoch(
    epoch: int,
    slices: Slices,
    model: MaskedAutoencoder,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    ctx: Context,
    report: _Report,
) -> float:
    """One pass over the slices in a new order; returns the mean loss."""
    rng = np.random.default_rng([schedule.seed, epoch])
    n, tokens = len(slices), model.design.tokens
    total = 0.0
    for start, rows in _batches(rng.permutation(n), schedule.batch):
        if ctx.should_stop():
            raise Preempted(f"encoder training stopped in epoch {epoch + 1} of {schedule.epochs}; {epoch} are saved")
        # sorted rows read the file forwards; their order within a batch does not matter
        images = torch.from_numpy(random_crops(slices[np.sort(rows)], model.design.image_px, rng))
        order = torch.from_numpy(rng.random((len(rows), tokens)).argsort(axis=1))
        rate = schedule.learning_rate(epoch + start / n)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        value = _gradients(model, images, order, schedule, ctx.device)
        if not math.isfinite(value):
            raise PermanentError(
                f"encoder training diverged: loss is {value} in epoch {epoch + 1} at learning rate {rate:.2g}; lower encoder base_lr"
            )
        optimizer.step()
        total += value * len(rows)
        report(epoch + (start + len(rows)) / n, value)
    return total / n


def _gradients(
    model: MaskedAutoencoder, images: torch.Tensor, order: torch.Tensor, schedule: Schedule, device: str
) -> float:
    """Add up the gradients of the parts of a batch; returns its loss. Every image counts the same, however it is cut."""
    n = len(images)
    parts = [torch.zeros((), device=device)]
    for some, permuted in zip(
        torch.tensor_split(images, schedule.accumulate), torch.tensor_split(order, schedule.accumulate), strict=True
    ):
        if not len(some):
            continue
        with _precision(device):
            loss = model(some.to(device), permuted.to(device), schedule.mask_ratio)
        if schedule.accumulate > 1:
            loss = loss * (len(some) / n)
        loss.backward()
        parts.append(loss.detach())
    return float(torch.stack(parts).sum())


def _batches(order: NDArray[np.int64], batch: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """(rows before this batch, its rows); the last batch may be smaller."""
    for start in range(0, len(order), batch):
        yield start, order[start : start + batch]


def _precision(device: str) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 where the GPU has it (it needs no loss scaling), else float32."""
    if device == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


def _parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices only: not for biases, norms and the mask token."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if p.ndim != 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _save(
    path: Path, recipe: dict[str, Any], model: torch.nn.Module, optimizer: torch.optim.Optimizer, losses: list[float]
) -> None:
    data = io.BytesIO()
    state = {"recipe": recipe, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}
    torch.save(state, data)
    write_atomic(path, data.getvalue())


def _resume(
    path: Path, recipe: dict[str, Any], model: torch.nn.Module, optimizer: torch.optim.Optimizer, ctx: Context
) -> list[float]:
    """Losses of the epochs already trained; a missing, damaged or foreign checkpoint means starting at the first."""
    if not path.exists():
        return []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # a damaged pickle may raise anything; a checkpoint is only a cache
        ctx.progress(0.0, f"{os.path.basename(path)} cannot be read ({type(e).__name__}); training starts again")
        return []
    if not isinstance(state, dict) or state.get("recipe") != recipe:
        ctx.progress(0.0, f"{os.path.basename(path)} belongs to another recipe; training starts again")
        return []
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    losses: list[float] = state["losses"]
    ctx.progress(len(losses) / recipe["schedule"]["epochs"], f"continuing after epoch {len(losses)}")
    return losses
