"""An engine whose science is a script, for tests of what is decided about encoders and suggestions, and scripts that interfere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daemon.executors.port import Finished, Order
from tests.daemon.play import Stage

Change = Callable[[Order, dict[str, Any]], Any]
REFUSED = "the encoder failed its self-test and must not select: self-retrieval 0.41, at least 0.95"


def encoders(stage: Stage) -> list[tuple[str, str]]:
    return [(e.kind, e.state) for e in stage.shot().encoders]


def refuse(*kinds: str) -> Change:
    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "encoder" and order.params["kind"] in kinds:
            detail = {"selftest": {"self_retrieval": 0.41}}
            return Finished(order.job_id, order.fence, "failed", REFUSED, "encoder_rejected", detail)
        return said

    return change


def hold(*stages: str) -> Change:
    """These never end; of the encoders only the one that is trained."""

    def change(order: Order, said: dict[str, Any]) -> Any:
        return None if order.stage in stages and order.params.get("kind") != "descriptor" else said

    return change


def orders(stage: Stage, name: str) -> list[Order]:
    """What the executor was given of one stage, first to last."""
    return [o for o in stage.executor.orders if o.stage == name]


def jobs(stage: Stage, name: str) -> list[Any]:
    ids = [r["id"] for r in stage.store.jobs._db.query("SELECT id FROM job WHERE stage = ? ORDER BY id", [name])]
    return [stage.store.jobs.get(i) for i in ids]
