"""What jobs on the whole pool change in the store: encoders, suggestions, the QC queue, novelty, the control arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon.config import Settings
from daemon.policy import MOST_USUAL, design, encoder_kind, novelty_alarm
from daemon.selftest import self_test_words
from daemon.store.kept import volume_of
from daemon.store.rows import Flaw, JobRow, Novelty, Picked, Ranked, ReceivedRow
from daemon.store.store import Store
from daemon.touched import touched
from daemon.wording import count
from daemon.workspace import Workspace


@dataclass(frozen=True)
class Failure:
    """How a job failed for good. detail: facts for the daemon to act on."""

    error: str
    kind: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SelectionResults:
    """Applies results of the stages encoder, suggestions, novelty and control."""

    store: Store
    settings: Settings
    device: str

    def _encoder_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        kind, n_patches = str(job.params["kind"]), int(job.subject.split(":")[1])
        spare = kind != encoder_kind(self.settings.encoder, self.device)
        made = self.store.encoders.add(job.key, kind, design(job.params), n_patches, result, now, spare)
        self.store.jobs.forget(job.id)
        if made.state == "retired":
            return
        figures = self_test_words(result)
        text = f"{made.name} ({kind}) made of {n_patches} patches passed its self-test" + (
            f": {figures}" if figures else ""
        )
        self.store.state.event("encoder", text, now)

    def _encoder_failed(self, job: JobRow, failure: Failure, now: float) -> None:
        if failure.kind != "encoder_rejected":
            return
        n_patches, params = int(job.subject.split(":")[1]), job.params
        self.store.encoders.reject(
            job.key, str(params["kind"]), design(params), n_patches, failure.error, failure.detail, now
        )

    def _suggestions_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        volumes = _Volumes(self.store)
        picks = [
            Picked(
                volume_id=volumes.of(s["embedding"]),
                row=int(s["row"]),
                distance=s["distance"],
                reason=str(s["reason"]),
                arm=str(s["arm"]),
                why=s["why"],
                nearest=volumes.place(s["nearest"]),
                neighbours=[(volumes.of(n["embedding"]), int(n["row"]), float(n["distance"])) for n in s["neighbours"]],
            )
            for s in result["suggestions"]
        ]
        flaws = [
            Flaw(volumes.of(q["embedding"]), int(q["row"]), str(q["reason"]), float(q["score"])) for q in result["qc"]
        ]
        waiting = job.params.get("waiting") or {}
        level = str(job.params.get("level", ""))
        if waiting:
            picks = picks[: self._taken_back(result, volumes, now)]
            for key, rows in waiting.items():
                self.store.selection.considered(volumes.of(key), [int(row) for row in rows], level)
        made = self.store.annotation.suggest(picks, now, level)
        moved = self.store.annotation.rerank(_order(result, volumes))
        new = self.store.selection.hold_back(flaws, now, _judged(result, volumes))
        self.store.jobs.forget(job.id)
        if made:
            which = made[0] if len(made) == 1 else f"{made[0]} to {made[-1]}"
            self.store.state.event(
                "queue", f"{count(len(made), 'patch', 'patches')} queued for the expert: {which}", now
            )
        elif result.get("notes") and not waiting:
            self.store.state.event("queue", f"no patch to suggest: {'; '.join(result['notes'])}", now)
        if moved:
            words = f"the queue was put in order anew: {count(moved, 'suggestion')} moved"
            self.store.state.event("queue", words, now)
        if new:
            look = "it looks" if new == 1 else "they look"
            text = f"{count(new, 'patch', 'patches')} held back because {look} broken: `alscope queue --qc`"
            self.store.state.event("qc", text, now)

    def _taken_back(self, result: Mapping[str, Any], volumes: _Volumes, now: float) -> int:
        """Take suggestions that are clearly not among the best any more out of the queue, unless somebody has begun with one.
        Returns how many."""
        workspace, gone = Workspace(self.settings.workspace), []
        for found in result.get("taken_back", ()):
            volume_id, row = volumes.of(str(found["embedding"])), int(found["row"])
            suggestion_id = self.store.annotation.open_id(volume_id, row)
            if suggestion_id is not None and not touched(workspace, suggestion_id):
                self.store.annotation.take_back(suggestion_id, str(found["reason"]), now)
                gone.append(suggestion_id)
        if gone:
            text = f"the pool has changed: {', '.join(gone)} taken out of the queue, nobody had begun; others teach more now"
            self.store.state.event("queue", text, now)
        return len(gone)

    def _repeat_labelled(self, received: ReceivedRow, artifact: str, result: Mapping[str, Any], now: float) -> None:
        """A second person labelled a patch: kept, compared, and never trained on."""
        warnings = [str(w) for w in result.get("warnings", [])]
        self.store.repeats.accept(received, artifact, int(result["n_objects"]), warnings, now)
        text = (
            f"label of {received.suggestion.id} accepted: {result['n_objects']} objects, compared with another person's"
        )
        self.store.state.event("label", text, now)

    def _agreement_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        first, second = job.inputs["first"][0].key, job.inputs["second"][0].key
        self.store.repeats.compared(first, second, result, now)
        f1, dice = result["scores"]["f1"], result["scores"]["dice"]
        self.store.state.event("label", f"two people agree on one patch with F1 {f1:.3f}, Dice {dice:.3f}", now)

    def _novelty_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        encoder_id, volumes = int(job.subject.split(":")[1]), _Volumes(self.store)
        for key, found in result["novelty"].items():
            volume_id = volumes.of(key)
            nearest = volumes.place(found["nearest"])
            novelty = Novelty(found["max"], found["median"], found["row"], nearest, int(found["duplicates"]))
            usual = self.store.selection.usual_novelty(encoder_id, volume_id, MOST_USUAL)
            alarm = novelty_alarm(novelty.median, usual)
            first = self.store.selection.add_novelty(volume_id, encoder_id, novelty, alarm, now)
            if alarm and first:
                self.store.state.event("novelty", f"{self.store.volumes.name(volume_id)}: {alarm}", now)
        self.store.jobs.forget(job.id)

    def _control_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        number = int(job.subject.split(":")[1])
        self.store.selection.add_control(number, result, now)
        if result["difference"] is not None:
            self.store.state.event("control", f"after round {number}: {result['words']}", now)


def _judged(result: Mapping[str, Any], volumes: _Volumes) -> dict[int, set[int]] | None:
    """Rows that were held back, and of which it is known now whether they look broken, by volume id; None for all."""
    found = result.get("judged")
    return None if found is None else {volumes.of(key): {int(row) for row in rows} for key, rows in found.items()}


def _order(result: Mapping[str, Any], volumes: _Volumes) -> list[Ranked]:
    """The queue as a job on the pool wants it."""
    return [
        Ranked(volumes.of(str(r["embedding"])), int(r["row"]), r["distance"], volumes.place(r["nearest"]))
        for r in result.get("order", ())
    ]


class _Volumes:
    """Volumes by the key of their embedding, each looked up once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, int] = {}

    def of(self, key: str) -> int:
        """Id of the volume that was embedded in this artifact."""
        if key not in self._known:
            embedding = self._store.jobs.by_key(key)
            assert embedding is not None
            self._known[key] = embedding.volume_id or volume_of(embedding.subject)
        return self._known[key]

    def place(self, nearest: Mapping[str, Any] | None) -> tuple[int, int] | None:
        """(volume id, row) of a patch that a stage names."""
        return None if nearest is None else (self.of(str(nearest["embedding"])), int(nearest["row"]))
