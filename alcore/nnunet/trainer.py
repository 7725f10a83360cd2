"""nnU-Net's trainer for short runs that may be stopped, killed and resumed at any time. Imports nnU-Net."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from alcore.errors import Preempted, TransientError
from alcore.nnunet import precision, room, seeding
from alcore.nnunet.checkpoint import Checkpoints
from alcore.nnunet.killed import Attempt
from alcore.nnunet.remedies import DivergedError, Remedies, lost_helpers
from alcore.nnunet.schedule import Schedule
from alcore.nnunet.validation import Validation
from alcore.stage import Context

LEAST_S, SAVING_SHARE = 2.0, 0.05
"""Checkpoints come no closer than this, and take no more than this share of the time."""
SEEDS = 1_000_003
"""Iterations that one seed has to itself."""


class Trainer(nnUNetTrainer):
    """nnU-Net's network, loss, augmentation and data loading; our schedule, checkpoints, reports and stops.

    Trains on exactly the given case ids, ends without nnU-Net's final validation, draws no plots, prints nothing, and
    starts no process of its own on a CPU. `run_training` raises `Preempted` after saving when the context asks it to, and
    `DivergedError` when the loss is no number any more.

    What an iteration draws depends on the seed and its number alone, so that on a CPU a run that was stopped or killed, and
    resumed, gives the same weights as one that was not.
    """

    def configure(
        self,
        folder: Path,
        case_ids: Sequence[str],
        schedule: Schedule,
        seed: int,
        remedies: Remedies,
        ctx: Context,
        log: Path,
        span: tuple[float, float],
    ) -> None:
        """Say what to train on and how, before `initialize`. (nnU-Net inspects the constructor, so that stays its own.)

        folder: preprocessed cases. remedies: what earlier attempts had to change (their batch is in the plans already).
        log: one JSON row per epoch. span: the part of the progress bar that training fills.
        """
        self.my_init_kwargs: dict[str, Any] = {}
        self.preprocessed_dataset_folder = str(folder)
        self.case_ids = list(case_ids)
        self.schedule = schedule
        self.seed = seed
        self.remedies = remedies
        self.ctx = ctx
        self.log = log
        self.span = span
        self.num_epochs = schedule.epochs
        self.num_iterations_per_epoch = schedule.iterations
        self.num_val_iterations_per_epoch = schedule.validation_iterations
        self.initial_lr = schedule.lr
        self.oversample_foreground_percent = schedule.foreground_share
        self.probabilistic_oversampling = True
        # nnU-Net gives the coarsest scale no weight in the loss: with two stages none would be left
        stages = self.configuration_manager.network_arch_init_kwargs["n_stages"]
        self.enable_deep_supervision = stages > 2
        self.checkpoints = Checkpoints(ctx.scratch / "checkpoints")
        self.attempt = Attempt(ctx.scratch)
        self.held_out: Validation | None = None
        self.best: dict[str, Any] | None = None
        self.over = False
        self._losses: list[float] = []
        self._saving_s = 0.0
        self._saved_at = self._began = time.monotonic()
        self._epochs_before = 0
        self.initialize()
        precision.speed_up(self.network, self.device)

    def print_to_log_file(self, *args: Any, also_print_to_console: bool = True, add_timestamp: bool = True) -> None:
        """Keep nnU-Net quiet: what matters goes to training.jsonl and to the progress note."""

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, _LearningRate]:
        """AdamW for runs of a few hundred iterations, nnU-Net's SGD with momentum 0.99 for long ones."""
        optimizer: torch.optim.Optimizer
        if self.schedule.optimizer == "adamw":
            optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=1e-2)
        else:
            optimizer = torch.optim.SGD(
                self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay, momentum=0.99, nesterov=True
            )
        return optimizer, _LearningRate(optimizer, self.schedule, self.remedies.lr_factor)

    def hold_out(self, folder: Path, case_ids: Sequence[str]) -> None:
        """Let these preprocessed cases, which no step sees, say when to stop."""
        self.held_out = Validation(
            folder, case_ids, self.configuration_manager.patch_size, self.label_manager.ignore_label
        )

    def do_split(self) -> tuple[list[str], list[str]]:
        """All cases train; the running Dice is of training cases and judges nothing (the gate does)."""
        return list(self.case_ids), list(self.case_ids)

    def on_train_start(self) -> None:
        """Loaders only: no copies of plans, no network plot, no debug dump."""
        self.dataloader_train, self.dataloader_val = self.get_dataloaders()
        self.set_deep_supervision_enabled(self.enable_deep_supervision)

    def on_train_epoch_start(self) -> None:
        """Training mode; the learning rate moves with every iteration instead of every epoch."""
        self.network.train()
        self.lr_scheduler.step(self.current_epoch * self.num_iterations_per_epoch)
        self.logger.log("lrs", self.optimizer.param_groups[0]["lr"], self.current_epoch)

    def _iterate(self) -> None:
        """One iteration, unless the context wants the process: then save, and raise `Preempted`."""
        if self.ctx.should_stop():
            self._save()
            raise Preempted(f"stopped at epoch {self.current_epoch} of {self.num_epochs}; run again to continue")
        iteration = self.current_epoch * self.num_iterations_per_epoch + len(self._losses)
        seeding.reseed(self.seed * SEEDS + iteration)
        self.lr_scheduler.step(iteration)
        loss = float(self.train_step(next(self.dataloader_train))["loss"])
        if not np.isfinite(loss):
            raise DivergedError(f"the training loss became {loss} in epoch {self.current_epoch + 1}")
        self._losses.append(loss)

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """As nnU-Net, but an epoch whose crops hold no object repeats the last Dice instead of NaN for ever; and of the
        held-out patches where there are any."""
        hits, misses = (
            np.sum([[o[k] for k in keys] for o in val_outputs]) for keys in (["tp_hard"], ["fp_hard", "fn_hard"])
        )
        loss = float(np.mean([o["loss"] for o in val_outputs]))
        known = self.logger.get_value("mean_fg_dice", step=None)
        total = 2 * hits + misses
        dice = float(2 * hits / total) if total > 0 else (known[-1] if known else 0.0)
        if self.held_out is not None:
            dice = self.held_out.dice(self.network, self.device)
            if self.best is None or dice > self.best["dice"]:
                weights = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}
                self.best = {"epoch": self.current_epoch + 1, "dice": dice, "weights": weights}
        self.logger.log("mean_fg_dice", dice, self.current_epoch)
        self.logger.log("dice_per_class_or_region", [dice], self.current_epoch)
        self.logger.log("val_losses", loss, self.current_epoch)

    def on_epoch_end(self) -> None:
        """Append to the log, report, and save when it is time."""
        self.logger.log("epoch_end_timestamps", time.time(), self.current_epoch)
        self.current_epoch += 1
        self._losses = []
        if self.best is not None and self.current_epoch - self.best["epoch"] >= self.schedule.patience_epochs:
            self.over = True
        row = {
            "epoch": self.current_epoch,
            "loss": round(float(self.logger.get_value("train_losses", step=-1)), 5),
            "dice": round(float(self.logger.get_value("mean_fg_dice", step=-1)), 5),
            "ema_dice": round(float(self.logger.get_value("ema_fg_dice", step=-1)), 5),
            "lr": float(self.optimizer.param_groups[0]["lr"]),
        }
        with open(self.log, "a") as f:
            f.write(json.dumps(row) + "\n")
        now = time.monotonic()
        left = self.num_epochs - self.current_epoch
        eta_s = (now - self._began) / (self.current_epoch - self._epochs_before) * left
        first, last = self.span
        self.ctx.progress(
            first + (last - first) * self.current_epoch / self.num_epochs,
            f"epoch {self.current_epoch}/{self.num_epochs}, loss {row['loss']:.3f}, dice {row['dice']:.3f}"
            f"{' (held out)' if self.held_out else ''}, {_duration(eta_s)} left"
            + "".join(f"; {note}" for note in self.remedies.notes[-1:]),
        )
        if left and now - self._saved_at >= self._save_every_s():
            self._save()

    def on_train_end(self) -> None:
        """Save the end, so that a kill between here and the artifact costs nothing; and go back to the best state."""
        self._save()
        if self.best is not None:
            self.network.load_state_dict(self.best["weights"])

    def run_training(self) -> None:
        """Train to the end of the schedule, or until the held-out patches say so; data loading processes (GPU) never survive."""
        self._began = time.monotonic()
        self._epochs_before = self.current_epoch
        self.attempt.begin(int(self.batch_size))
        try:
            self.on_train_start()
            while self.current_epoch < self.num_epochs and not self.over:
                self._epoch()
            self.on_train_end()
        except RuntimeError as e:
            if lost_helpers(e):
                raise TransientError(
                    "a process that prepares training crops has died (out of memory?); training goes on from the last checkpoint"
                ) from e
            raise
        finally:
            for loader in (self.dataloader_train, self.dataloader_val):
                if hasattr(loader, "_finish"):
                    loader._finish()

    def _epoch(self) -> None:
        self.on_epoch_start()
        self.on_train_epoch_start()
        while len(self._losses) < self.num_iterations_per_epoch:
            self._iterate()
        self.logger.log("train_losses", float(np.mean(self._losses)), self.current_epoch)
        with torch.no_grad():
            self.on_validation_epoch_start()
            steps = range(self.num_val_iterations_per_epoch)
            self.on_validation_epoch_end([self.validation_step(next(self.dataloader_val)) for _ in steps])
        self.on_epoch_end()

    def _save_every_s(self) -> float:
        """Seconds between two checkpoints: as many as the schedule allows, less where a checkpoint is soon written."""
        return min(self.schedule.checkpoint_s, max(LEAST_S, self._saving_s / SAVING_SHARE))

    def _save(self) -> None:
        began = time.monotonic()
        weights = self.network.state_dict()
        if not all(bool(torch.isfinite(w).all()) for w in weights.values()):
            raise DivergedError(f"the weights are no numbers any more after epoch {self.current_epoch}")
        logging = {k: [_plain(v) for v in values] for k, values in self.logger.get_checkpoint().items()}
        epochs = self.current_epoch
        self.checkpoints.save(
            {
                "schedule": self.schedule.to_json(),
                "epoch": epochs,
                "losses": list(self._losses),
                "best": self.best,
                "over": self.over,
                "network_weights": weights,
                "optimizer_state": self.optimizer.state_dict(),
                "grad_scaler_state": self.grad_scaler.state_dict() if self.grad_scaler is not None else None,
                "logging": {k: values[:epochs] for k, values in logging.items()},
            }
        )
        self.attempt.passed()
        self._saved_at = time.monotonic()
        self._saving_s = self._saved_at - began

    def check_disk(self) -> None:
        """Raise DiskFullError unless there is room for the checkpoints."""
        n = sum(w.numel() for w in self.network.state_dict().values())
        needed = room.checkpoint_bytes(n, self.schedule.optimizer, self.held_out is not None)
        room.check_disk(self.ctx.scratch, needed, "the checkpoints of this training")

    def resume(self) -> int:
        """Continue from the newest checkpoint that can be read; returns the epochs already done."""
        state = self.checkpoints.load(self.device)
        if state is None or state["schedule"] != self.schedule.to_json() or "losses" not in state:
            return 0
        self.network.load_state_dict(state["network_weights"])
        self.optimizer.load_state_dict(state["optimizer_state"])
        if self.grad_scaler is not None and state["grad_scaler_state"] is not None:
            self.grad_scaler.load_state_dict(state["grad_scaler_state"])
        self.logger.load_checkpoint(state["logging"])
        self.current_epoch = int(state["epoch"])
        self._losses, self.best, self.over = list(state["losses"]), state["best"], bool(state["over"])
        return self.current_epoch


class _LearningRate:
    """Sets the learning rate of an optimizer for a given iteration."""

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule, factor: float) -> None:
        self.optimizer = optimizer
        self.schedule = schedule
        self.factor = factor

    def step(self, iteration: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.factor * self.schedule.lr_at(iteration)


def _plain(value: Any) -> Any:
    """numpy scalars as Python ones, so that a checkpoint loads with weights_only=True."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return float(value)


def _duration(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min"
