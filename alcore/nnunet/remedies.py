"""What a training may change about itself to get through: a smaller batch, a lower learning rate. Remembered over a kill."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from alcore.artifact import write_atomic
from alcore.errors import AlcoreError, PermanentError

MOST_HALVINGS = 2
"""A loss that is no number any more after so many halvings of the learning rate is not the rate's fault."""


class DivergedError(AlcoreError):
    """The training loss is no number any more."""

    kind = "diverged"


@dataclass(frozen=True)
class Remedies:
    """batch: crops at once, None = as planned. halvings: of the learning rate. notes: what a person should know."""

    batch: int | None = None
    halvings: int = 0
    notes: tuple[str, ...] = ()

    @property
    def lr_factor(self) -> float:
        """What learning rates are multiplied by."""
        return 0.5**self.halvings

    def smaller(self, batch: int, why: str) -> Remedies:
        """After running out of memory with this batch. Raises PermanentError when it cannot be smaller."""
        if batch <= 1:
            raise PermanentError(
                f"out of memory although the batch is a single crop ({why}): "
                'end what else uses the memory, or set training.plan = "tiny"'
            )
        half = batch // 2
        return replace(self, batch=half, notes=(*self.notes, f"batch of {half}: there was no memory for {batch}"))

    def gentler(self, error: DivergedError) -> Remedies:
        """After the loss became no number. Raises PermanentError when that has happened too often."""
        if self.halvings >= MOST_HALVINGS:
            raise PermanentError(
                f"{error}, also with the learning rate halved {MOST_HALVINGS} times: "
                "set a lower lr in training.finetune_schedule or training.pretrain_schedule, and look at the latest labels"
            )
        note = f"{error}: went on from the last checkpoint with half the learning rate"
        return replace(self, halvings=self.halvings + 1, notes=(*self.notes, note))

    def save(self, scratch: Path) -> None:
        """Remember for the next attempt."""
        write_atomic(scratch / "remedies.json", json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, scratch: Path) -> Remedies:
        """What an earlier attempt had to change; nothing where there was none, or its file is damaged."""
        try:
            found = json.loads((scratch / "remedies.json").read_text())
            return cls(found["batch"], int(found["halvings"]), tuple(str(n) for n in found["notes"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()


def out_of_memory(error: BaseException) -> bool:
    """Is that a library's word for memory, of the GPU or the machine, that cannot be had?"""
    words = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def lost_helpers(error: BaseException) -> bool:
    """Is that batchgenerators' word for a process of its own, which prepares crops, that has died?"""
    return isinstance(error, RuntimeError) and "background workers are no longer alive" in str(error)
