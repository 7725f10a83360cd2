"""The state of an encoder's training between epochs: saved every half minute, so that saving costs little of it. Imports torch."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

import torch

from alcore.artifact import fsync_dir
from alcore.stage import Context

CHECKPOINT = "encoder-checkpoint.pt"

EVERY_S = 30.0
"""What a kill may cost, beside the epoch that it hits. A ViT tiny writes 70 MB, and an epoch of it may take two seconds."""


class Checkpoint:
    """File in ctx.scratch with the losses of the epochs that are saved, the model and the optimiser; a recipe it belongs to."""

    def __init__(self, ctx: Context, recipe: dict[str, Any]) -> None:
        self.path = ctx.scratch / CHECKPOINT
        self.epochs = 0
        """So many epochs are saved."""
        self._ctx, self._recipe = ctx, recipe
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self._last >= EVERY_S

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
        """Replace the file, so that a kill leaves the old one or the new one."""
        state = {
            "recipe": self._recipe,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "losses": losses,
        }
        _write(self.path, state)
        self.epochs, self._last = len(losses), time.monotonic()

    def resume(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
        """Losses of the epochs already trained; a missing, damaged or foreign file means starting at the first."""
        if not self.path.exists():
            return []
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as e:  # a damaged pickle may raise anything; a checkpoint is only a cache
            self._ctx.progress(0.0, f"{CHECKPOINT} cannot be read ({type(e).__name__}); training starts again")
            return []
        if not isinstance(state, dict) or state.get("recipe") != self._recipe:
            self._ctx.progress(0.0, f"{CHECKPOINT} belongs to another recipe; training starts again")
            return []
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        losses: list[float] = state["losses"]
        self.epochs = len(losses)
        self._ctx.progress(len(losses) / self._recipe["schedule"]["epochs"], f"continuing after epoch {len(losses)}")
        return losses


def _write(path: Path, state: dict[str, Any]) -> None:
    """Straight into a file beside it, which then takes its name: the state is not in memory a second time."""
    tmp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(tmp, "xb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(tmp, path)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)
