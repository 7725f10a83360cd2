"""Figures of a report as matplotlib draws them: files for papers and talks, and drawings inside the page.

Colours are those of Okabe and Ito, which people with any colour vision can tell apart; shapes differ as well.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.report.content import Arm, Content, Point, Score
from alcore.report.points import Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

F1, DICE, PSEUDO = "#0072B2", "#D55E00", "#7f7f7f"
POOL = "#8a9099"
STYLE = {
    "suggested": ("o", "#E69F00"),
    "by chance": ("D", "#CC79A7"),
    "labelled": ("s", "#0072B2"),
    "held out": ("^", "#009E73"),
    "outlier": ("X", "#D55E00"),
    "newest": (".", "#56B4E9"),
}
"""Marker and colour of every mark of a patch; the page draws the same."""
ORDER = ("newest", "by chance", "outlier", "held out", "labelled", "suggested")
"""In which marks are drawn, the later ones above: what was drawn by chance shows as a rim."""
IN_PAGE = {"#000000": "currentColor", F1: "var(--blue)", DICE: "var(--vermilion)"}
"""What colours are in the page, where the ground may be dark."""
DPI = 150


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write <name>.png and <name>.svg, on white, without the date: equal figures are equal files."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(folder / f"{name}.png", dpi=DPI, metadata={"Software": "alscope"})
        figure.savefig(folder / f"{name}.svg", dpi=DPI, metadata={"Date": None, "Creator": "alscope"})


def drawing(figure: Figure, name: str, alt: str) -> str:
    """The figure as <svg> for a page: nothing behind it, and lines and words in the colour of the page's text."""
    import re
    from html import escape

    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": "alscope"})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)  # a page has several of them
    for colour, variable in IN_PAGE.items():
        svg = svg.replace(colour.lower(), variable)
    svg = svg.replace(
        "<svg ",
        f'<svg role="img" aria-label="{escape(alt)}" class="drawing" style="width: {96 * figure.get_figwidth():.0f}px" ',
        1,
    )
    return re.sub(r"<g id=\"text_\d+\">\s*<!--.*?-->", "<g>", svg, flags=re.DOTALL)


