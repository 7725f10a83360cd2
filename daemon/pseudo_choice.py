"""What is at hand for pseudo-labels on this machine, and which backend `pseudo.backend = "auto"` therefore means."""

from __future__ import annotations

from pathlib import Path

from alcore.pseudo import packages
from alcore.pseudo.choice import PREFERENCE, Situation, choose
from alcore.weights.catalogue import CATALOGUE
from alcore.weights.places import find
from daemon.config import Pseudo, Settings
from daemon.device import has_cuda


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


def resolved(settings: Settings) -> tuple[Settings, str]:
    """The settings with a backend that can be run, and the sentence that says which and why ("" where it was set)."""
    pseudo, why = settings.pseudo, ""
    backend, options = pseudo.backend, dict(pseudo.options)
    if backend == "auto":
        choice = choose(situation(pseudo, device_of(settings)))
        backend = choice.backend  # type: ignore[assignment]
        why = f"pseudo-labels by {backend}: {choice.why}"
        options = options if backend in PREFERENCE else {}
        if choice.weights:
            options.setdefault("model", choice.weights)
    if backend in PREFERENCE and pseudo.weights:
        options.setdefault("weights_folder", pseudo.weights)
    return settings.model_copy(
        update={"pseudo": pseudo.model_copy(update={"backend": backend, "options": options})}
    ), why
