"""What the pictures of a run share: colours for light and dark pages, sizes of text, lines. Files are made of them by `alcore.report`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT = "#000000", "#8b96a1"
"""Of text and of rules. INK becomes the colour of the text where the picture stands in a page."""
MARKED = {"coreset": "#d4622a", "random": "#7d8894", "oracle": "#2f9e77"}
DEFAULT = "#2b7fc3"
OTHERS = ("#a06cc7", "#b8892b", "#c9629a", "#2a9db0", "#8a7a5c", "#6f86d6", "#7fa23c", "#b5655c")
"""Of strategies beside the default and those marked; each stands out from white and from near-black (contrast at least 3)."""


def colours(strategies: list[str], default: str) -> dict[str, str]:
    """A colour for each strategy, the same whatever else was played, as long as there are not more than there are colours."""
    rest = [name for name in sorted(strategies) if name != default and name not in MARKED]
    found = {name: OTHERS[n % len(OTHERS)] for n, name in enumerate(rest)}
    return {**found, **{n: MARKED[n] for n in strategies if n in MARKED}, default: DEFAULT}


@contextmanager
def style() -> Iterator[None]:
    """The house's figures, whatever the user's matplotlibrc says."""
    import matplotlib

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
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
