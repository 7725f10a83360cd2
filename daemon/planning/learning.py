"""Rounds: what is trained on which labels, who judges it, and the verdict; then the segmentation of every volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from alcore.arrays.splits import leaks
from alcore.run import key_of
from daemon.config import Settings
from daemon.planner import Planner
from daemon.planning.levels import missing_anywhere, room
from daemon.results import labels_digest
from daemon.store.rows import LabelRow, PatchRow, RoundRow, VolumeRow, Wanted
from daemon.store.store import Store
from daemon.verdict import UNGATED, judge

T = TypeVar("T")
MIX_PATCHES = 16
"""At most so many pseudo-labelled patches are mixed into a fine-tuning."""


@dataclass(frozen=True)
class LearningPlans:
    """From accepted labels to the promoted model and what it finds."""

    store: Store
    planner: Planner
    settings: Settings

    def _pseudo_labelled(self) -> list[tuple[VolumeRow, str]]:
        done = self.store.jobs.done_by_volume("pseudo", self.planner.pseudo_spec())
        return [(v, done[v.id]) for v in self.store.volumes.readable() if v.id in done]

    def pretraining(self) -> Iterator[Wanted]:
        """M_p, once enough pseudo-labels are there."""
        training = self.settings.training
        if not training.pretrain:
            return
        tried = self.store.jobs.of_stage("pretrain")
        if any(state not in ("failed", "cancelled") for _, state in tried):
            return
        n_volumes, n_patches = self.store.volumes.n_readable_with("pseudo", self.planner.pseudo_spec())
        busy = self.store.sources.n_arriving() + self.store.jobs.active("volume") + self.store.jobs.active("pseudo")
        if n_patches < training.pretrain_min_patches or (busy and n_patches < training.pretrain_max_patches):
            return
        failed = [int(subject.split(":")[1]) for subject, state in tried if state == "failed"]
        if failed and n_volumes < 2 * failed[-1]:
            return  # it failed with so many volumes; more data may help
        volumes = self._pseudo_labelled()
        yield self.planner.pretrain(*self._spread(volumes, (), training.pretrain_max_patches), len(volumes))

    def _spread(
        self, volumes: Sequence[tuple[VolumeRow, str]], taken: Sequence[LabelRow], most: int
    ) -> tuple[list[tuple[VolumeRow, str]], list[PatchRow]]:
        """At most `most` patches of these volumes, spread evenly over all that touch none of the labels `taken`; and the
        volumes that they lie in.

        Only the patches of volumes with such labels, and those that are chosen, are fetched.
        """
        labelled = {label.volume_id for label in taken}
        free = {
            v.id: [p.row for p in self.store.volumes.patches(v.id) if not _touches(p, taken)]
            for v, _ in volumes
            if v.id in labelled
        }
        places = [(v.id, row) for v, _ in volumes for row in free.get(v.id, range(v.n_patches))]
        patches = [self.store.volumes.patch(volume_id, row) for volume_id, row in choose_evenly(places, most)]
        used = {p.volume_id for p in patches}
        return [(v, key) for v, key in volumes if v.id in used], patches

    def _pretraining_settled(self) -> bool:
        """Is there an M_p, or will there be none?"""
        if not self.settings.training.pretrain:
            return True
        states = [state for _, state in self.store.jobs.of_stage("pretrain")]
        return "done" in states or (bool(states) and states[-1] == "failed")

    def round(self, now: float) -> Iterator[Wanted]:
        """Open a round when it is time; train, judge and conclude the one that is open."""
        round_ = self.store.learning.active_round()
        if round_ is None:
            if self.store.annotation.n_new_training_labels() >= self.settings.training.every:
                self.open_round(now)
        elif round_.state == "training":
            yield from self._finetuning(round_, now)
        else:
            yield from self._judging(round_, now)

    def open_round(self, now: float) -> str:
        """Freeze the labels and start a round. Returns "" or why that cannot be done now."""
        if self.store.learning.active_round() is not None:
            return "a round is already under way"
        labels = self.store.annotation.labels()
        n_train = sum(label.role == "train" for label in labels)
        if not n_train:
            return "there is no accepted label to train on yet"
        if not self._pretraining_settled():
            return "pre-training on the pseudo-labels is not finished yet"
        fraction = sum(label.box.voxels for label in labels) / max(1, self.store.volumes.pool_voxels())
        with self.store.transaction():
            number = self.store.learning.open_round(labels, labels_digest(labels), fraction, now)
            text = f"round {number}: {n_train} labels to train on, {len(labels) - n_train} held out"
            self.store.state.event("round", text, now)
        return ""

    def _finetuning(self, round_: RoundRow, now: float) -> Iterator[Wanted]:
        """The recipe of a round is fixed when its job is first wanted, however the pool grows meanwhile."""
        existing = self.store.jobs.states("finetune", f"round:{round_.number}")
        if existing:
            job_id, state = existing[-1]
            if state in ("failed", "cancelled"):
                self.store.learning.fail_round(round_.number, self.store.jobs.last_words(job_id), now)
            return
        volumes = self._pseudo_labelled() if self.settings.training.mix_share > 0 else []
        mix, patches = self._spread(volumes, [*round_.train, *round_.gate], MIX_PATCHES)
        yield self.planner.finetune(round_, self.store.learning.pretrained(), mix, patches)

    def _judging(self, round_: RoundRow, now: float) -> Iterator[Wanted]:
        """Score candidate, current model and pseudo-labels on the frozen gate; when all are there, give the verdict."""
        candidate = self.store.learning.model(round_.model or "")
        assert candidate is not None
        current = self.store.learning.promoted() or self.store.learning.pretrained()
        if not round_.gate:
            self._conclude(round_, UNGATED.promoted, UNGATED.reason, None, None, now)
            return
        if leaked := leaks(*([(str(label.volume_id), label.box) for label in s] for s in (round_.train, round_.gate))):
            n = len({i for i, _ in leaked})
            reason = f"not promoted: {n} training labels overlap held-out patches, which makes every score too good"
            self._conclude(round_, False, reason, None, None, now)
            return
        wanted = [self.planner.evaluate(candidate, round_.gate), self.planner.evaluate(None, round_.gate)]
        if current is not None:
            wanted.append(self.planner.evaluate(current, round_.gate))
        yield from wanted
        keys = [key_of(w.stage, w.inputs, w.params) for w in wanted]
        jobs = [self.store.jobs.by_key(k) for k in keys]
        ended = [j is not None and j.state in ("failed", "cancelled") for j in jobs]
        failed = next((jobs[i] for i in (0, *range(2, len(jobs))) if ended[i]), None)
        if failed is not None:
            reason = f"not promoted: it could not be judged ({self.store.jobs.last_words(failed.id)})"
            self._conclude(round_, False, reason, None, None, now)
            return
        scores = [self.store.learning.evaluation(k) for k in keys]
        if any(s is None and not (i == 1 and ended[i]) for i, s in enumerate(scores)):
            return  # pseudo-labels that cannot be scored hold nobody up: they are only shown beside
        mine, pseudo = scores[0], scores[1]
        assert mine is not None
        verdict = judge(
            mine,
            scores[2] if current is not None else None,
            current.version if current else "",
            self.store.learning.promoted() is not None,
            self.settings.training.gate_min_patches,
        )
        self._conclude(
            round_, verdict.promoted, verdict.reason, mine["scores"], pseudo["scores"] if pseudo else None, now
        )

    def _conclude(
        self,
        round_: RoundRow,
        promoted: bool,
        reason: str,
        scores: dict[str, object] | None,
        pseudo: dict[str, object] | None,
        now: float,
    ) -> None:
        with self.store.transaction():
            self.store.learning.finish_round(round_, promoted, reason, scores, pseudo, now)
            word = "promoted" if promoted else "rejected"
            self.store.state.event("round", f"round {round_.number}: {round_.model} {word}: {reason}", now)

    def predictions(self) -> Iterator[Wanted]:
        """The promoted model ought to have segmented every volume."""
        promoted = self.store.learning.promoted()
        if promoted is None:
            return
        spec = self.planner.predict_spec(promoted)
        if missing_anywhere(self.store, "predict", spec):
            free = room(self.store, "predict", spec)
            for volume in self.store.learning.without_prediction(promoted.version, spec, free):
                yield self.planner.predict(volume, promoted)

    def control(self) -> Iterator[Wanted]:
        """After every round, once: do the labels that selection chose teach more than those that chance chose?"""
        number = self.store.selection.newest_round_without_control()
        if number is None or self.store.jobs.states("control", f"round:{number}"):
            return
        labels = self.store.selection.arms()
        if self.settings.selection.control_share or any(arm == "control" for _, _, arm in labels):
            yield self.planner.control(number, labels)


def _touches(patch: PatchRow, labels: Sequence[LabelRow]) -> bool:
    return any(label.volume_id == patch.volume_id and label.box.overlaps(patch.box) for label in labels)


def choose_evenly(places: Sequence[T], most: int) -> list[T]:
    """At most `most` of these, spread evenly over the sequence."""
    if len(places) <= most:
        return list(places)
    return [places[i * len(places) // most] for i in range(most)]
