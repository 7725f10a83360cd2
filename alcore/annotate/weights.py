"""Which Segment Anything the window uses, and what it needs besides: found without importing anything heavy."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from alcore.annotate.order import Weights
from alcore.errors import install_line
from alcore.pseudo import packages
from alcore.weights.catalogue import CATALOGUE
from alcore.weights.places import find

INSTALL = install_line("annotate", packages.MICRO_SAM)
"""What the window needs."""
NAMES = tuple(name for name, entry in CATALOGUE.items() if entry.backend == "micro_sam")
CPU_SLICE_S = {"vit_b": 40, "vit_l": 100, "vit_h": 180}
"""Seconds for one slice on one CPU thread: vit_b measured (32 to 48 s), the others by their number of parameters."""


def missing_window() -> list[str]:
    """Import names that any window needs and that are not installed. Imports nothing."""
    return [name for name in ("napari", "qtpy", "PySide6") if importlib.util.find_spec(name) is None]


def known_model(model: str) -> str:
    """What is wrong with the name of a model (see `find_weights`), or "". A path may come to exist later."""
    if model in ("auto", "none", *NAMES) or "/" in model:
        return ""
    return f'no such model; there are {", ".join(NAMES)}, "auto", "none", or the path of a checkpoint ("./my_sam.pt")'


def find_weights(model: str, folder: Path | None) -> tuple[Weights | None, str]:
    """(weights, "") or (None, why there are none and how to get them).

    model: a name of the catalogue, the path of a checkpoint, "none", or "auto": the first of the catalogue that is here.
    folder: where the lab keeps weights, None = the default places.
    """
    if model == "none":
        return None, "annotation.model is none"
    if absent := packages.missing("micro_sam"):
        return None, f"{', '.join(absent)} not installed: {INSTALL}"
    if "/" in model:
        path = Path(model).expanduser()
        return (Weights(path.stem, (str(path),)), "") if path.is_file() else (None, f"{path}: no such file")
    if problem := known_model(model):
        return None, f"annotation.model: {problem}"
    for name in NAMES if model == "auto" else [model]:
        files = find(name, folder)
        if files is not None:
            return Weights(name, tuple(str(f) for f in files)), ""
    wanted = "vit_b_lm or vit_b_em_organelles" if model == "auto" else model
    return None, f"no weights of Segment Anything here: alscope models fetch {wanted}"
