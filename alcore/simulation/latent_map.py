"""The latent map with the picks (Fig. 4 of the paper): where in the space of the embeddings each strategy asks for labels."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alcore.artifact import write_atomic
from alcore.simulation import drawing
from alcore.simulation.latent import Latent, Pick, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

SHOWN = 16
"""First picks of a strategy that are shown."""
PANELS = 3


def curves_shown(picks: Sequence[Pick], pool: str, wanted: Sequence[str]) -> list[Pick]:
    """The first pick of each strategy of `wanted` that was played, on the pool's first region with its first seed; at most
    `PANELS`, all of the same learner and start."""
    there = [pick for pick in picks if pick.pool == pool]
    if not there:
        return []
    first = min(there, key=lambda p: (p.split, p.seed, p.learner, -p.pretrained))
    run = (first.split, first.seed, first.learner, first.pretrained)
    same = {p.strategy: p for p in sorted(there, reverse=True) if (p.split, p.seed, p.learner, p.pretrained) == run}
    return [same[name] for name in wanted if name in same][:PANELS]


def draw(
    latent: Latent, picks: Sequence[Pick], shown: Sequence[Pick], default: str, kept: Path | None = None
) -> tuple[Figure, str]:
    """(figure, name of the map): a panel per curve of `shown`, all on the same map.

    A patch is a dot, darker and larger with its true foreground, or a cross where it lies in the test region; rings and numbers are
    the first picks in their order. kept: see `places_of`.
    """
    places, method = places_of(latent, kept)
    colour = drawing.colours([pick.strategy for pick in shown], default)
    with drawing.style():
        made = drawing.new_figure(3.5 * len(shown) + 0.7, 4.0)
        axes = made.subplots(1, len(shown), squeeze=False, sharex=True, sharey=True)[0]
        drawn: PathCollection | None = None
        for axis, pick in zip(axes, shown, strict=True):
            drawn = _patches(axis, latent, places, pick.split)
            rows = ordered(picks, pick)[:SHOWN]
            _rings(axis, places, rows, colour[pick.strategy])
            share = 100 * latent.foreground[rows].mean()
            axis.set_title(f"{pick.strategy}: {share:.0f} % foreground in its picks")
            axis.set(xticks=[], yticks=[])
            for side in ("left", "bottom"):
                axis.spines[side].set_visible(False)
        assert drawn is not None
        bar = made.colorbar(drawn, ax=list(axes), shrink=0.7, pad=0.01)
        bar.set_label("true foreground, % of voxels")
        bar.outline.set_visible(False)
        return made, method


def places_of(latent: Latent, kept: Path | None = None) -> tuple[npt.NDArray[np.float64], str]:
    """((N, 2) places of the patches in a plane, how they were found), see `alcore.latent.project`.

    kept: a file that holds them, taken where it is of the same embeddings and made otherwise: a page is drawn again and again
    while a simulation is played.
    """
    digest = hashlib.sha256(np.ascontiguousarray(latent.vectors).tobytes()).hexdigest()
    if kept is not None and kept.exists():
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(kept) as file:
            if str(file["digest"]) == digest:
                return file["places"], str(file["method"])
    from alcore.latent import project

    found = project(latent.vectors, seed=0)
    places = found.xy.astype(np.float64)
    if kept is not None:
        out = io.BytesIO()
        np.savez(out, digest=digest, places=places, method=found.method)
        write_atomic(kept, out.getvalue())
    return places, found.method


def caption(latent: Latent, shown: Sequence[Pick], method: str) -> str:
    """What the picture shows, in words."""
    first = shown[0]
    return (
        f"Patches of {latent.pool} by their embeddings ({method}; near means alike), and the first {SHOWN} that each strategy asks "
        f"for, numbered in their order (test region {first.split}, seed {first.seed}). Crosses lie in the test region and cannot be "
        "chosen; neither can those within a patch of it."
    )


def _patches(axis: Axes, latent: Latent, places: np.ndarray, split: int) -> PathCollection:
    tested = latent.tested(split)
    share = 100 * latent.foreground
    most = max(float(share.max()), 1e-9)
    axis.scatter(places[tested, 0], places[tested, 1], s=9, marker="x", c=drawing.FAINT, lw=0.6, alpha=0.6)
    free = places[~tested]
    size = 7 + 55 * share[~tested] / most
    return axis.scatter(
        free[:, 0], free[:, 1], s=size, c=share[~tested], cmap=_shades(), vmin=0, vmax=most, alpha=0.8, lw=0
    )


def _rings(axis: Axes, places: np.ndarray, rows: Sequence[int], colour: str) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.2, foreground="white")]
    axis.scatter(places[rows, 0], places[rows, 1], s=95, facecolors="none", edgecolors=colour, lw=1.8, zorder=3)
    for number, row in enumerate(rows, 1):
        where: dict[str, Any] = {"xytext": (5.5, 4.5), "textcoords": "offset points", "zorder": 4, "path_effects": halo}
        axis.annotate(str(number), places[row], fontsize=7.5, weight="bold", color=colour, **where)


def _shades() -> Colormap:
    """Light green to violet: viridis without the yellow that white swallows."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.82, 0.05, 256)))
