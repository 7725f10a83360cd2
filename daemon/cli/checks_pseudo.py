"""Checks of `alscope doctor`: what there is for pseudo-labels, what is missing, and how to get it."""

from __future__ import annotations

from collections.abc import Iterator

from alcore.pseudo import packages
from alcore.pseudo.choice import PREFERENCE, choose
from alcore.weights.catalogue import CATALOGUE
from daemon.cli.checking import Check
from daemon.config import Settings
from daemon.pseudo_choice import device_of, situation

NAME = "pseudo-labels"


def pseudo_labels(settings: Settings) -> Iterator[Check]:
    """What config.toml asks for can run (fail if not); what else there could be, which is no fault."""
    pseudo = settings.pseudo
    now = situation(pseudo, device_of(settings))
    if pseudo.backend == "auto":
        chosen = choose(now)
        yield Check(NAME, "ok", f"by {chosen.backend}: {chosen.why}; by the promoted model once that is better")
    elif pseudo.backend == "threshold":
        yield Check(NAME, "ok", "by threshold, which needs no weights")
    for name in PREFERENCE:
        asked = pseudo.backend == name
        bad = "fail" if asked else "ok"
        unasked = "" if asked else " (not asked for)"
        if now.missing[name]:
            yield Check(
                NAME, bad, f"{name}: {', '.join(now.missing[name])} not installed{unasked}", packages.INSTALL[name]
            )
        elif name not in now.weights and not (asked and "checkpoint" in pseudo.options):
            names = [n for n, e in CATALOGUE.items() if e.backend == name]
            fetch = f"`alscope models fetch {names[0]}` (or {', '.join(names[1:])}); pseudo.weights names a folder of your own"
            yield Check(NAME, bad, f"{name}: no weights here{unasked}", fetch)
        elif asked and now.device == "cpu":
            yield Check(NAME, "warn", f"{name}: no GPU; large volumes are refused with the time they would take", "")
        else:
            yield Check(NAME, "ok", f"{name}: installed, with weights {now.weights.get(name, 'of your own')}")
