"""Levels that several plans ask for."""

from __future__ import annotations

from daemon.store.store import Store

AHEAD = 64
"""So few jobs of a kind lie ready, however many volumes wait for one: planning them takes time, and the next promoted model
makes those that predict pointless."""


def room(store: Store, stage: str, spec: str) -> int:
    """How many more jobs may be planned now."""
    return max(0, AHEAD - store.jobs.n_ready(stage, spec))


def missing_anywhere(store: Store, stage: str, spec: str) -> bool:
    """May a volume be without a job of this stage and spec? Known from two counts, without looking at each volume."""
    return store.jobs.n_volumes_with(stage, spec) < store.volumes.n_volumes()
