"""Checks of `alscope doctor`: can somebody annotate here, with Segment Anything or without, and what would it take?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from alcore.annotate.weights import CPU_SLICE_S, INSTALL, find_weights, missing_window
from daemon.cli.checking import Check
from daemon.cli.checks_qt import qt_libraries
from daemon.config import Settings
from daemon.pseudo_choice import device_of, weights_folder

NAME = "annotation"


def annotation(settings: Settings) -> Iterator[Check]:
    """The window and its model. Nothing here fails: labels of any other tool are taken, too."""
    if absent := missing_window():
        yield Check(
            NAME, "ok", f"no window: {', '.join(absent)} not installed (labels of other tools are taken)", INSTALL
        )
        return
    screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
    if sys.platform.startswith("linux"):
        yield qt_libraries(screen)
    weights, why = find_weights(settings.annotation.model, weights_folder(settings.pseudo))
    if weights is None:
        asked = settings.annotation.model not in ("auto", "none")
        mend = 'do that, or set annotation.model = "none"' if asked else ""
        yield Check(NAME, "warn" if asked else "ok", f"by hand, in plain napari: {why}", mend)
        return
    if device_of(settings) == "cuda":
        yield Check(NAME, "ok", f"with Segment Anything ({weights.name}), on the GPU, each patch looked at beforehand")
        return
    seconds = CPU_SLICE_S.get(weights.name[:5], CPU_SLICE_S["vit_b"])
    depth = settings.patch.shape_px[0]
    cost = f"about {seconds} s for a slice on this CPU"
    if settings.annotation.precompute is True:
        minutes = seconds * depth / 60
        yield Check(
            NAME, "ok", f"with Segment Anything ({weights.name}), {cost}: {minutes:.0f} min beforehand for a patch"
        )
    else:
        yield Check(NAME, "ok", f"with Segment Anything ({weights.name}), {cost}, once, when you first prompt on it")
