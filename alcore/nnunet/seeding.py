"""The global random generators nnU-Net draws from, seeded for one run and put back afterwards. Imports torch."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's, numpy's and torch's generators: nnU-Net takes no generator as an argument."""
    before = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    reseed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def reseed(seed: int) -> None:
    """Start all three generators from `seed`."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)
