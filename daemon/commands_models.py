"""What people ask of the daemon about models: to put one to use, or to go back to the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.engine import Engine

LOWER = ("worse", "ungated, lower")
"""Rulings that say that a model is worse than the one that it was compared with, or looked so."""


def promote(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """Put a model to use that no verdict put there, or not any more. Answers with a warning when the court said worse."""
    version, reason, who = _model(engine, arguments), str(arguments["reason"]).strip(), _who(arguments)
    state, ruling, verdict = engine.store.models.states()[version]
    if not reason:
        raise UsageError("a promotion by hand needs a reason: --reason TEXT; it is kept with the model")
    if state == "promoted":
        raise UsageError(f"{version} is in use already")
    if state == "candidate":
        waits = engine.planning.learning.judging_waits(version)
        if waits is None:
            raise UsageError(f"{version} is being judged; wait for the verdict of its round, then promote it")
        raise UsageError(
            f"{version} is not judged yet ({engine.store.jobs.last_words(waits.id)}); `alscope jobs retry {waits.id}` judges it "
            "now, `alscope train` concludes its round without a verdict on it and opens the next; promote it after that"
        )
    warning = ""
    if ruling in LOWER:
        warning = f"; warning: on the held-out patches the court found it {ruling.split(', ')[-1]}: {verdict}"
    engine.store.models.promote(version, "hand", who, reason, now)
    back = _predictions(engine, version, now)
    engine.store.state.event("model", f"{version} promoted by hand by {who}: {reason}", now)
    return f"{version} is in use now{back}{warning}"


def rollback(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """Go back to the model that was in use before. The one taken out of use comes back by hand alone."""
    who = _who(arguments)
    reason = str(arguments.get("reason", "")).strip() or "rolled back"
    promoted, target = engine.store.learning.promoted(), engine.store.models.before()
    if promoted is None:
        raise UsageError("no model is in use, so there is none to roll back")
    if target is None:
        raise UsageError(
            f"before {promoted.version} no model was in use; `alscope models promote VERSION --reason TEXT` takes another"
        )
    engine.store.models.promote(target, "rollback", who, reason, now)
    engine.store.predictions.wish(now)
    back = _predictions(engine, target, now)
    text = f"rolled back from {promoted.version} to {target} by {who}: {reason}"
    engine.store.state.event("model", text, now)
    return f"{target} is in use again, {promoted.version} is not promoted by itself any more{back}"


def _predictions(engine: Engine, version: str, now: float) -> str:
    """The segmentations of this model that exist are shown again with the next tick; work on others is taken up again."""
    model = engine.store.learning.model(version)
    assert model is not None
    engine.store.jobs.revive("predict", engine.planning.planner.predict_spec(model), now)
    n, total = engine.store.models.n_predicted(version), engine.store.volumes.n_volumes()
    if not total:
        return ""
    here = f"its segmentations of {n} of {total} volumes are there and are shown at once"
    if n >= total:
        return f"; {here}"
    how = (
        "the others are" if engine.settings.prediction.policy == "always" else "`alscope predict --all` has the others"
    )
    return f"; {here}, {how} made, and what is shown of them stays until then"


def _model(engine: Engine, arguments: dict[str, Any]) -> str:
    version = str(arguments["version"])
    if engine.store.learning.model(version) is None:
        raise UsageError(f"there is no model {version!r}; `alscope models` lists them")
    return version


def _who(arguments: dict[str, Any]) -> str:
    return str(arguments.get("user", "")).strip() or "somebody"


VERBS = {"promote": promote, "rollback": rollback}
