"""Where a pseudo-labeller fails, as pictures: the image, the truth, what was found, what was missed and what is wrong.

They show the data, so they go to a folder that the command line names, and are never committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.pseudo.compare import draw

Labels = npt.NDArray[Any]
IOU = 0.5


def without_partner(labels: Labels, others: Labels) -> Labels:
    """`labels` (Z, Y, X, 0 = background) with only the objects that share no more than half of their union with any of
    `others`."""
    a, b = labels.ravel().astype(np.int64), others.ravel().astype(np.int64)
    sizes, of_others = np.bincount(a), np.bincount(b)
    both = (a > 0) & (b > 0)
    keys, common = np.unique(a[both] * len(of_others) + b[both], return_counts=True)
    mine, theirs = np.divmod(keys, len(of_others))
    matched = mine[common > IOU * (sizes[mine] + of_others[theirs] - common)]
    return np.where(np.isin(labels, matched), 0, labels)


def write(folder: Path, name: str, image: npt.NDArray[Any], truth: Labels, found: Labels) -> Path:
    """`folder`/`name`.png: image (Z, Y, X), truth, found, missed, wrong, on the slice with most that was missed or is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    missed, wrong = without_partner(truth, found), without_partner(found, truth)
    n_failures = [len(np.unique(m)) + len(np.unique(w)) for m, w in zip(missed, wrong, strict=True)]
    path = folder / f"{name}.png"
    draw(path, image[None], [np.zeros_like(truth), truth, found, missed, wrong], int(np.argmax(n_failures)))
    return path
