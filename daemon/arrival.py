"""What the scan of the watched folders tells the engine, and what it has to know from the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Arriving:
    """An acquisition that is not known to be whole.

    why: what is known of it. newest: when the newest of its files was modified. It has been quiet since `quiet_since` (both in
    seconds since the epoch) and is whole after `wait_s` of quiet.
    """

    path: bytes
    watch: int
    size: int
    fingerprint: str
    newest: float
    why: str
    quiet_since: float
    wait_s: float


@dataclass(frozen=True)
class Settled:
    """An acquisition that has stopped changing. Reported again and again until it is acknowledged or changes."""

    path: bytes
    watch: int
    size: int
    fingerprint: str
    newest: float


@dataclass(frozen=True)
class Gone:
    """An acquisition that is no longer (gone) or again (not gone) where it was, while its folder is reachable."""

    path: bytes
    gone: bool


@dataclass(frozen=True)
class Reachable:
    """A watched folder, or a folder in it, that can or cannot be listed. error: "" when it can."""

    folder: Path
    error: str


@dataclass(frozen=True)
class Identified:
    """Which directory a watched folder is: another one in its place is another disk, or none."""

    folder: Path
    identity: str


@dataclass(frozen=True)
class Known:
    """What the store knows of an acquisition that needs no more settling. fingerprint: JSON, "" when it has to settle afresh.
    members: the names of the files of a set."""

    fingerprint: str
    gone: bool = False
    members: tuple[str, ...] | None = None
