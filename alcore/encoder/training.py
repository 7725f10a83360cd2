"""Training a masked autoencoder on stored slices: the paper's recipe, resumable after every epoch. Imports torch: import it lazily."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from alcore.encoder.ahead import ahead
from alcore.encoder.checkpoint import Checkpoint
from alcore.encoder.design import Design
from alcore.encoder.mae import Encoder, MaskedAutoencoder
from alcore.encoder.pretrained import digest
from alcore.encoder.slices import random_crops
from alcore.encoder.stored import Slices
from alcore.errors import PermanentError, Preempted, TransientError
from alcore.stage import Context

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
    A checkpoint in ctx.scratch, after the first epoch that ends `checkpoint.EVERY_S` after the last one and after the last
    epoch, lets the same call continue; on a CPU it then ends with the same weights bit for bit, because the chances of an
    epoch depend on the seed and its number only.
    Raises Preempted when asked to stop (what is not saved is lost), PermanentError when the loss is not finite,
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
    checkpoint = Checkpoint(ctx, recipe)
    losses = checkpoint.resume(model, optimizer)
    report = _Report(ctx, schedule.epochs, len(losses))
    for epoch in range(len(losses), schedule.epochs):
        try:
            losses.append(_epoch(epoch, slices, model, optimizer, schedule, ctx, report, checkpoint.epochs))
        except torch.OutOfMemoryError as e:
            raise TransientError(
                f"the GPU ran out of memory with encoder batch {schedule.batch} in {schedule.accumulate} parts; "
                "raise encoder accumulate or free the GPU"
            ) from e
        if checkpoint.due() or epoch + 1 == schedule.epochs:
            checkpoint.save(model, optimizer, losses)
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
    saved: int,
) -> float:
    """One pass over the slices in a new order; returns the mean loss. saved: epochs in the checkpoint, for who is stopped.

    A loss is looked at when the next batch is under way: looking makes a GPU finish, and it would wait for us afterwards.
    """
    n, total = len(slices), 0.0

    def settle(batch: _Batch, loss: torch.Tensor, rate: float) -> None:
        nonlocal total
        value = float(loss)
        if not math.isfinite(value):
            raise PermanentError(
                f"encoder training diverged: loss is {value} in epoch {epoch + 1} at learning rate {rate:.2g}; lower encoder base_lr"
            )
        total += value * len(batch.images)
        report(epoch + (batch.start + len(batch.images)) / n, value)

    behind: tuple[_Batch, torch.Tensor, float] | None = None
    with contextlib.closing(ahead(_batches(epoch, slices, model.design, schedule, ctx.device))) as batches:
        for batch in batches:
            if ctx.should_stop():
                raise Preempted(
                    f"encoder training stopped in epoch {epoch + 1} of {schedule.epochs}; {saved} are saved"
                )
            rate = schedule.learning_rate(epoch + batch.start / n)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            loss = _gradients(model, batch, schedule, ctx.device)
            optimizer.step()
            if behind:
                settle(*behind)
            behind = (batch, loss, rate)
    if behind:
        settle(*behind)
    return total / n


@dataclass(frozen=True)
class _Batch:
    """start: rows of the epoch before it. images (N, C, px, px); order (N, tokens), see `MaskedAutoencoder.forward`."""

    start: int
    images: torch.Tensor
    order: torch.Tensor


def _batches(epoch: int, slices: Slices, design: Design, schedule: Schedule, device: str) -> Iterator[_Batch]:
    """The batches of an epoch, the last may be smaller: the slices in a new order, cropped and mirrored by chance."""
    rng = np.random.default_rng([schedule.seed, epoch])
    shuffled = rng.permutation(len(slices))
    for start in range(0, len(shuffled), schedule.batch):
        # sorted rows read the file forwards; their order within a batch does not matter
        rows = np.sort(shuffled[start : start + schedule.batch])
        images = torch.from_numpy(random_crops(slices[rows], design.image_px, rng))
        order = torch.from_numpy(rng.random((len(rows), design.tokens)).argsort(axis=1))
        if device == "cuda":
            images, order = images.pin_memory(), order.pin_memory()
        yield _Batch(start, images, order)


def _gradients(model: MaskedAutoencoder, batch: _Batch, schedule: Schedule, device: str) -> torch.Tensor:
    """Add up the gradients of the parts of a batch; returns its loss, a scalar on the device. Every image counts the same,
    however the batch is cut."""
    n = len(batch.images)
    parts = [torch.zeros((), device=device)]
    for some, permuted in zip(
        torch.tensor_split(batch.images, schedule.accumulate),
        torch.tensor_split(batch.order, schedule.accumulate),
        strict=True,
    ):
        if not len(some):
            continue
        with _precision(device):
            loss = model(
                some.to(device, non_blocking=True), permuted.to(device, non_blocking=True), schedule.mask_ratio
            )
        if schedule.accumulate > 1:
            loss = loss * (len(some) / n)
        loss.backward()
        parts.append(loss.detach())
    return torch.stack(parts).sum()


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
