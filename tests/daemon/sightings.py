"""What the scan would say of an acquisition, in few words."""

from __future__ import annotations

from daemon.arrival import Arriving, Settled


def arriving(path: bytes, fingerprint: str = "{}", why: str = "growing", size: int = 1) -> Arriving:
    return Arriving(path, 0, size, fingerprint, 0.0, why, 0.0, 10.0)


def settled(path: bytes, fingerprint: str = "{}", size: int = 100, newest: float = 0.0) -> Settled:
    return Settled(path, 0, size, fingerprint, newest)
