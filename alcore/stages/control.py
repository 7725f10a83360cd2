"""Stage control: does selection help on this lab's data? Labels that selection chose against labels drawn at random."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import PermanentError, Preempted
from alcore.stage import Context, Input, Inputs, Params, Stage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LEAST_LABELS = 5
"""Fewest labels in an arm: with fewer, the interval would say how lucky a few patches were."""
LEAST_GATE = 3
"""Fewest gate labels."""
PER_LABEL = 400
"""Voxels of a label that a learner may be fitted on."""
REPEATS = 24
"""Pairs of learners, each fitted on a new draw of both arms' labels."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Compare the fast learner on labels of both arms, scored on the gate. Writes nothing: the result is all there is.

    Input: label[] (label artifacts). params: selected, control, gate (lists of indices into label, disjoint), seed. In each of
    `REPEATS` pairs one learner is fitted on n labels of each arm, n = those of the smaller arm, drawn with replacement.
    Returns n, n_gate, selected and control (Dice over all gate labels, mean of the repeats), difference, low, high (95 %
    interval of the difference: see `alcore.fastlearner.comparison`), metric and words, one sentence for people. The numbers
    are null when labels are missing, and words says how many. Raises PermanentError for indices that cannot be.
    """
    import numpy as np

    from alcore.fastlearner import comparison, learner
    from alcore.fastlearner.training_set import Labelled, sample

    labels = inputs["label"]
    arms = {name: _indices(params, name, len(labels)) for name in ("selected", "control", "gate")}
    twice = sorted(i for i, n in _counts(arms).items() if n > 1)
    if twice:
        raise PermanentError(f"params selected, control and gate share the labels {twice}; each must be in one of them")
    n, n_gate = min(len(arms["selected"]), len(arms["control"])), len(arms["gate"])
    result = {"n": n, "n_gate": n_gate, "metric": "Dice"}
    missing = _missing(arms)
    if missing:
        nothing = dict.fromkeys(("selected", "control", "difference", "low", "high"))
        return {**result, **nothing, "words": f"Whether selection helps cannot be told yet: {missing}."}

    def tick(share: float, note: str) -> None:
        if ctx.should_stop():
            raise Preempted("the comparison of the arms stopped; it starts again")
        ctx.progress(share, note)

    seed = int(params["seed"])

    def arm(name: str, share: float) -> list[Labelled]:
        kept = []
        for number, i in enumerate(arms[name]):
            tick(share + 0.1 * number / len(arms[name]), f"reading label {number + 1} of {len(arms[name])} ({name})")
            image, truth, seen = _loaded(labels[i])
            kept.append(sample(image, truth, PER_LABEL, np.random.default_rng([seed, number]), seen))
        return kept

    selected, control = arm("selected", 0.0), arm("control", 0.1)
    pairs = []
    for repeat, (ours, theirs) in enumerate(comparison.draws(len(selected), len(control), n, REPEATS, seed)):
        tick(0.2 + 0.3 * repeat / REPEATS, f"learning {repeat + 1} of {REPEATS}")
        pairs.append(
            (
                learner.fit([selected[i] for i in ours], seed + repeat),
                learner.fit([control[i] for i in theirs], seed + repeat),
            )
        )
    overlaps = []
    for number, i in enumerate(arms["gate"]):
        tick(0.5 + 0.5 * number / n_gate, f"scoring gate label {number + 1} of {n_gate}")
        image, truth, seen = _loaded(labels[i])
        overlaps.append(comparison.overlaps(pairs, image, truth, seen))
    found = comparison.compare(overlaps, seed)
    return {**result, **found.to_json(), "words": _words(found, n, n_gate)}


def _loaded(
    label: Input,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.generic], npt.NDArray[np.bool_] | None]:
    """Of a label artifact, on the working grid of the fast learner: features (F, Z, Y, X), true instances (Z, Y, X), and
    the voxels (Z, Y, X) that the expert looked at (None: all).

    Raises PermanentError, naming the folder, when image and label do not fit together.
    """
    from alcore.arrays import normalise
    from alcore.fastlearner.training_set import coarse_labels, filtered, working_factor
    from alcore.nnunet import sources

    image, stats, voxel_um = sources.label_image(label.path)
    truth = sources.label_mask(label.path)
    if truth.shape != image.shape[1:]:
        raise PermanentError(
            f"{label.path}: the label has shape {truth.shape}, its image {image.shape[1:]}; accept the label again"
        )
    factor = working_factor(voxel_um, (image.shape[2], image.shape[3]))
    seen = sources.label_seen(label.path)
    features = filtered(normalise.fixed(image, stats), voxel_um, factor)
    return features, coarse_labels(truth, factor), None if seen is None else coarse_labels(seen, factor).astype(bool)


def _indices(params: Params, name: str, n_labels: int) -> list[int]:
    """The list `name` of the params. Raises PermanentError, naming it, for indices outside the labels."""
    indices = [int(i) for i in params[name]]
    bad = [i for i in indices if not 0 <= i < n_labels]
    if bad:
        raise PermanentError(f"params {name} names the labels {bad}, but there are {n_labels} (0 to {n_labels - 1})")
    return indices


def _counts(arms: dict[str, list[int]]) -> dict[int, int]:
    from collections import Counter

    return Counter(i for indices in arms.values() for i in indices)


def _missing(arms: dict[str, list[int]]) -> str:
    """What has to be labelled first, in words; empty when there is enough."""
    wanted = {
        "labels of selected patches": LEAST_LABELS - len(arms["selected"]),
        "labels of randomly drawn patches": LEAST_LABELS - len(arms["control"]),
        "gate labels": LEAST_GATE - len(arms["gate"]),
    }
    parts = [f"{n} more {what if n > 1 else what.replace('labels', 'label')}" for what, n in wanted.items() if n > 0]
    if not parts:
        return ""
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"{listed} {'is' if len(parts) == 1 and listed.startswith('1 ') else 'are'} needed"


def _words(found: Any, n: int, n_gate: int) -> str:
    """One sentence: which arm taught more, or that nobody can tell."""
    figures = (
        f"Dice {found.selected:.3f} with {n} selected labels, {found.control:.3f} with {n} drawn at random, difference "
        f"{found.difference:+.3f} (95 % interval {found.low:+.3f} to {found.high:+.3f}, {n_gate} gate labels)"
    )
    if found.low > 0:
        return f"Selection helps: {figures}."
    if found.high < 0:
        return f"Selection harms: {figures}."
    return f"No difference between selection and chance can be shown: {figures}."


STAGE = Stage("control", 2, run, long=True)
