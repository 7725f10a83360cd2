"""Rounds: when one opens, who judges its model, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from alcore.arrays.splits import leaks
from alcore.run import key_of
from daemon.config import Settings
from daemon.planner import Planner
from daemon.planning.failed_rounds import FailedRounds
from daemon.planning.training import TrainingPlans
from daemon.policy import round_again_s
from daemon.results import labels_digest
from daemon.store.rows import JobRow, ModelRow, RoundRow, Wanted
from daemon.store.store import Store
from daemon.verdict import UNGATED, Verdict, judge


@dataclass(frozen=True)
class Court:
    """current: the model that a candidate is compared with. elsewhere: the one in use, where that is for other data. evaluations:
    of the candidate, of the pseudo-labels, and of `current` if there is one; none where there is nothing to judge on."""

    current: ModelRow | None
    elsewhere: ModelRow | None
    evaluations: list[Wanted]

    @property
    def keys(self) -> list[str]:
        return [key_of(w.stage, w.inputs, w.params) for w in self.evaluations]


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
            failed = FailedRounds(self.store)
            if failed.taken_up(now):
                return
            if self._is_time(now) and (
                failed.let_another(self.settings.training.every, now) or self.training.is_time(now)
            ):
                self.open_round(now)
        elif round_.state == "training":
            yield from self.training.finetuning(round_, now)
        else:
            yield from self._judging(round_, now)

    def open_round(self, now: float) -> str:
        """Freeze the labels and start a round. Returns "" or why that cannot be done now."""
        active = self.store.learning.active_round()
        waiting = None if active is None else self._waits_to_be_judged(active)
        if (active is not None and waiting is None) or FailedRounds(self.store).taken_up(now):
            return "a round is already under way"
        labels = self.store.labels.current()
        n_train = sum(label.role == "train" for label in labels)
        if not n_train:
            return "there is no accepted label to train on yet"
        if not self.training.pretraining_settled():
            return "pre-training on the pseudo-labels is not finished yet"
        fraction = sum(label.box.voxels for label in labels) / max(1, self.store.volumes.pool_voxels())
        with self.store.transaction():
            if active is not None and waiting is not None:
                self._conclude(active, self._not_judged(waiting), None, None, now)
            number = self.store.learning.open_round(labels, labels_digest(labels), fraction, now)
            text = f"round {number}: {n_train} labels to train on, {len(labels) - n_train} held out"
            self.store.state.event("round", text, now)
        return ""

    def _is_time(self, now: float) -> bool:
        return self.store.training.n_new_labels() >= self.settings.training.every or self.training.is_time(now)

    def _court(self, round_: RoundRow) -> Court:
        candidate = self.store.learning.model(round_.model or "")
        assert candidate is not None
        current, elsewhere = self.training.opponents(candidate)
        gate = self.training.taken(candidate, round_.gate)
        if current is not None:
            gate = self.training.taken(current, gate)
        trained = self.store.models.trained(round_.number)
        judged = [candidate, None] if current is None else [candidate, None, current]
        return Court(current, elsewhere, [self.planner.evaluate(m, gate, trained) for m in judged] if gate else [])

    def _unjudged(self, court: Court) -> list[JobRow]:
        """The evaluations that failed or were cancelled; not of the pseudo-labels, which are only shown beside."""
        jobs = [self.store.jobs.by_key(key) for i, key in enumerate(court.keys) if i != 1]
        return [job for job in jobs if job is not None and job.state in ("failed", "cancelled")]

    def _waits_to_be_judged(self, round_: RoundRow) -> JobRow | None:
        """The evaluation that the judging of this round waits for until it is tried again."""
        return next(iter(self._unjudged(self._court(round_))), None) if round_.state == "judging" else None

    def judging_waits(self, version: str) -> JobRow | None:
        """The evaluation that the verdict on this model waits for; None while it is judged, or where it is not to be."""
        active = self.store.learning.active_round()
        return None if active is None or active.model != version else self._waits_to_be_judged(active)

    def unwanted(self) -> list[JobRow]:
        """Evaluations that have not begun or that failed, and that no round waits for: theirs was concluded without them."""
        return [job for job in self.store.jobs.not_done("evaluate") if not self.waits_for(job)]

    def waits_for(self, evaluation: JobRow) -> bool:
        """Is there a round whose verdict needs this evaluation?"""
        active = self.store.learning.active_round()
        return active is not None and active.state == "judging" and evaluation.key in self._court(active).keys

    def _not_judged(self, job: JobRow) -> Verdict:
        return Verdict(False, f"not promoted: it could not be judged ({self.store.jobs.last_words(job.id)})")

    def _judged_later(self, failed: Sequence[JobRow], now: float) -> bool:
        """May the model be judged later, since all that failed did so for a passing reason? Each is tried again after its wait.

        Not once the next round is due: that has all labels of this one, and waits for nobody.
        """
        gave_up = [self.store.jobs.given_up_at(job.id) for job in failed]
        if self._is_time(now):
            return False
        for job, g in zip(failed, gave_up, strict=True):
            if g is None:
                return False
            if now >= g.at + round_again_s(g.failures):
                self.store.jobs.retry(job.id, now)
                self.store.state.event("round", f"{job.subject.split(':', 1)[1]} is judged again", now)
        return True

    def _judging(self, round_: RoundRow, now: float) -> Iterator[Wanted]:
        """Score candidate, current model and pseudo-labels on the frozen gate; when all are there, give the verdict."""
        court = self._court(round_)
        current, elsewhere = court.current, court.elsewhere
        if not court.evaluations:
            verdict = replace(UNGATED, reason=f"{UNGATED.reason} of its data") if round_.gate else UNGATED
            self._conclude(round_, self._beside(verdict, elsewhere), None, None, now)
            return
        if leaked := leaks(*([(str(label.volume_id), label.box) for label in s] for s in (round_.train, round_.gate))):
            n = len({i for i, _ in leaked})
            reason = f"not promoted: {n} training labels overlap held-out patches, which makes every score too good"
            self._conclude(round_, Verdict(False, reason), None, None, now)
            return
        yield from court.evaluations
        if failed := self._unjudged(court):
            if not self._judged_later(failed, now):
                self._conclude(round_, self._not_judged(failed[0]), None, None, now)
            return
        scores = [self.store.learning.evaluation(k) for k in court.keys]
        beside = self.store.jobs.by_key(court.keys[1])
        given_up = beside is not None and beside.state in ("failed", "cancelled")
        if any(s is None and not (i == 1 and given_up) for i, s in enumerate(scores)):
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
