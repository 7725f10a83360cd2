"""The rows that the planner and the engine reason about: frozen, already parsed, never a bare database row."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from alcore.stage import Input, Inputs
from alcore.types import Box


@dataclass(frozen=True)
class SourceRow:
    """An acquisition that is whole and waits to be read. members: the names of its files when it is a set."""

    id: int
    path: bytes
    watch: int
    fingerprint: str
    members: tuple[str, ...] | None = None


@dataclass(frozen=True)
class VolumeRow:
    """A volume and one place where its bytes can be read now.

    artifact: key of its own artifact, with the folder in it where that holds several volumes ("volume-.../0003").
    content: `Fingerprint.content` of the acquisition when it was read. members: the names of its files when it is a set.
    """

    id: int
    name: str
    sha256: str
    artifact: str
    path: bytes
    read: Mapping[str, Any]
    n_patches: int
    content: str = ""
    members: tuple[str, ...] | None = None


@dataclass(frozen=True)
class EncoderRow:
    """An encoder version that passed its self-test. state: embedding (not yet complete) or current."""

    id: int
    artifact: str
    state: str
    n_patches: int


@dataclass(frozen=True)
class PatchRow:
    """A patch with the volume it lies in and its row in that volume's patch list."""

    id: int
    volume_id: int
    row: int
    box: Box


@dataclass(frozen=True)
class SuggestionRow:
    """A suggestion with the box it asks about."""

    id: str
    patch: PatchRow
    rank: int
    distance: float | None
    reason: str
    state: str
    package: str | None


@dataclass(frozen=True)
class ReceivedRow:
    """A label file taken from the inbox. `file` is where it lies now, relative to the workspace."""

    id: int
    suggestion: SuggestionRow
    file: str
    sha256: str
    confirm_empty: bool
    author: str
    inbox_path: bytes
    filed: bool
    state: str
    reason: str


@dataclass(frozen=True)
class LabelRow:
    """An accepted label that no later label of the same patch supersedes."""

    id: int
    artifact: str
    role: Literal["train", "gate"]
    volume_id: int
    box: Box


@dataclass(frozen=True)
class ModelRow:
    """A model version."""

    version: str
    kind: str
    state: str
    artifact: str
    parent: str | None
    n_labels: int


@dataclass(frozen=True)
class RoundRow:
    """A round and the label set frozen at its start."""

    number: int
    state: str
    model: str | None
    labels_digest: str
    train: tuple[LabelRow, ...]
    gate: tuple[LabelRow, ...]


@dataclass(frozen=True)
class Wanted:
    """A job that ought to exist: what to run, on what, for whom, and how urgent it is."""

    stage: str
    subject: str
    inputs: Inputs
    params: Mapping[str, Any]
    priority: int
    spec: str
    volume_id: int | None = None


@dataclass(frozen=True)
class JobRow:
    """A job as the dispatcher sees it.

    stored: JSON of inputs, params and result, parsed when asked for: those of a job on the whole pool are megabytes, and
    most looks at a job are at its state.
    """

    id: int
    key: str
    stage: str
    subject: str
    volume_id: int | None
    state: str
    priority: int
    attempts: int
    fence: int
    stored: tuple[str, str, str]

    @cached_property
    def inputs(self) -> Inputs:
        """What it works on."""
        return inputs_from_json(json.loads(self.stored[0]))

    @cached_property
    def params(self) -> Mapping[str, Any]:
        """How."""
        found: dict[str, Any] = json.loads(self.stored[1])
        return found

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """What it found; empty until it is done."""
        found: dict[str, Any] = json.loads(self.stored[2])
        return found


def inputs_to_json(inputs: Inputs) -> dict[str, list[dict[str, str]]]:
    """Plain JSON types."""
    return {name: [i.to_json() for i in items] for name, items in inputs.items()}


def inputs_from_json(value: Mapping[str, list[dict[str, str]]]) -> dict[str, list[Input]]:
    """Inverse of `inputs_to_json`."""
    return {name: [Input.from_json(i) for i in items] for name, items in value.items()}


def path_of(raw: bytes) -> Path:
    """A stored path as a Path; bytes that are not UTF-8 survive as surrogates."""
    return Path(os.fsdecode(raw))


def members_of(text: str | None) -> tuple[str, ...] | None:
    """Names of the files of a set as they are stored, or None."""
    return None if text is None else tuple(json.loads(text))
