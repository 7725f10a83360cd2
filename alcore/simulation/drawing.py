"""What the pictures of a run share: colours for light and dark pages, and files that are the same bytes every time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

    settings: dict[Any, Any] = {
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


def svg(figure: Figure, clear: bool = False) -> str:
    """The same as a drawing; clear: with nothing behind it."""
    out = io.StringIO()
    ground: dict[str, Any] = {"transparent": True} if clear else {"facecolor": "white"}
    with style():
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, **ground)
    return out.getvalue()


def inline_svg(figure: Figure, name: str, alt: str) -> str:
    """A drawing for a page: nothing behind it, text in the page's colour, ids of its own, and words for those who do not see it."""
    text = svg(figure, clear=True)
    body = text[text.index("<svg") :]
    body = body.replace(INK, "currentColor")
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", body)
    head, rest = body.split(">", 1)
    body = re.sub(r'\s(?:width|height)="[^"]*pt"', "", head) + ">" + rest  # as wide as the page lets it be
    body = re.sub(r"<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL)
    return body.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)
