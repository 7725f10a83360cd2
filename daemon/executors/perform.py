"""Run one order in the current process and say how it ended: shared by the inline executor and the worker."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alcore.artifact import ArtifactStore
from alcore.disk import full_words, no_space
from alcore.errors import AlcoreError, Preempted
from alcore.run import execute, key_of, stage
from daemon.executors.memory import memory_limit
from daemon.executors.port import ORDER, Finished, Order, Places, Progress
from daemon.wording import clean

REPORT_EVERY_S = 0.5
HELD_POLL_S = 0.1
HELD_SAY_S = 5.0
"""A job that stands still gives a sign of life so often."""
HELD = "stands still until it may go on"
OUTDATED = (
    "alscope was changed or upgraded while the daemon was running; restart the daemon, and it goes on where it was"
)


@dataclass
class OrderContext:
    """The `alcore.stage.Context` of a job that runs under the daemon."""

    order: Order
    scratch: Path
    cache: Path
    tell: Callable[[Progress], None]
    stopped: Callable[[], bool]
    device: str
    threads: int
    ram_bytes: int
    held: Callable[[], bool]
    last_told: float = 0.0
    fraction: float = 0.0

    def progress(self, fraction: float, note: str = "") -> None:
        """Report, at most twice a second; the last report of a burst may be dropped. Returns when the job may go on."""
        self.fraction = min(1.0, max(0.0, float(fraction)))
        self._tell(note, REPORT_EVERY_S)
        self._stand_still()

    def should_stop(self) -> bool:
        """Was the job asked to stop? Returns when the job may go on."""
        self._stand_still()
        return self.stopped()

    def _stand_still(self) -> None:
        every_s = REPORT_EVERY_S
        while self.held() and not self.stopped():
            if self._tell(HELD, every_s):
                every_s = HELD_SAY_S
            time.sleep(HELD_POLL_S)

    def _tell(self, note: str, every_s: float) -> bool:
        now = time.monotonic()
        due = now - self.last_told >= every_s
        if due:
            self.last_told = now
            self.tell(Progress(self.order.job_id, self.order.fence, self.fraction, clean(note[:200])))
        return due


def perform(
    order: Order,
    places: Places,
    tell: Callable[[Progress], None],
    stopped: Callable[[], bool],
    held: Callable[[], bool] = lambda: False,
) -> Finished:
    """Execute the stage; every exception becomes an outcome that says whether trying again can help.

    stopped: was it asked to stop? held: is it to stand still?
    """
    folder = places.job(order.job_id)
    scratch = folder / "scratch"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        (folder / ORDER).write_text(order.to_line() + "\n")
        context = OrderContext(
            order, scratch, places.cache, tell, stopped, order.device, order.threads, order.ram_bytes, held
        )
        if key_of(order.stage, order.inputs, order.params) != order.key:
            # the daemon would look for a result that these files no longer make; a job of the new ones replaces it at the next start
            return Finished(order.job_id, order.fence, "failed", OUTDATED, "transient")
        limit = order.ram_bytes if stage(order.stage).hostile else None
        with memory_limit(limit):
            execute(order.stage, order.inputs, order.params, ArtifactStore(places.artifacts), context)
    except Preempted:
        return Finished(order.job_id, order.fence, "preempted")
    except AlcoreError as e:
        _log_traceback()
        return Finished(order.job_id, order.fence, "failed", one_line(e), e.kind, e.detail)
    except OSError as e:
        _log_traceback()
        if no_space(e):
            return Finished(order.job_id, order.fence, "failed", full_words(places.jobs), "disk_full")
        return Finished(order.job_id, order.fence, "failed", one_line(e), "transient")
    except MemoryError as e:
        _log_traceback()
        if stage(order.stage).hostile:
            name = next(iter(order.inputs.values()))[0].path.name
            why = f"{name}: needs more memory to open than run.ram_gb = {order.ram_bytes / 2**30:g}; is it damaged, or a bomb?"
            return Finished(order.job_id, order.fence, "failed", one_line(ValueError(why)), "unreadable")
        return Finished(order.job_id, order.fence, "failed", f"out of memory: {one_line(e)}", "transient")
    except Exception as e:
        _log_traceback()
        if _device_is_full(e):
            return Finished(
                order.job_id, order.fence, "failed", f"the GPU is out of memory: {one_line(e)}", "transient"
            )
        # a defect of ours or of a library: permanent, visible, with its traceback in the log
        return Finished(order.job_id, order.fence, "failed", f"{type(e).__name__}: {one_line(e)}", "defect")
    return Finished(order.job_id, order.fence, "done")


def _device_is_full(error: Exception) -> bool:
    """Torch's word for it, by name: nothing here imports torch. Others on the same GPU may give memory back."""
    return any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)


def _log_traceback() -> None:
    """The exception at hand into the job's log, for which a full disk may have no room."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def one_line(error: object) -> str:
    """The message of an exception as one line of valid, harmless text, whatever names and metadata are in it."""
    return " ".join(clean(str(error)).split())[:1000] or type(error).__name__
