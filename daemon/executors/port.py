"""What the engine asks of an executor, and what it hears back. Names and paths travel, never closures."""

from __future__ import annotations

import json
import queue
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from alcore.stage import Inputs
from daemon.store.rows import inputs_from_json, inputs_to_json

ORDER = "order.json"
"""The order of a job in its folder, written when a worker begins with it."""


@dataclass(frozen=True)
class Places:
    """Directories of the workspace that workers use."""

    artifacts: Path
    cache: Path
    jobs: Path

    def job(self, job_id: int) -> Path:
        """The folder of one job: its log and its scratch space."""
        return self.jobs / f"{job_id:07d}"


@dataclass(frozen=True)
class Order:
    """One claimed job, as a worker needs to know it."""

    job_id: int
    fence: int
    key: str
    stage: str
    inputs: Inputs
    params: Mapping[str, Any]
    device: str
    threads: int
    ram_bytes: int
    long: bool
    isolated: bool
    hang_s: float

    def to_line(self) -> str:
        """One line of JSON."""
        fields = self.__dict__ | {"inputs": inputs_to_json(self.inputs), "params": dict(self.params)}
        return json.dumps(fields)

    @classmethod
    def from_line(cls, line: str) -> Order:
        """Inverse of `to_line`."""
        fields = json.loads(line)
        return cls(**fields | {"inputs": inputs_from_json(fields["inputs"])})


@dataclass(frozen=True)
class Progress:
    """A running job reports how far it is."""

    job_id: int
    fence: int
    fraction: float
    note: str


@dataclass(frozen=True)
class Finished:
    """A job left its worker. outcome: done, failed, preempted, or lost (the worker died or was killed).

    detail: what the error says for the daemon to act on.
    """

    job_id: int
    fence: int
    outcome: str
    error: str = ""
    kind: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterSaid:
    """How the cluster at an address is now: what is wrong, in words, or "". Comes as well when there are other workers than before."""

    address: str
    trouble: str


Reports = queue.SimpleQueue[Any]
"""Where Progress, Finished and ClusterSaid arrive; the engine reads it."""


class Executor(Protocol):
    """Runs orders and reports. One job runs at most once at a time; every accepted order ends in one `Finished`."""

    @property
    def groups(self) -> Sequence[Collection[str] | None]:
        """Which stages share workers: one group of all of them (None), or several."""

    def holds(self, stage: str) -> bool:
        """Can a job of this stage stand still where it is? Where not, it has to be asked to stop."""

    def free(self, long: bool, stage: str) -> bool:
        """Is there a slot for a job of this kind?"""

    def start(self, order: Order) -> None:
        """Begin; returns at once. Call only when `free`."""

    def stop(self, job_id: int) -> None:
        """Ask a job to stop at its next checkpoint."""

    def hold(self, job_id: int, held: bool) -> None:
        """Let a job stand still at its next step, or go on. It keeps its memory, and loses nothing; `stop` is heard all the same."""

    def kill(self, job_id: int) -> None:
        """End a job now, its children included."""

    def shutdown(self, grace_s: float) -> None:
        """Stop everything: politely for `grace_s`, then by force. Nothing is left behind."""
