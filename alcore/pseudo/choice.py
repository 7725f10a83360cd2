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
"""Accepted patches that a measured score must rest on."""


@dataclass(frozen=True)
class Situation:
    """What is known. missing: packages that each backend lacks. weights: name of the weights that are here, by backend.

    device: "cpu" or "cuda". promoted: version of the promoted model, None without one. scores: F1 on accepted labels by
    backend, n_labels: patches these rest on. set_weights: weights that a person asked for, which then decide the backend.
    """

    missing: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, str]
    device: str
    promoted: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    n_labels: int = 0


@dataclass(frozen=True)
class Choice:
    """backend, the weights it uses ("" = none), and why, in one sentence. passed_over: what else there is, and why not it."""

    backend: str
    weights: str
    why: str
    passed_over: tuple[str, ...] = ()


def choose(now: Situation) -> Choice:
    """The best backend that can run here.

    The promoted model, if it is better than every other on enough accepted labels; else what has the best measured score;
    else the first of micro_sam and CellSAM that is installed, has weights and a GPU; else the threshold.
    """
    usable, passed = ["threshold"], []
    for name in PREFERENCE:
        why = _hindrance(name, now)
        if why:
            passed.append(f"{name}: {why}")
        else:
            usable.append(name)
    measured = {n: now.scores[n] for n in usable if n in now.scores} if now.n_labels >= LEAST_LABELS else {}
    of_model = now.scores.get("nnunet") if now.n_labels >= LEAST_LABELS else None
    if now.promoted is not None and of_model is not None and measured:
        best = max(measured, key=lambda n: measured[n])
        told = f"F1 {of_model:.2f} against {measured[best]:.2f} of {best} on {now.n_labels} accepted labels"
        if of_model > measured[best] + MARGIN:
            return Choice(
                "nnunet", now.promoted, f"model {now.promoted} is better than what came before: {told}", tuple(passed)
            )
        passed.append(f"nnunet: not better by {MARGIN:g}: {told}")
    if len(measured) > 1:
        best = max(measured, key=lambda n: (measured[n], -usable.index(n)))
        others = ", ".join(f"{n} {f1:.2f}" for n, f1 in measured.items() if n != best)
        why = f"best F1 on {now.n_labels} accepted labels: {measured[best]:.2f} ({others})"
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


def _hindrance(name: str, now: Situation) -> str:
    """Why a backend cannot run here, or ""."""
    if now.missing.get(name):
        return f"{', '.join(now.missing[name])} not installed"
    if name not in now.weights:
        return "no weights here (`alscope models fetch`)"
    if now.device == "cpu":
        return ON_GPU_ONLY[name]
    return ""
