"""Which backend labels new volumes when a person leaves that open: a pure decision with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ON_GPU_ONLY = {
    "cellsam": "it takes minutes for each picture on a CPU",
    "micro_sam": "it takes a minute for each picture on a CPU",
}
"""Backends that are no help for a stream of volumes without a GPU."""
PREFERENCE = ("micro_sam", "cellsam")
"""Order among those of which nothing is measured. micro_sam first: for microscopes of all kinds, and free to use."""
MARGIN = 0.02
"""F1 that the promoted model must be better by: it must not learn from its own mistakes for nothing."""
LEAST_LABELS = 3
"""Held-out patches that a measured score must rest on."""


@dataclass(frozen=True)
class Measured:
    """How the pseudo-labels of one backend did: F1 on n held-out patches, and that of the promoted model on the same patches
    (None: it was not scored on them)."""

    f1: float
    n: int
    model: float | None = None


@dataclass(frozen=True)
class Situation:
    """What is known. missing: packages that each backend lacks. weights: name of the weights that are here, by backend.

    device: "cpu" or "cuda". promoted: version of the promoted model, None without one. measured: by backend, where patches
    that it pseudo-labelled are held out; those that a model pseudo-labelled (nnunet) decide nothing: another model did.
    """

    missing: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, str]
    device: str
    promoted: str | None = None
    measured: Mapping[str, Measured] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """backend, the weights it uses ("" = none), and why, in one sentence. passed_over: what else there is, and why not it."""

    backend: str
    weights: str
    why: str
    passed_over: tuple[str, ...] = ()


def choose(now: Situation) -> Choice:
    """The best backend that can run here.

    The promoted model, if it is better than every other was on the same held-out patches, and these are enough; else what has
    the best measured score; else the first of micro_sam and CellSAM that is installed, has weights and a GPU; else the
    threshold. A backend that was measured and cannot run here now counts only where no other was.
    """
    usable, passed = ["threshold"], []
    for name in PREFERENCE:
        why = _hindrance(name, now)
        if why:
            passed.append(f"{name}: {why}")
        else:
            usable.append(name)
    enough = {n: m for n, m in now.measured.items() if n != "nnunet" and m.n >= LEAST_LABELS}
    measured = {n: enough[n] for n in usable if n in enough}
    if now.promoted is not None and (rival := _closest_rival(measured or enough)):
        lead, name, m = rival
        told = f"F1 {m.f1 + lead:.2f} against {m.f1:.2f} of {name} on {m.n} held-out labels"
        if lead > MARGIN:
            return Choice("nnunet", now.promoted, told, tuple(passed))
        passed.insert(0, f"{now.promoted} is not better by {MARGIN:g}: {told}")
    if len(measured) > 1:
        best = max(measured, key=lambda n: (measured[n].f1, -usable.index(n)))
        others = ", ".join(f"{n} {m.f1:.2f} on {m.n}" for n, m in measured.items() if n != best)
        why = f"best F1: {measured[best].f1:.2f} on {measured[best].n} held-out labels ({others})"
        return Choice(best, now.weights.get(best, ""), why, tuple(passed))
    if len(usable) > 1:
        name = usable[1]
        return Choice(
            name,
            now.weights[name],
            f"installed, weights {now.weights[name]} are here, and there is a GPU",
            tuple(passed),
        )
    return Choice("threshold", "", "needs no weights; " + "; ".join(passed), tuple(passed))


def _closest_rival(measured: Mapping[str, Measured]) -> tuple[float, str, Measured] | None:
    """(lead of the model over it, name, its scores) of the backend that comes closest to the promoted model."""
    leads = [(m.model - m.f1, n, m) for n, m in measured.items() if m.model is not None]
    return min(leads, key=lambda found: found[:2], default=None)


def _hindrance(name: str, now: Situation) -> str:
    """Why a backend cannot run here, or ""."""
    if now.missing.get(name):
        return f"{', '.join(now.missing[name])} not installed"
    if name not in now.weights:
        return "no weights here (`alscope models fetch`)"
    if now.device == "cpu":
        return ON_GPU_ONLY[name]
    return ""
