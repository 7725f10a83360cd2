"""The process settings nnU-Net reads: its folders inside our own, its threads, its silence."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def nnunet_process(scratch: Path, device: str, threads: int, planning: bool = False) -> Iterator[None]:
    """Run nnU-Net inside with every path below `scratch`, at most `threads` CPU threads, and nothing on stdout.

    The user's own nnU-Net variables are neither read nor kept changed. On a CPU augmentation runs in the training
    process itself (bit-identical between runs); a GPU is fed by worker processes. torch.compile stays off: compiling
    costs more than a short fine-tuning saves. Denormal numbers, which slow a CPU down many times, count as zero inside;
    nobody else's arithmetic changes. planning: nnU-Net's planner wants at least one augmentation process to be
    allowed, though it starts none.
    """
    import torch

    folders = {f"nnUNet_{name}": str(scratch / "nnunet" / name) for name in ("raw", "preprocessed", "results")}
    for folder in folders.values():
        Path(folder).mkdir(parents=True, exist_ok=True)
    settings = folders | {
        "nnUNet_n_proc_DA": str(int(planning) if device == "cpu" else max(4, threads)),
        "nnUNet_compile": "f",
        "nnUNet_wandb_enabled": "0",
        "MPLBACKEND": "agg",
    }
    before = {name: os.environ.get(name) for name in settings}
    threads_before = torch.get_num_threads()
    os.environ.update(settings)
    torch.set_num_threads(max(1, threads))
    torch.set_flush_denormal(device == "cpu")
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads_before)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
