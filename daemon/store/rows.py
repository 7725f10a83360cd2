"""The rows that the planner and the engine reason about: frozen, already parsed, never a bare database row."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from alcore.pages import Pages
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
    """An encoder version that passed its self-test. state: embedding (not yet complete), current or retired. kind: descriptor
    or mae. design: `daemon.policy.design` of its params, empty where that is not known."""

    id: int
    artifact: str
    state: str
    n_patches: int
    kind: str
    design: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return encoder_name(self.id)


def encoder_name(number: int) -> str:
    """What people call an encoder version."""
    return f"E-{number:03d}"


class PoolVolume(NamedTuple):
    """A volume that selection knows, with the keys of what is known of it. rows: the patches that its embedding is of, None for
    all. readable: whether its acquisition can be read now, so that more of its patches can be suggested."""

    id: int
    artifact: str
    embedding: str
    traits: str | None
    prediction: str | None
    rows: frozenset[int] | None = None
    readable: bool = True

    @property
    def page_row(self) -> dict[str, str]:
        """What is known of it, as a page says it."""
        found = {"embedding": self.embedding, "volume": self.artifact}
        if self.traits:
            found["traits"] = self.traits
        if self.prediction:
            found["prediction"] = self.prediction
        return found

    def has(self, row: int) -> bool:
        """Is there a vector of this patch?"""
        return self.rows is None or row in self.rows


@dataclass(frozen=True)
class Picked:
    """A patch that was chosen. row: in its volume's patch list. arm: selected, control or asked. why: numbers by name.
    nearest: (volume id, row) of the covered patch that it lies nearest to; neighbours: (volume id, row, distance) of the
    nearest labelled ones, nearest first."""

    volume_id: int
    row: int
    distance: float | None
    reason: str
    arm: str = "selected"
    why: Mapping[str, float] = field(default_factory=dict)
    nearest: tuple[int, int] | None = None
    neighbours: Sequence[tuple[int, int, float]] = ()


@dataclass(frozen=True)
class Ranked:
    """A patch in its place in the queue. distance, nearest ((volume id, row)): to the nearest patch that is covered or stands
    before it."""

    volume_id: int
    row: int
    distance: float | None
    nearest: tuple[int, int] | None


@dataclass(frozen=True)
class Flaw:
    """A patch that looks broken. score: how far beyond the rule's limit."""

    volume_id: int
    row: int
    reason: str
    score: float


@dataclass(frozen=True)
class Novelty:
    """How far a volume's patches lay from the nearest patch known before, in cosine distance: the farthest one (`row`, its
    nearest one is (volume id, row) `nearest`) and the median; None for the first volume. duplicates: patches known already."""

    max: float | None
    median: float | None
    row: int | None
    nearest: tuple[int, int] | None
    duplicates: int


@dataclass(frozen=True)
class Neighbour:
    """A labelled patch that looks like a suggested one. package: artifact with its preview."""

    suggestion: str
    volume_name: str
    box: Box
    distance: float
    package: str | None


@dataclass(frozen=True)
class PatchRow:
    """A patch with the volume it lies in and its row in that volume's patch list."""

    id: int
    volume_id: int
    row: int
    box: Box


@dataclass(frozen=True)
class SuggestionRow:
    """A suggestion with the box it asks about. repeat_of: the suggestion whose patch it asks about a second time, blindly."""

    id: str
    patch: PatchRow
    rank: int
    distance: float | None
    reason: str
    state: str
    package: str | None
    arm: str = "selected"
    why: Mapping[str, float] = field(default_factory=dict)
    repeat_of: str | None = None


@dataclass(frozen=True)
class SeenMask:
    """The file that says which part of a label was looked at; taken from the inbox with it."""

    file: str
    sha256: str
    inbox_path: bytes


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
    note: Mapping[str, Any] = field(default_factory=dict)
    seen: SeenMask | None = None


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
    """A model version. ruling: the court's word on it, empty where it was not asked."""

    version: str
    kind: str
    state: str
    artifact: str
    parent: str | None
    n_labels: int
    ruling: str = ""


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
    """A job that ought to exist: what to run, on what, for whom, and how urgent it is. long: the lane, if not the stage's own.
    pages: those among its inputs, with their rows."""

    stage: str
    subject: str
    inputs: Inputs
    params: Mapping[str, Any]
    priority: int
    spec: str
    volume_id: int | None = None
    long: bool | None = None
    pages: Pages = field(default_factory=dict)


@dataclass(frozen=True)
class JobRow:
    """A job as the dispatcher sees it.

    stored: JSON of inputs, params and result, parsed when asked for: those of a job on the whole pool are megabytes, and
    most looks at a job are at its state. long: does it run in the lane of long jobs?
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
    long: bool
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


@dataclass(frozen=True)
class Labeler:
    """A pseudo-label backend as it is run: its options, and for nnunet the artifact of the model ("" = none)."""

    backend: str
    options: Mapping[str, Any]
    model: str = ""


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
