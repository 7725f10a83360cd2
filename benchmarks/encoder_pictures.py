"""What an encoder holds for alike, in two pictures. `python -m benchmarks.encoder_pictures FOLDER [--pool sbem] [--encoder descriptor]`.

neighbours.png: queries, each with its five nearest patches (middle slices), overlapping and touching ones left out.
latent.png: the embeddings in a plane (t-SNE), each patch as large as its share of true foreground, with the core-set's picks in
their order, as in figure 4 of Zhao et al. The pool is one of `benchmarks.labelled_pools`, or "synthetic", which needs no data and
whose pictures may be shown to anybody. FOLDER is made; pictures of data that is not ours do not belong into the repository.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from alcore.arrays.coreset import farthest_first
from alcore.arrays.synthetic import em_volume
from alcore.simulation.pool import Workshop
from alcore.types import Box
from benchmarks.labelled_pools import IMAGES, Image, data_folder, pool_of
from benchmarks.pool_embeddings import ENCODERS, params

NEAREST = 5
QUERIES = 6
SYNTHETIC = Image("synthetic", (8, 96, 96), (0.04, 0.01, 0.01), 2, 0.125, 48)
LIGHT, DARK, ACCENT = "#b9c4cf", "#1f2933", "#d1495b"


@dataclass(frozen=True)
class Seen:
    """A pool as the pictures need it: voxels (Z, Y, X) normalised, patches, unit vectors (N, D), true foreground (N,)."""

    image: npt.NDArray[np.float32]
    boxes: list[Box]
    vectors: npt.NDArray[np.float32]
    foreground: npt.NDArray[np.float64]

    def thumbnail(self, row: int) -> npt.NDArray[np.float32]:
        """Middle slice of a patch."""
        box = self.boxes[row]
        (_, y, x), (d, h, w) = box.start, box.shape
        return self.image[box.start[0] + d // 2, y : y + h, x : x + w]

    def nearest(self, row: int) -> npt.NDArray[np.intp]:
        """The `NEAREST` patches most like this one, of those that do not touch it in the plane."""
        similarity = self.vectors @ self.vectors[row]
        here = self.boxes[row]
        for other, box in enumerate(self.boxes):
            gaps = [abs(box.start[a] - here.start[a]) - here.shape[a] for a in (1, 2)]
            if max(gaps) <= 0:
                similarity[other] = -np.inf
        return np.argsort(-similarity, kind="stable")[:NEAREST]


def queries(seen: Seen) -> list[int]:
    """Patches from the least to the most foreground, evenly by rank."""
    order = np.argsort(seen.foreground, kind="stable")
    return [int(order[round(q * (len(order) - 1))]) for q in np.linspace(0.0, 1.0, QUERIES)]


def neighbours(seen: Seen, path: Path, title: str) -> None:
    """One row per query: it, and its nearest patches with cosine similarity and true foreground."""
    figure = Figure(figsize=(1.6 * (NEAREST + 1), 1.85 * QUERIES + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=10, color=DARK)
    axes = figure.subplots(QUERIES, NEAREST + 1)
    for line, query in zip(axes, queries(seen), strict=True):
        for axis, row in zip(line, [query, *seen.nearest(query)], strict=True):
            axis.imshow(seen.thumbnail(int(row)), cmap="gray", vmin=-2.5, vmax=2.5, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            like = "query" if row == query else f"cos {seen.vectors[row] @ seen.vectors[query]:.2f}"
            axis.set_title(f"{like}, {100 * seen.foreground[row]:.0f} % fg", fontsize=7, color=DARK, pad=2)
            for spine in axis.spines.values():
                spine.set(color=ACCENT if row == query else LIGHT, linewidth=2.0 if row == query else 0.5)
    figure.savefig(path, dpi=110)


def latent(seen: Seen, path: Path, title: str, n_picks: int) -> None:
    """All patches in a plane, the core-set's picks numbered in their order."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(seen.vectors) - 1) / 3)
    plane = TSNE(metric="cosine", init="random", perplexity=perplexity, random_state=0).fit_transform(seen.vectors)
    picks = farthest_first(seen.vectors, n_picks, [], np.random.default_rng(0))
    rows = [pick.position for pick in picks]
    figure = Figure(figsize=(7, 6), layout="constrained")
    axis = figure.subplots()
    size = 8 + 160 * seen.foreground / max(seen.foreground.max(), 1e-9)
    shown = axis.scatter(*plane.T, s=size, c=100 * seen.foreground, cmap="viridis", alpha=0.85, linewidths=0)
    axis.scatter(*plane[rows].T, s=150, facecolors="none", edgecolors=ACCENT, linewidths=1.4, label="core-set")
    for number, row in enumerate(rows, 1):
        axis.annotate(str(number), plane[row], (7, 7), textcoords="offset points", fontsize=8, color=DARK)
    axis.set(xticks=[], yticks=[], title=title)
    axis.legend(loc="lower right", frameon=False, fontsize=8)
    figure.colorbar(shown, ax=axis, label="true foreground, % of voxels", shrink=0.7)
    figure.savefig(path, dpi=110)


def synthetic(folder: Path) -> Path:
    """The folder of data in which the synthetic image is made, once."""
    import tifffile

    place = folder / "data" / SYNTHETIC.name
    if not (place / "labels.tif").exists():
        place.mkdir(parents=True, exist_ok=True)
        image, labels = em_volume((24, 768, 768), SYNTHETIC.voxel_um, np.random.default_rng(5))
        for file, array in (("image.tif", image), ("labels.tif", labels)):
            tifffile.imwrite(place / file, array, photometric="minisblack", metadata={"axes": "ZYX"})
    return folder / "data"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pool", default="sbem", choices=["synthetic", *IMAGES])
    parser.add_argument("--encoder", default="descriptor", choices=ENCODERS)
    parser.add_argument("--picks", type=int, default=16)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    made = given.pool == "synthetic"
    image, data = (SYNTHETIC, synthetic(given.folder)) if made else (IMAGES[given.pool], data_folder())
    pool = pool_of(image, Workshop(given.folder / "cache"), data, encoder=params(given.encoder))
    truth = pool.true_traits["foreground"].astype(np.float64)
    seen = Seen(pool.voxels[0], pool.boxes, pool.embeddings, truth)
    name = f"{given.pool}, {given.encoder}"
    neighbours(seen, given.folder / "neighbours.png", f"Queries and their five nearest patches: {name}")
    latent(seen, given.folder / "latent.png", f"{len(seen.boxes)} patches: {name}", given.picks)
    print(f"{given.folder / 'neighbours.png'}\n{given.folder / 'latent.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
