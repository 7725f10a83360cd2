"""The gate that every encoder passes before it may select: does it know a slice again, and does it tell slices apart?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alcore.encoder import nuisance
from alcore.encoder.nuisance import Images

Embed = Callable[[Images], NDArray[np.float32]]

WANTED_SLICES = 32
"""The test wants at least so many different slices."""

MOST_SLICES = 128
"""... and takes no more than about so many."""

MIN_SELF_RETRIEVAL = 0.9
MIN_EFFECTIVE_RANK = 3.0
MAX_MEAN_COSINE = 0.5
MAX_ORDER_DIFFERENCE = 1e-3
MIN_QUERIES = 8

MIN_CONTRAST = 0.1
"""A slice whose 4 x 4 px means vary less than this (volume's standard deviation = 1) is blank: blank ones all look alike."""


@dataclass(frozen=True)
class SelfTest:
    """What was measured, and why it does not suffice (`failures`, empty when the encoder may be used).

    self_retrieval: share of changed slices (noise, gain and mirroring at once, see `nuisance`) whose nearest neighbour among the unchanged
    ones is their own original; `noise`, `gain` and `flip` are the same with one change alone.
    effective_rank: exp of the entropy of the singular values of the centred embeddings (Roy & Vetterli, 2007).
    mean_cosine: mean cosine between different slices; near 1 the encoder has collapsed.
    order_difference: largest change of any coordinate when the slices are embedded again, in another order and one by one.
    """

    n_slices: int
    n_queries: int
    self_retrieval: float
    noise: float
    gain: float
    flip: float
    effective_rank: float
    mean_cosine: float
    order_difference: float

    @property
    def failures(self) -> list[str]:
        """One sentence per threshold missed."""
        if self.n_queries < MIN_QUERIES:
            return [
                f"only {self.n_queries} different slices with contrast to test on, at least {MIN_QUERIES} are needed"
            ]
        found = []
        if not self.self_retrieval >= MIN_SELF_RETRIEVAL:
            found.append(f"self-retrieval {self.self_retrieval:.3f} is below {MIN_SELF_RETRIEVAL}")
        if not self.effective_rank >= MIN_EFFECTIVE_RANK:
            found.append(f"effective rank {self.effective_rank:.2f} is below {MIN_EFFECTIVE_RANK}")
        if not self.mean_cosine <= MAX_MEAN_COSINE:
            found.append(f"mean cosine between slices {self.mean_cosine:.3f} is above {MAX_MEAN_COSINE} (collapse)")
        if not self.order_difference <= MAX_ORDER_DIFFERENCE:
            found.append(
                f"embeddings change by {self.order_difference:.2g} when slices are embedded again in another order, "
                f"more than {MAX_ORDER_DIFFERENCE}"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, thresholds included."""
        return {
            **asdict(self),
            "thresholds": {
                "self_retrieval": MIN_SELF_RETRIEVAL,
                "effective_rank": MIN_EFFECTIVE_RANK,
                "mean_cosine": MAX_MEAN_COSINE,
                "order_difference": MAX_ORDER_DIFFERENCE,
                "n_queries": MIN_QUERIES,
            },
            "failures": self.failures,
        }


def measure(embed: Embed, images: Images, rng: np.random.Generator) -> SelfTest:
    """Put `embed` ((N, C, H, W) float32 -> unit vectors (N, D)) to the test on normalised images of different slices."""
    images = _distinct(images)
    queries = np.flatnonzero(_contrast(images) >= MIN_CONTRAST)
    if len(queries) < MIN_QUERIES:
        return SelfTest(len(images), len(queries), *[0.0] * 7)
    clean = embed(images)
    asked = images[queries]
    noise, gain = nuisance.noise(asked, rng), nuisance.gain(asked, rng)
    mirrored = nuisance.mirrored(asked, rng)

    def recall(changed: Images) -> float:
        return float((np.argmax(embed(changed) @ clean.T, axis=1) == queries).mean())

    return SelfTest(
        n_slices=len(images),
        n_queries=len(queries),
        self_retrieval=recall(mirrored * gain + noise),
        noise=recall(asked + noise),
        gain=recall(asked * gain),
        flip=recall(mirrored),
        effective_rank=effective_rank(clean),
        mean_cosine=_mean_cosine(clean),
        order_difference=_order_difference(embed, images, clean, rng),
    )


def effective_rank(vectors: NDArray[np.float32]) -> float:
    """exp of the Shannon entropy of the normalised singular values of the centred (N, D) vectors; 1 when all are equal."""
    values = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False).astype(np.float64)
    if not values.sum() > 0:
        return 1.0
    p = values / values.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def _mean_cosine(vectors: NDArray[np.float32]) -> float:
    """Mean over all ordered pairs of different rows, from the length of the sum."""
    n = len(vectors)
    total = vectors.astype(np.float64).sum(axis=0)
    return float((total @ total - n) / (n * (n - 1)))


def _order_difference(embed: Embed, images: Images, clean: NDArray[np.float32], rng: np.random.Generator) -> float:
    order = rng.permutation(len(images))
    again = np.abs(embed(images[order]) - clean[order]).max()
    alone = max(np.abs(embed(images[i : i + 1])[0] - clean[i]).max() for i in order[:4])
    return float(max(again, alone))


def _distinct(images: Images) -> Images:
    """The images without exact duplicates, in order."""
    return np.stack(list({i.tobytes(): i for i in images}.values()))


def _contrast(images: Images) -> NDArray[np.float32]:
    """Standard deviation of 4 x 4 px means, the largest over channels, (N,)."""
    n, c, h, w = images.shape
    means = images[:, :, : h // 4 * 4, : w // 4 * 4].reshape(n, c, h // 4, 4, w // 4, 4).mean(axis=(3, 5))
    result: NDArray[np.float32] = means.std(axis=(2, 3)).max(axis=1)
    return result
