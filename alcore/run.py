"""The registry of stages, and the one way to run one: `execute`."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from alcore.artifact import ArtifactStore, Manifest, recipe_key
from alcore.errors import PermanentError, SourceChangedError, SourceMissingError
from alcore.fileset import fingerprint_of
from alcore.stage import Context, Inputs, Params, Stage

STAGES = (
    "volume",
    "pseudo",
    "traits",
    "encoder",
    "embedding",
    "kept_embedding",
    "novelty",
    "suggestions",
    "package",
    "sam_embedding",
    "label",
    "truth",
    "agreement",
    "pretrain",
    "finetune",
    "evaluate",
    "predict",
    "control",
    "latent_map",
    "gate_pictures",
    "report",
)
"""Every stage by name; each lives in `alcore/stages/<name>.py` and is light to import."""


@cache
def stage(name: str) -> Stage:
    """The Stage called `name`. Raises PermanentError for a name that no file declares."""
    if name not in STAGES:
        raise PermanentError(f"stage {name!r} does not exist; known stages: {', '.join(STAGES)}")
    found: Stage = importlib.import_module(f"alcore.stages.{name}").STAGE
    return found


def key_of(name: str, inputs: Inputs, params: Params) -> str:
    """Recipe key of running stage `name` on these inputs."""
    return recipe_key(name, stage(name).version, params, inputs)


def execute(name: str, inputs: Inputs, params: Params, artifacts: ArtifactStore, ctx: Context) -> Manifest:
    """Run one stage and publish its artifact; a recipe that was run before is not run again.

    Acquisition files among the inputs are compared with their fingerprints before and after: what was made from a file
    that changed meanwhile is discarded. Raises SourceChangedError or SourceMissingError, naming the file.
    """
    what = stage(name)

    def fill(out: Path) -> dict[str, Any]:
        _same_sources(inputs)
        result = what.run(inputs, params, out, ctx)
        _same_sources(inputs)
        return result

    return artifacts.create(
        key=key_of(name, inputs, params),
        stage=name,
        version=what.version,
        params=params,
        inputs=inputs,
        fill=fill,
    )


def _same_sources(inputs: Inputs) -> None:
    """Raise unless every acquisition file is still the one that its key was computed from."""
    for item in (i for items in inputs.values() for i in items if i.content):
        try:
            now = fingerprint_of(os.fsencode(item.path), item.members)
        except OSError as e:
            why = f"{item.path}: cannot be reached now ({e.strerror})"
            raise SourceMissingError(why, {"path": str(item.path)}) from e
        if now is None:
            raise SourceMissingError(f"{item.path}: is not there now", {"path": str(item.path)})
        if now.content != item.content:
            raise SourceChangedError(
                f"{item.path}: changed since it was read; the result is discarded and it arrives again",
                {"path": str(item.path)},
            )


@dataclass
class QuietContext:
    """A context for library users, tests and benchmarks: nobody watches, nobody stops it."""

    scratch: Path
    cache: Path
    device: str = "cpu"
    threads: int = 1
    ram_bytes: int = 4 << 30
    notes: list[tuple[float, str]] = field(default_factory=list)

    def progress(self, fraction: float, note: str = "") -> None:
        """Remember the report."""
        self.notes.append((fraction, note))

    def should_stop(self) -> bool:
        """Never."""
        return False
