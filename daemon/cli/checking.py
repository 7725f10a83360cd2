"""What one check of `alscope doctor` says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """state: ok, warn or fail. mend: what to do about it."""

    name: str
    state: str
    found: str
    mend: str = ""
