"""How long a daemon that stops waits for a training to write its checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from alcore.run import stage
from daemon.executors.port import Order
from daemon.executors.process import Patience
from daemon.notify import notify

log = logging.getLogger("alscope")

CHECKPOINT_S = 60.0
"""A training gets so long to reach a checkpoint and write it, for otherwise it loses what it learned since the last."""


def until_checkpoint(hurrying: Callable[[], bool]) -> Patience:
    """Patience with a training that has begun to learn, until its checkpoint is written; not for ever, and not when hurrying."""
    until = time.monotonic() + CHECKPOINT_S
    said = float("-inf")

    def patient(order: Order, fraction: float) -> bool:
        nonlocal said
        now = time.monotonic()
        if hurrying() or now > until or fraction <= 0 or not stage(order.stage).checkpoint:
            return False
        if said == float("-inf"):
            log.info("waiting until the training has written its checkpoint; Ctrl-C or SIGTERM once more ends it now")
        if now - said > 1:
            said = now
            notify(f"EXTEND_TIMEOUT_USEC={int(2e7)}\nSTATUS=stopping: a training writes its checkpoint")
        return True

    return patient