def new(width: float, height: float, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """An empty figure (inches) with so many axes side by side. Nothing of it is global: no window, no state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def learning_curve(content: Content) -> Figure:
    """Scores against the share of the pool that was labelled (as Fig. 3 of Zhao et al. 2025), with intervals, the pseudo-labels,
    and on the right the control arm where there is one."""
    figure, axes = new(10.4 if content.arms else 7.0, 4.2, 2 if content.arms else 1)
    axis = axes[0]
    for name, words, colour, marker in (("f1", "F1 at IoU 0.5", F1, "o"), ("dice", "Dice", DICE, "s")):
        _curve(axis, content, name, words, colour, marker)
    axis.set(xlabel="share of the pool labelled (%)", ylabel="score on held-out labels", ylim=(0, 1))
    axis.set_xlim(left=0 if content.base else None)
    axis.grid(alpha=0.25)
    figure.legend(*axis.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center", ncols=4)
    if content.arms:
        _arms(axes[1], content.arms)
    return figure


def _curve(axis: Axes, content: Content, name: str, words: str, colour: str, marker: str) -> None:
    points = content.curve
    most = max(100 * p.share for p in points)
    share = [
        100 * p.share + (0.006 if name == "dice" else -0.006) * most for p in points
    ]  # so that no interval hides another
    values: list[Score] = [getattr(p, name) for p in points]
    base = content.base[0 if name == "f1" else 1] if content.base else None
    line = (
        ([0.0, *share], [base, *(v.value for v in values)]) if base is not None else (share, [v.value for v in values])
    )
    axis.plot(*line, "-", color=colour, lw=1.4)
    if base is not None:
        axis.plot([0.0], [base], marker="*", ms=10, color=colour, ls="", clip_on=False, zorder=3)
    for x, point, value in zip(share, points, values, strict=True):
        fill = colour if point.promoted else "none"
        low = value.value if value.low is None else value.low
        high = value.value if value.high is None else value.high
        axis.errorbar(
            [x],
            [value.value],
            yerr=[[max(0.0, value.value - low)], [max(0.0, high - value.value)]],
            fmt=marker,
            ms=6,
            color=colour,
            mfc=fill,
            capsize=3,
            lw=1.2,
        )
    axis.plot([], [], marker + "-", color=colour, label=words)
    pseudo = [(x, getattr(p, f"pseudo_{name}")) for x, p in zip(share, points, strict=True)]
    known = [(x, y) for x, y in pseudo if y is not None]
    if known:
        axis.plot(
            *zip(*known, strict=True),
            marker="_",
            ls=":",
            lw=1.2,
            color=colour,
            alpha=0.8,
            label=f"{words}, pseudo-labels",
        )


def _arms(axis: Axes, arms: Sequence[Arm]) -> None:
    rounds = [a.round for a in arms]
    errors = [[a.difference - a.low for a in arms], [a.high - a.difference for a in arms]]
    axis.axhline(0, color=PSEUDO, lw=1, ls="--")
    axis.errorbar(rounds, [a.difference for a in arms], yerr=errors, fmt="o", color=F1, capsize=3, lw=1.4)
    axis.set(xlabel="round", ylabel=f"{arms[-1].metric}: selected minus by chance", title="Does choosing help?")
    axis.set_xticks(rounds)
    axis.set_xlim(min(rounds) - 0.5, max(rounds) + 0.5)
    axis.grid(alpha=0.25)


def latent_map(points: Points, method: str) -> Figure:
    """All patches, those with a mark above the others. The pool is drawn as pixels also in the SVG: it may be 100,000."""
    figure, (axis,) = new(7.4, 6.0)
    size = 14 if len(points) < 500 else 6 if len(points) < 5000 else 2
    xy = points.xy
    axis.scatter(
        xy[:, 0], xy[:, 1], s=size, c=POOL, alpha=0.5, lw=0, rasterized=True, label=f"patches ({len(points):,})"
    )
    for name in ORDER:
        at = points.marked(name)
        if len(at):
            marker, colour = STYLE[name]
            many = len(at) > 2000
            axis.scatter(
                xy[at, 0],
                xy[at, 1],
                s=2 * size if many else {"by chance": 75, "newest": 60}.get(name, 34),
                c=colour,
                marker=marker,
                lw=0 if many else 0.6,
                rasterized=many,
                label=f"{name} ({len(at):,})",
                edgecolors="none" if many else "white",
            )
    axis.set(xticks=[], yticks=[], xlabel=method, aspect="equal")
    axis.spines[:].set_visible(False)
    legend = axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_sizes([36])  # type: ignore[attr-defined]
    return figure


def gate_patches(rows: Sequence[tuple[str, dict[str, Any]]], panels: Sequence[str]) -> Figure:
    """Held-out patches, one per row: what each panel shows. rows: (name, {panel: RGB picture})."""
    figure, _ = new(2.3 * len(panels), 2.4 * len(rows) + 0.2)
    figure.clear()
    axes = figure.subplots(len(rows), len(panels), squeeze=False)
    for line, (name, pictures) in zip(axes, rows, strict=True):
        for axis, panel in zip(line, panels, strict=True):
            if panel in pictures:
                axis.imshow(pictures[panel], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontsize=8)
    for axis, panel in zip(axes[0], panels, strict=True):
        axis.set_title(panel, fontsize=9)
    return figure


def bars(words: Sequence[str], values: Sequence[float], label: str) -> Figure:
    """A bar for each of these, the first at the top."""
    figure, (axis,) = new(6.6, 0.6 + 0.3 * max(3, len(words)))
    axis.barh(list(words)[::-1], list(values)[::-1], color=F1, height=0.65)
    axis.set(xlabel=label)
    axis.grid(axis="x", alpha=0.25)
    return figure


def describe_curve(points: Sequence[Point]) -> str:
    """What the learning curve shows, in words, for those who cannot see it."""
    if not points:
        return "No round was scored yet."
    told = [f"round {p.round}, {p.share:.1%} labelled: F1 {p.f1.value:.2f}, Dice {p.dice.value:.2f}" for p in points]
    return "Learning curve. " + "; ".join(told)
