"""Strategy uncertainty: what the current model is unsure of, by predicted class, with noise that decays.

Source: ClaSP PE (Lüth, Traub, Kahl et al. 2026, TMLR, "Finally Outshining the Random Baseline"): predictive entropy, queries
stratified by class, power noise on the log scale with a decaying schedule. The noise is that of Kirsch et al. 2023 (TMLR,
"Stochastic Batch Acquisition"), Sec. 3: log score + Gumbel(0, 1/beta), which draws in proportion to score^beta. The
schedule is ours: beta counts the labels behind the model, because rounds have no fixed size here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import numpy as np
import numpy.typing as npt

from alcore.selection.content import known_figures
from alcore.selection.port import Choice, Mask, Pool, Request
from alcore.selection.spread import Room
from alcore.selection.uniform import uniform
from alcore.types import PoolPosition

STRATA = (("entropy_fg", "objects"), ("entropy_bg", "background"))
"""One pick from each in turn: mean entropy over the voxels that the model calls foreground, and background."""
LABELS_PER_POWER = 8
"""beta is 1 with the first labels and grows by 1 with so many more: less and less noise."""
LEAST = 1e-6
"""A patch without any uncertainty keeps a chance."""


def uncertainty(pool: Pool, request: Request, room: Room, rng: np.random.Generator) -> Iterator[Choice]:
    """A Strategy. Patches without a prediction come last, at random: all of them before the first gated model."""
    beta = power(request.n_gated)
    noisy = [(noisy_log(pool.trait(name), beta, rng), name, words) for name, words in STRATA]
    usable = request.n_gated > 0
    for score, name, words in cycle(noisy):
        best = _best(score, room.free) if usable else None
        if best is None:
            if not usable or all(_best(other, room.free) is None for other, *_ in noisy):
                yield from uniform(pool, request, room, rng)
                return
            continue
        entropy = float(pool.figure(name, best))
        yield Choice(
            PoolPosition(best),
            "selected",
            f"the current model is unsure here: {entropy:.0%} of the largest possible uncertainty where it sees {words}",
            known_figures(pool, best) | {"score": entropy, "uncertainty": entropy, "power": beta},
        )


def power(n_gated: int) -> float:
    """beta for a model that learnt from so many labels."""
    return 1 + n_gated / LABELS_PER_POWER


def noisy_log(entropy: npt.NDArray[np.float32], beta: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(N,) log entropy + Gumbel(0, 1/beta); NaN where the entropy is."""
    found: npt.NDArray[np.float64] = np.log(np.maximum(entropy.astype(np.float64), LEAST)) + rng.gumbel(
        0, 1 / beta, len(entropy)
    )
    return np.where(np.isfinite(entropy), found, np.nan)


def _best(score: npt.NDArray[np.float64], free: Mask) -> int | None:
    """The free position with the highest known score."""
    usable = np.where(free & np.isfinite(score), score, -np.inf)
    best = int(usable.argmax())
    return best if np.isfinite(usable[best]) else None
