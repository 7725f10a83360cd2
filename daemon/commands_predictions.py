"""What people ask of the daemon about segmentations: every volume, by the promoted model, whatever `prediction.policy` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.engine import Engine


def predict_all(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """Segment every volume that the promoted model has not segmented yet."""
    promoted = engine.store.learning.promoted()
    if promoted is None:
        raise UsageError("no model has been promoted yet, so there is none to segment with")
    n = engine.store.predictions.wish(now)
    return (
        f"{promoted.version} segments all of {n} volume{'' if n == 1 else 's'} that it has not segmented yet; "
        "the former segmentations stay until then"
    )


VERBS = {"predict-all": predict_all}
