"""What a Stage is: a named, versioned, pure function from inputs and params to the files of one artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Input:
    """One input of a job: where it is now, and the key that identifies its content wherever it lies.

    `key` is an artifact key, or "sha256:<hex>" for a file that is not an artifact. Only keys enter a recipe.
    """

    path: Path
    key: str

    def to_json(self) -> dict[str, str]:
        """Plain JSON types (paths that are not UTF-8 survive through surrogate escapes)."""
        return {"path": str(self.path), "key": self.key}

    @classmethod
    def from_json(cls, value: Mapping[str, str]) -> Input:
        """Inverse of `to_json`."""
        return cls(Path(value["path"]), value["key"])


Inputs = Mapping[str, list[Input]]
Params = Mapping[str, Any]


def one(inputs: Inputs, name: str) -> Path:
    """The path of the only input called `name`."""
    (item,) = inputs[name]
    return item.path


class Context(Protocol):
    """What a running stage may ask of the process it runs in."""

    scratch: Path
    """A directory of this job alone that survives a kill and a retry: the place for checkpoints."""
    cache: Path
    """A directory shared by all jobs, for things that can be rebuilt (faiss index, preprocessed cases)."""
    device: str
    """Either "cpu" or "cuda"."""
    threads: int
    """CPU threads this stage may use."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Report progress in 0..1 with a few words for people; also the heartbeat."""

    def should_stop(self) -> bool:
        """True once the stage was asked to stop: save a checkpoint and raise `Preempted`."""


RunFunction = Callable[[Inputs, Params, Path, Context], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A kind of work. Everything here is plain data, so that the daemon can import it without any science.

    run writes files into the directory it is given and returns a small JSON-able result for the manifest.
    long: belongs into the lane of long jobs, beside which small ones go on. isolated: its process is not used again
    afterwards (it leaks); otherwise a warm worker may serve many jobs.
    preemptible: stops at a checkpoint when asked, and continues from `Context.scratch`.
    max_attempts counts transient failures; permanent ones are never retried. hang_s: no progress for so long is a hang.
    """

    name: str
    version: int
    run: RunFunction
    long: bool = False
    isolated: bool = False
    preemptible: bool = False
    max_attempts: int = 3
    hang_s: float = 1800.0
