"""The commented config.toml that ships with alscope, with a newcomer's answers filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from daemon.errors import UsageError

TEMPLATE = "config_template.toml"
MODALITIES = ("em", "fluorescence", "other")
GPU_USE = ("auto", "yes", "no")
SEGMENT_ANYTHING = {"em": "vit_b_em_organelles", "fluorescence": "vit_b_lm"}
"""Weights that were made for images of that kind; they work on a small GPU."""


@dataclass(frozen=True)
class Answers:
    """watch: the folder that volumes come into. voxel_um: (z, y, x) um for files that do not say, None = not known."""

    watch: Path
    voxel_um: tuple[float, float, float] | None = None
    modality: str = "other"
    gpu: str = "auto"

    def settings(self) -> dict[str, Any]:
        """What they change in config.toml: "table.key" -> value.

        Signal is bright in fluorescence, while objects of EM may be either. Segment Anything draws pseudo-labels only where a GPU
        is promised: on a CPU it takes a minute a slice.
        """
        made: dict[str, Any] = {"watch.folder": str(self.watch)}
        if self.voxel_um is not None:
            made["watch.voxel_um"] = list(self.voxel_um)
        weights = SEGMENT_ANYTHING.get(self.modality)
        if weights:
            made["annotation.model"] = weights
        if self.gpu == "yes":
            made |= {"run.device": "cuda", "pseudo.backend": "auto"}
            made |= {"pseudo.options": {"model": weights}} if weights else {}
        else:
            made |= {"pseudo.options": {"polarity": "bright"}} if self.modality == "fluorescence" else {}
            made |= {"run.device": "cpu"} if self.gpu == "no" else {}
        return made


def template() -> str:
    """The commented configuration that ships with alscope."""
    return files("daemon").joinpath(TEMPLATE).read_text(encoding="utf-8")


def filled(text: str, settings: Mapping[str, Any]) -> str:
    """The template with these keys set ("table.key" -> value). Raises UsageError for a value that TOML cannot hold."""
    for name, value in settings.items():
        table, _, key = name.partition(".")
        head = re.search(rf"^\[+{table}\]+$", text, re.MULTILINE)
        assert head is not None, table
        line = re.compile(rf"^(# )?{key} = .*$", re.MULTILINE).search(text, head.end())
        assert line is not None, name
        text = f"{text[: line.start()]}{key} = {_toml(value)}{text[line.end() :]}"
    return text


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{value!r}: the folder's name is not UTF-8, which config.toml must be; rename it or link to it"
        ) from None
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
