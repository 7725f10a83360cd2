"""What the pictures of a run share: colours for light and dark pages, and files that are the same bytes every time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#1f2933", "#8b96a1"
"""Of text and of rules. INK becomes the page's own colour where the picture stands in a page."""
MARKED = {"coreset": "#d4622a", "random": "#7d8894", "oracle": "#2f9e77"}
DEFAULT = "#2b7fc3"
OTHERS = ("#a06cc7", "#b8892b", "#c9629a", "#2a9db0", "#8a7a5c", "#6f86d6", "#7fa23c", "#b5655c")
"""Of strategies beside the default and those marked; each stands out from white and from near-black (contrast at least 3)."""
DPI = 160


def colours(strategies: list[str], default: str) -> dict[str, str]:
    """A colour for each strategy, the same whatever else was played, as long as there are not more than there are colours."""
    rest = [name for name in sorted(strategies) if name != default and name not in MARKED]
    found = {name: OTHERS[n % len(OTHERS)] for n, name in enumerate(rest)}
    return {**found, **{n: MARKED[n] for n in strategies if n in MARKED}, default: DEFAULT}


@contextmanager
def style() -> Iterator[None]:
    """The house's figures: own fonts only, text as text in SVG, ids that do not change from run to run."""
    import matplotlib

    settings = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "svg.hashsalt": "alscope",
        "svg.fonttype": "none",
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "axes.titlecolor": INK,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "grid.color": FAINT,
        "grid.alpha": 0.25,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that no screen and no window knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png(figure: Figure) -> bytes:
    """White behind it, nothing in it that says when or by what it was made."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return out.getvalue()


def svg(figure: Figure) -> str:
    """The same as a drawing."""
    out = io.StringIO()
    figure.savefig(out, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def inline_svg(text: str, name: str, alt: str) -> str:
    """A drawing for a page: no white behind it, text in the page's colour, ids of its own, and words for those who do not see it."""
    body = text[text.index("<svg") :]
    body = re.sub(r'<g id="patch_1">.*?</g>', "", body, count=1, flags=re.DOTALL)  # the figure's own background
    body = body.replace(INK, "currentColor")
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", body)
    body = re.sub(r'<svg ([^>]*?)width="[^"]*pt" height="[^"]*pt"', r"<svg \1", body, count=1)
    body = re.sub(r'<svg ([^>]*?)\s*height="[^"]*pt"', r"<svg \1", body, count=1)
    body = re.sub(r'<svg ([^>]*?)\s*width="[^"]*pt"', r"<svg \1", body, count=1)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL)
    return body.replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)


def per_cent_axis(axis: Axes, places: list[float], labels: list[str]) -> None:
    """Ticks of the horizontal axis at these places, and nowhere else."""
    axis.set_xticks(places, labels)
    axis.minorticks_off()
