"""Did Linux end the attempt before this one because memory ran out? It kills without a word: told from what is left behind."""

from __future__ import annotations

import json
from pathlib import Path

from alcore.artifact import write_atomic

COUNTERS, BOOT = Path("/proc/vmstat"), Path("/proc/sys/kernel/random/boot_id")
"""Linux counts in the first, as "oom_kill", the processes that it ended for lack of memory since the boot that the second names."""


class Attempt:
    """What an attempt at a training leaves in its scratch until its next checkpoint: the batch that it was trying.

    It is blamed only where Linux has ended some process for lack of memory since it began: a worker that was killed by hand, by
    the daemon or with the power goes on as it was, and ends in the same weights.
    """

    def __init__(self, scratch: Path) -> None:
        self._path = scratch / "attempt.json"

    def begin(self, batch: int) -> None:
        """Before the first step."""
        write_atomic(self._path, json.dumps({"batch": batch, "kills": _kills()}).encode())

    def passed(self) -> None:
        """A checkpoint was written: with this batch it goes."""
        self._path.unlink(missing_ok=True)

    def fatal_batch(self) -> int | None:
        """The batch of an earlier attempt that came to no checkpoint and was, as it seems, killed for lack of memory."""
        try:
            left = json.loads(self._path.read_text())
            (boot, before), batch = left["kills"], int(left["batch"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        now = _kills()
        return batch if now is not None and now[0] == boot and now[1] > before else None


def _kills() -> tuple[str, int] | None:
    """Which boot this is, and how many processes were ended since; None where the system does not tell."""
    try:
        rows = dict(line.split() for line in COUNTERS.read_text().splitlines())
        return BOOT.read_text().strip(), int(rows["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None
