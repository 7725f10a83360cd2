"""What people look at, as frozen values: the Snapshot and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from daemon.store.alarm_listing import AlarmView, ExpectView
from daemon.store.ledger import Bought, Skip, Spent
from daemon.store.repeat_listing import Agreement


@dataclass(frozen=True)
class DaemonView:
    """state: running, paused, hanging, stopped, crashed, or never (no daemon has run here yet). note: what it waits for."""

    state: str
    pid: int | None
    since: float | None
    seen: float | None
    version: str | None
    paused_until: float | None
    note: str = ""


@dataclass(frozen=True)
class QueueItem:
    """A suggestion that somebody can answer, or that is being checked. rank: its place among these, from 1. distance: cosine, to
    the nearest patch suggested before: how new it is. arm: selected, control (drawn at random) or asked (taken out of the QC
    queue). minutes: expected for it. user: who has it, "" for nobody; left_s: what is left of their lease."""

    id: str
    volume: str
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    rank: int
    distance: float | None
    state: str
    reason: str
    note: str
    ready: bool
    arm: str
    minutes: float | None
    user: str = ""
    left_s: float | None = None


@dataclass(frozen=True)
class WorkView:
    """What people did. spent: over all labels; bought: by round; agreement: between people; nothing: why nobody can be given a
    patch just now, "" when one waits; skipped: patches that they looked at for so long and skipped."""

    spent: Spent = field(default_factory=Spent)
    bought: tuple[Bought, ...] = ()
    agreement: Agreement = field(default_factory=Agreement)
    nothing: str = ""
    skipped: tuple[Skip, ...] = ()


@dataclass(frozen=True)
class RunningJob:
    """A job that a worker holds now."""

    id: int
    stage: str
    subject: str
    progress: float
    note: str
    started_at: float


@dataclass(frozen=True)
class ModelView:
    """A model version."""

    version: str
    kind: str
    parent: str | None
    n_labels: int
    scores: Mapping[str, Any] | None
    state: str
    verdict: str
    created_at: float


@dataclass(frozen=True)
class RoundView:
    """A round; scores are the candidate's on the held-out labels, baseline those of the pseudo-labels."""

    round: int
    state: str
    n_labels: int
    n_gate: int
    fraction: float
    model: str | None
    promoted: bool | None
    scores: Mapping[str, Any] | None
    baseline: Mapping[str, Any] | None
    verdict: str
    started_at: float
    finished_at: float | None


@dataclass(frozen=True)
class EncoderView:
    """An encoder version. kind: descriptor or mae. state: embedding, current, retired or rejected (then reason says why).
    result: what its job found, its self-test among it."""

    version: str
    kind: str
    state: str
    n_patches: int
    result: Mapping[str, Any]
    reason: str
    created_at: float


@dataclass(frozen=True)
class ControlView:
    """Does selection help? Scores of the fast learner on n labels of each arm, on n_gate held-out labels; low, high: the 95 %
    interval of the difference. None where labels are missing; words says so."""

    round: int
    n: int
    n_gate: int
    metric: str
    selected: float | None
    control: float | None
    difference: float | None
    low: float | None
    high: float | None
    words: str
    at: float


@dataclass(frozen=True)
class PseudoView:
    """What `pseudo.backend = "auto"` means now: a backend or the version of the model that serves as one, and why."""

    chosen: str
    why: str
    at: float


@dataclass(frozen=True)
class VolumeQuality:
    """How good the visible segmentation of a volume probably is. confidence: of the model, in 0..1; dice, low, high: what held-out
    patches make of that, None where confidence only ranks; beyond: it is further from them than the line through them goes."""

    volume: str
    model: str
    confidence: float
    dice: float | None
    low: float | None
    high: float | None
    beyond: bool


@dataclass(frozen=True)
class QualityView:
    """The segmentations to look at first, the worst first. n_empty: those in which nothing was found. why: why some of them have
    no Dice."""

    worst: tuple[VolumeQuality, ...]
    n_empty: int
    why: str


@dataclass(frozen=True)
class AdviceView:
    """What so many more patches would add to F1, as of a round; low, high: the 90 % interval. minutes: for all of them. Figures
    are None where that cannot be said, then words says why."""

    round: int
    patches: int
    gain: float | None
    low: float | None
    high: float | None
    minutes: float | None
    words: str


@dataclass(frozen=True)
class Problem:
    """Something wrong now, most wrong first. since: seconds since the epoch. todo: what to do, "" where the message says it."""

    kind: str
    subject: str
    message: str
    since: float
    todo: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    at: float
    kind: str
    message: str


@dataclass(frozen=True)
class RoomView:
    """What the workspace takes, as it was measured last. kinds: bytes by kind (see `daemon.usage`); budget_bytes: 0 = none."""

    kinds: Mapping[str, int]
    budget_bytes: int
    at: float

    @property
    def total(self) -> int:
        """Bytes of all kinds together."""
        return sum(self.kinds.values())


@dataclass(frozen=True)
class Snapshot:
    """Everything that people look at, as of one moment (`at`, seconds since the epoch).

    volumes: counts arriving, set_aside, ingested, pseudo_labelled, embedded, indexed, predicted, gone.
    patches: total, labelled, held_back (in the QC queue). labels: accepted, train, gate, new (in no round), rejected, asked (with
    remarks). control: the newest.
    pseudo: None where config.toml names the backend. alarms: the newest first. expected: the run that was declared.
    room: None until it was measured.
    """

    at: float
    daemon: DaemonView
    volumes: Mapping[str, int]
    patches: Mapping[str, int]
    labels: Mapping[str, int]
    queue: tuple[QueueItem, ...]
    jobs: Mapping[str, int]
    running: tuple[RunningJob, ...]
    models: tuple[ModelView, ...]
    rounds: tuple[RoundView, ...]
    encoders: tuple[EncoderView, ...]
    control: ControlView | None
    pseudo: PseudoView | None
    quality: QualityView | None
    advice: AdviceView | None
    problems: tuple[Problem, ...]
    events: tuple[Event, ...]
    work: WorkView = field(default_factory=WorkView)
    alarms: tuple[AlarmView, ...] = ()
    expected: ExpectView | None = None
    room: RoomView | None = None

    def to_json(self) -> dict[str, Any]:
        """The documented JSON of `alscope status --json`."""
        value = asdict(self)
        value["jobs"] = {"by_state": value["jobs"], "running": value.pop("running")}
        return value
