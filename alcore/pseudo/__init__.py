"""Pseudo-labels: instance masks of whole volumes without any human label, by exchangeable backends behind one port."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import PermanentError

if TYPE_CHECKING:  # the daemon asks what can run here, and stays small
    from alcore.pseudo.port import PseudoLabeler

__all__ = ["BACKENDS", "backend"]

BACKENDS = {
    "threshold": "alcore.pseudo.threshold:ThresholdLabeler",
    "micro_sam": "alcore.pseudo.micro_sam:MicroSamLabeler",
    "cellsam": "alcore.pseudo.cellsam:CellSamLabeler",
    "nnunet": "alcore.pseudo.nnunet:NnunetLabeler",
}
"""Where each backend lives; its module is imported when it is asked for."""


def backend(name: str, options: Mapping[str, Any], model: Path | None = None) -> PseudoLabeler:
    """The backend called `name` with its options. model: the model directory that backend nnunet labels with.

    Raises PermanentError for a name or an option that does not exist.
    """
    if name not in BACKENDS:
        raise PermanentError(f"pseudo-label backend {name!r} does not exist; known backends: {', '.join(BACKENDS)}")
    module, _, factory = BACKENDS[name].partition(":")
    make = getattr(importlib.import_module(module), factory)
    made: PseudoLabeler = make(options, model) if name == "nnunet" else make(options)
    return made
