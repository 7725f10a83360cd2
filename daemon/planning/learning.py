"""Rounds: when one opens, who judges its model, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from alcore.arrays.splits import leaks
from alcore.run import key_of
from daemon.config import Settings
from daemon.planner import Planner
from daemon.planning.failed_rounds import FailedRounds
from daemon.planning.training import TrainingPlans
from daemon.results import labels_digest
from daemon.store.rows import ModelRow, RoundRow, Wanted
from daemon.store.store import Store
from daemon.verdict import UNGATED, Verdict, judge


@dataclass(frozen=True)
class LearningPlans:
    """From accepted labels to the promoted model and what it finds. training: what trains the models."""

    store: Store
    planner: Planner
    settings: Settings
    training: TrainingPlans

    def round(self, now: float) -> Iterator[Wanted]:
        """Open a round when it is time; train, judge and conclude the one that is open."""
        round_ = self.store.learning.active_round()
        if round_ is None:
            every, failed = self.settings.training.every, FailedRounds(self.store)
            if failed.taken_up(now):
                return
            enough = self.store.training.n_new_labels() >= every and failed.let_another(every, now)
            if enough or self.training.is_time(now):
                self.open_round(now)
        elif round_.state == "training":
            yield from self.training.finetuning(round_, now)
        else:
            yield from self._judging(round_, now)

    def open_round(self, now: float) -> str:
        """Freeze the labels and start a round. Returns "" or why that cannot be done now."""
        if self.store.learning.active_round() is not None or FailedRounds(self.store).taken_up(now):
            return "a round is already under way"
        labels = self.store.labels.current()
        n_train = sum(label.role == "train" for label in labels)
        if not n_train:
            return "there is no accepted label to train on yet"
        if not self.training.pretraining_settled():
            return "pre-training on the pseudo-labels is not finished yet"
        fraction = sum(label.box.voxels for label in labels) / max(1, self.store.volumes.pool_voxels())
        with self.store.transaction():
            number = self.store.learning.open_round(labels, labels_digest(labels), fraction, now)
            text = f"round {number}: {n_train} labels to train on, {len(labels) - n_train} held out"
            self.store.state.event("round", text, now)
        return ""

    def _judging(self, round_: RoundRow, now: float) -> Iterator[Wanted]:
        """Score candidate, current model and pseudo-labels on the frozen gate; when all are there, give the verdict."""
        candidate = self.store.learning.model(round_.model or "")
        assert candidate is not None
        current, elsewhere = self.training.opponents(candidate)
        gate = self.training.taken(candidate, round_.gate)
        if current is not None:
            gate = self.training.taken(current, gate)
        if not gate:
            verdict = replace(UNGATED, reason=f"{UNGATED.reason} of its data") if round_.gate else UNGATED
            self._conclude(round_, self._beside(verdict, elsewhere), None, None, now)
            return
        if leaked := leaks(*([(str(label.volume_id), label.box) for label in s] for s in (round_.train, round_.gate))):
            n = len({i for i, _ in leaked})
            reason = f"not promoted: {n} training labels overlap held-out patches, which makes every score too good"
            self._conclude(round_, Verdict(False, reason), None, None, now)
            return
        trained = self.store.models.trained(round_.number)
        wanted = [self.planner.evaluate(model, gate, trained) for model in (candidate, None)]
        if current is not None:
            wanted.append(self.planner.evaluate(current, gate, trained))
        yield from wanted
        keys = [key_of(w.stage, w.inputs, w.params) for w in wanted]
        jobs = [self.store.jobs.by_key(k) for k in keys]
        ended = [j is not None and j.state in ("failed", "cancelled") for j in jobs]
        failed = next((jobs[i] for i in (0, *range(2, len(jobs))) if ended[i]), None)
        if failed is not None:
            reason = f"not promoted: it could not be judged ({self.store.jobs.last_words(failed.id)})"
            self._conclude(round_, Verdict(False, reason), None, None, now)
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
            current is not None and current.state == "promoted",
            self.settings.training.gate_min_patches,
        )
        self._conclude(
            round_, self._beside(verdict, elsewhere), mine["scores"], pseudo["scores"] if pseudo else None, now
        )

    def _beside(self, verdict: Verdict, elsewhere: ModelRow | None) -> Verdict:
        """The verdict, unless a model is in use that a candidate for other data cannot be compared with: a person decides then."""
        if elsewhere is None:
            return verdict
        if not verdict.promoted:
            return replace(verdict, instead="")
        made_for = self.training.made_for(elsewhere)
        of = f" ({made_for.kind})" if made_for else ""
        reason = f"not promoted: {elsewhere.version}, which is in use, is for other data{of}; `alscope models promote` changes that"
        return replace(verdict, promoted=False, reason=f"{reason}. {verdict.reason}")

    def _conclude(
        self,
        round_: RoundRow,
        verdict: Verdict,
        scores: dict[str, object] | None,
        pseudo: dict[str, object] | None,
        now: float,
    ) -> None:
        with self.store.transaction():
            self.store.learning.finish_round(
                round_, verdict.promoted, verdict.reason, scores, pseudo, now, verdict.ruling
            )
            if verdict.instead:
                self.store.models.promote(verdict.instead, "round", "", f"{round_.model} {verdict.reason}", now)
            word = "promoted" if verdict.promoted else "rejected"
            self.store.state.event("round", f"round {round_.number}: {round_.model} {word}: {verdict.reason}", now)

    def control(self) -> Iterator[Wanted]:
        """After every round, once: do the labels that selection chose teach more than those that chance chose?"""
        number = self.store.selection.newest_round_without_control()
        if number is None or self.store.jobs.states("control", f"round:{number}"):
            return
        labels = self.store.selection.arms()
        if self.settings.selection.control_share or any(arm == "control" for _, _, arm in labels):
            yield self.planner.control(number, labels)
