"""What is at hand for pseudo-labels on this machine, and how a backend is run that `pseudo.backend = "auto"` chose."""

from __future__ import annotations

from pathlib import Path

from alcore.pseudo import packages
from alcore.pseudo.choice import PREFERENCE, Choice, Situation
from alcore.weights.catalogue import CATALOGUE
from alcore.weights.places import find
from daemon.config import Pseudo, Settings
from daemon.device import has_cuda
from daemon.store.rows import Labeler


def weights_folder(pseudo: Pseudo) -> Path | None:
    """The folder that config.toml names, or None."""
    return Path(pseudo.weights) if pseudo.weights else None


def situation(pseudo: Pseudo, device: str) -> Situation:
    """What is installed and which weights are here; for each backend the first of the catalogue, or the one that
    pseudo.options names."""
    wanted = pseudo.options.get("model")
    weights: dict[str, str] = {}
    for name, entry in CATALOGUE.items():
        if entry.backend not in weights and wanted in (None, name) and find(name, weights_folder(pseudo)) is not None:
            weights[entry.backend] = name
    return Situation({n: tuple(packages.missing(n)) for n in PREFERENCE}, weights, device)


def device_of(settings: Settings) -> str:
    """ "cuda" where stages will find a GPU."""
    return "cuda" if settings.run.device != "cpu" and has_cuda() else "cpu"


def labeler(pseudo: Pseudo, choice: Choice, model: str = "") -> Labeler:
    """How the chosen backend is run. model: artifact of the promoted model, for the backend nnunet."""
    options = pseudo.options_of(choice.backend)
    if choice.weights and choice.backend in PREFERENCE:
        options.setdefault("model", choice.weights)
    return Labeler(choice.backend, options, model if choice.backend == "nnunet" else "")
