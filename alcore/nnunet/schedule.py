"""How long and how hard a run trains; plain data with defaults for a CPU and for a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from alcore.errors import PermanentError


@dataclass(frozen=True)
class Schedule:
    """A training schedule.

    epochs x iterations steps. lr: the peak; it is reached after `warmup` (share of all iterations) and then falls to
    zero as (1 - t) ** 0.9. batch: None keeps the plan's. optimizer: "sgd" (nnU-Net's, slow and sure), "adamw" (learns in
    a few hundred steps), or "auto": adamw for the tiny plan, sgd for the others.
    foreground_share: probability that a crop is centred on an object. validation_iterations per epoch only feed the
    progress report. patience: epochs without a better score of the held-out labels, where there are any, before the end;
    None = a quarter of all, at least 5. checkpoint_s: most time between two checkpoints; less passes
    where they are written soon.
    """

    epochs: int = 10
    iterations: int = 50
    lr: float = 3e-3
    warmup: float = 0.1
    batch: int | None = None
    optimizer: str = "auto"
    foreground_share: float = 0.5
    validation_iterations: int = 2
    patience: int | None = None
    checkpoint_s: float = 60.0

    def __post_init__(self) -> None:
        positive = {"epochs": self.epochs, "iterations": self.iterations, "lr": self.lr}
        positive["validation_iterations"] = self.validation_iterations
        for name, value in positive.items():
            if not value > 0:
                raise PermanentError(f"schedule.{name} must be greater than 0, got {value!r}")
        for name, share in {"warmup": self.warmup, "foreground_share": self.foreground_share}.items():
            if not 0 <= share <= 1:
                raise PermanentError(f"schedule.{name} must be between 0 and 1, got {share!r}")
        if self.optimizer not in ("auto", "adamw", "sgd"):
            raise PermanentError(f"schedule.optimizer must be 'auto', 'adamw' or 'sgd', got {self.optimizer!r}")
        if self.batch is not None and self.batch < 1:
            raise PermanentError(f"schedule.batch must be at least 1, got {self.batch!r}")
        if self.patience is not None and self.patience < 1:
            raise PermanentError(f"schedule.patience must be at least 1, got {self.patience!r}")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schedule:
        """A schedule from params; raises PermanentError for a key that does not exist or an impossible value."""
        known = [f.name for f in fields(cls)]
        for name in value:
            if name not in known:
                raise PermanentError(f"schedule.{name} does not exist; known keys: {', '.join(known)}")
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @property
    def patience_epochs(self) -> int:
        """Epochs without a better score before the end."""
        return max(5, self.epochs // 4) if self.patience is None else self.patience

    def resolved(self, plan: str) -> Schedule:
        """The same schedule with the optimizer that suits the plan in place of "auto"."""
        if self.optimizer != "auto":
            return self
        return replace(self, optimizer="adamw" if plan == "tiny" else "sgd")

    def lr_at(self, iteration: int) -> float:
        """Learning rate of iteration 0, 1, ...: linear warm-up, then polynomial decay (exponent 0.9, as nnU-Net)."""
        total = self.epochs * self.iterations
        warm = round(self.warmup * total)
        if iteration < warm:
            return self.lr * (iteration + 1) / (warm + 1)
        return self.lr * max(0.0, 1 - (iteration - warm) / max(1, total - warm)) ** 0.9
