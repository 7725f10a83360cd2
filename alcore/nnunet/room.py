"""Is there room for a training, on the disk and on the GPU? Asked before it begins."""

from __future__ import annotations

import shutil
from pathlib import Path

from alcore.errors import DiskFullError, TransientError

CHECKPOINTS = 3
"""The newest, the one before, and the one that is being written."""
LEAST_FREE_BYTES = 256 << 20
"""Left to everybody else."""


def check_disk(folder: Path, needed: int, what: str) -> None:
    """Raise DiskFullError unless so many bytes, and a little more, are free where `folder` lies. what: they are for, in words."""
    free = shutil.disk_usage(folder).free
    if free < needed + LEAST_FREE_BYTES:
        raise DiskFullError(
            f"{folder}: {what} take {_gb(needed)}, {_gb(free)} are free; free some space, training then begins by itself"
        )


def checkpoint_bytes(n_parameters: int, optimizer: str, keeps_best: bool) -> int:
    """Bytes of all checkpoints and of the finished model. Weights are float32; adamw keeps two figures for each, sgd one."""
    weights = 4 * n_parameters
    return CHECKPOINTS * weights * ((3 if optimizer == "adamw" else 2) + keeps_best) + weights


def fitting_batch(batch: int, planned_bytes: float, free_bytes: float) -> int:
    """The largest batch that fits when one of `batch` crops takes `planned_bytes`; 0 when not even one does.

    A quarter of what is planned for goes to the network itself, whatever the batch.
    """
    per_crop = 0.75 * planned_bytes / batch
    return max(0, min(batch, int((free_bytes - 0.25 * planned_bytes) / per_crop)))


def batch_for_gpu(batch: int, planned_bytes: float, free_bytes: int) -> int:
    """The batch to train with on a GPU with so much free memory. Raises TransientError when not even a single crop fits."""
    fits = fitting_batch(batch, planned_bytes, free_bytes)
    if fits < 1:
        raise TransientError(
            f"the GPU has {_gb(free_bytes)} free, this network was planned for {_gb(planned_bytes)}: end what else uses "
            'the GPU, or set training.plan = "tiny"'
        )
    return fits


def _gb(n: float) -> str:
    return f"{n / 2**30:.1f} GiB" if n >= 2**29 else f"{n / 2**20:.0f} MiB"
