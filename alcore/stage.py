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
    content: `Fingerprint.content` of an acquisition as it was when its key was computed, or "" (artifacts never change).
    members: the names of its files when it is a set (see `alcore.fileset`).
    """

    path: Path
    key: str
    content: str = ""
    members: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types (paths that are not UTF-8 survive through surrogate escapes)."""
        value: dict[str, Any] = {"path": str(self.path), "key": self.key}
        if self.content:
            value["content"] = self.content
        if self.members is not None:
            value["members"] = list(self.members)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Input:
        """Inverse of `to_json`."""
        members = value.get("members")
        return cls(
            Path(value["path"]), value["key"], value.get("content", ""), None if members is None else tuple(members)
        )


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
    ram_bytes: int
    """Memory this stage may use for its blocks, whatever the size of a volume."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Report progress in 0..1 with a few words for people; also the heartbeat. Returns when the stage may go on."""

    def should_stop(self) -> bool:
        """True once the stage was asked to stop: save a checkpoint and raise `Preempted`. Returns when the stage may go on."""


RunFunction = Callable[[Inputs, Params, Path, Context], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A kind of work. Everything here is plain data, so that the daemon can import it without any science.

    run writes files into the directory it is given and returns a small JSON-able result for the manifest.
    long: belongs into the lane of long jobs, beside which small ones go on. isolated: its process is not used again
    afterwards (it leaks); otherwise a warm worker may serve many jobs.
    preemptible: stops at a checkpoint when asked, and continues from `Context.scratch`.
    hostile: opens a stranger's file for the first time, and runs under a hard limit of memory.
    checkpoint: the file in `Context.scratch` that is written anew the further it gets; "" where there is none.
    max_attempts counts transient failures, but not those that came after a new checkpoint; permanent ones are never retried.
    hang_s: no progress for so long is a hang.
    """

    name: str
    version: int
    run: RunFunction
    long: bool = False
    isolated: bool = False
    preemptible: bool = False
    hostile: bool = False
    checkpoint: str = ""
    max_attempts: int = 3
    hang_s: float = 1800.0
