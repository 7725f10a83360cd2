"""Reads the levels from the store, asks the planner, and takes the decisions that are not jobs: rounds, encoders, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alcore.run import key_of
from daemon.config import Settings
from daemon.planner import Planner, choose_evenly
from daemon.policy import judge, suggestions_to_ask, wants_encoder
from daemon.results import labels_digest
from daemon.store.rows import EncoderRow, LabelRow, PatchRow, RoundRow, SourceRow, VolumeRow, Wanted
from daemon.store.store import Store

LEAST_READING = 4
"""So few jobs that read acquisitions are planned at a time: what is read next is decided late."""
BACKLOG = 8
"""When more acquisitions than this wait to be read, what was read is learned from before the rest is read."""
AHEAD = 64
"""So few jobs of a kind lie ready, however many volumes wait for one: planning them takes time, and the next promoted model
makes those that predict pointless."""
MIX_PATCHES = 16
"""At most so many pseudo-labelled patches are mixed into a fine-tuning."""


@dataclass(frozen=True)
class Planning:
    """What ought to exist and does not. Called at every tick; cheap when nothing has changed."""

    store: Store
    planner: Planner
    settings: Settings

    def wanted(self, now: float) -> Iterator[Wanted]:
        """Every job that ought to exist now (some may exist already: the store knows recipes)."""
        yield from self._volumes()
        yield from self._encoder()
        yield from self._embeddings(now)
        yield from self._suggestions()
        yield from self._packages()
        yield from self._labels()
        yield from self._pretraining()
        yield from self._round(now)
        yield from self._predictions()

    def key(self, wanted: Wanted) -> str:
        """The recipe key of a wanted job."""
        return key_of(wanted.stage, wanted.inputs, wanted.params)

    def error(self, job_id: int) -> str:
        """The last words of a failed job."""
        return self.store.jobs.last_words(job_id)

    # volumes and pool

    def _volumes(self) -> Iterator[Wanted]:
        for _, wanted in self.readings():
            yield wanted
        spec = self.planner.pseudo_spec()
        for volume in self.store.volumes.without("pseudo", spec, self._room("pseudo", spec)):
            yield self.planner.pseudo(volume)

    def _room(self, stage: str, spec: str) -> int:
        """How many more jobs may be planned now."""
        return max(0, AHEAD - self.store.jobs.n_ready(stage, spec))

    def readings(self) -> list[tuple[SourceRow, Wanted]]:
        """The acquisitions that are to be read next, with the job that would read each."""
        backlog = self.store.sources.n_settled() > BACKLOG
        newest_first = self.settings.run.backlog == "newest"
        sources = self.store.sources.to_read(newest_first, max(LEAST_READING, 2 * self.settings.run.workers))
        return [(source, self.planner.volume(source, backlog)) for source in sources]

    def _encoder(self) -> Iterator[Wanted]:
        if self.store.jobs.active("encoder"):
            return
        trained = [e.n_patches for e in self.store.annotation.encoders().values()]
        arriving = self.store.sources.n_arriving() + self.store.jobs.active("volume")
        newest = max(trained, default=None)
        if not wants_encoder(self.store.volumes.n_patches(), arriving, newest, self.settings.encoder):
            return
        if not self.store.jobs.known("encoder", self.planner.encoder_spec(*self.store.volumes.readable_pool())):
            yield self.planner.encoder(self.store.volumes.readable())

    def _embeddings(self, now: float) -> Iterator[Wanted]:
        for encoder in self.store.annotation.encoders().values():
            spec = self.planner.embedding_spec(encoder)
            room = self._room("embedding", spec)
            missing = self.store.volumes.without("embedding", spec, max(1, room))
            for volume in missing[:room]:
                yield self.planner.embedding(volume, encoder)
            if encoder.state == "embedding" and not missing and not self.store.jobs.active_with_spec("embedding", spec):
                self._switch(encoder, now)

    def _switch(self, encoder: EncoderRow, now: float) -> None:
        with self.store.transaction():
            self.store.annotation.switch_encoder(encoder.id)
            self.store.state.event(
                "encoder", f"all volumes are embedded; the encoder of {encoder.n_patches} patches selects now", now
            )

    def _suggestions(self) -> Iterator[Wanted]:
        current = self.store.annotation.encoders().get("current")
        if current is None or self.store.jobs.active("suggestions"):
            return
        waiting = self.store.annotation.n_waiting_for_expert()
        depth = self.settings.selection.queue_depth
        if not suggestions_to_ask(waiting, depth, depth):
            return
        embedding = self.planner.embedding_spec(current)
        n_volumes, n_patches, n_covered = self.store.volumes.coverage("embedding", embedding)
        ask = suggestions_to_ask(waiting, depth, n_patches - n_covered)
        spec = self.planner.suggestions_spec(embedding, n_volumes, n_covered, ask)
        if ask and not self.store.jobs.known("suggestions", spec):
            embeddings = self.store.jobs.done_by_volume("embedding", embedding)
            yield self.planner.suggestions(embeddings, self.store.annotation.covered_rows(), ask, embedding)

    # expert

    def _packages(self) -> Iterator[Wanted]:
        spec = self.planner.pseudo_spec()
        for suggestion in self.store.annotation.unpackaged():
            volume = self.store.volumes.get(suggestion.patch.volume_id)
            state, key = self.store.jobs.of_volume("pseudo", spec, suggestion.patch.volume_id)
            if volume is not None and state in ("done", "failed", "cancelled"):
                yield self.planner.package(suggestion, volume, key if state == "done" else None)

    def _labels(self) -> Iterator[Wanted]:
        for received in self.store.annotation.received("state = 'checking' AND filed = 1"):
            artifact = self.store.volumes.artifact(received.suggestion.patch.volume_id)
            yield self.planner.label(received, artifact)

    # learning

    def _pseudo_labelled(self) -> list[tuple[VolumeRow, str]]:
        done = self.store.jobs.done_by_volume("pseudo", self.planner.pseudo_spec())
        return [(v, done[v.id]) for v in self.store.volumes.readable() if v.id in done]

    def _pretraining(self) -> Iterator[Wanted]:
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

    def _round(self, now: float) -> Iterator[Wanted]:
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
                self.store.learning.fail_round(round_.number, self.error(job_id), now)
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
            verdict = judge(None, None, "", 0, self.settings.training.gate_min_patches)
            self._conclude(round_, verdict.promoted, verdict.reason, None, None, now)
            return
        wanted = [self.planner.evaluate(candidate, round_.gate), self.planner.evaluate(None, round_.gate)]
        if current is not None:
            wanted.append(self.planner.evaluate(current, round_.gate))
        yield from wanted
        keys = [self.key(w) for w in wanted]
        jobs = [self.store.jobs.by_key(k) for k in keys]
        failed = next((j for j in jobs if j is not None and j.state in ("failed", "cancelled")), None)
        if failed is not None:
            reason = f"not promoted: it could not be judged ({self.error(failed.id)})"
            self._conclude(round_, False, reason, None, None, now)
            return
        scores = [self.store.learning.evaluation(k) for k in keys]
        if any(s is None for s in scores):
            return
        mine, pseudo, theirs = (s["scores"] if s else None for s in (*scores, None, None)[:3])
        verdict = judge(
            mine,
            theirs if current is not None else None,
            current.version if current else "",
            len(round_.gate),
            self.settings.training.gate_min_patches,
        )
        self._conclude(round_, verdict.promoted, verdict.reason, mine, pseudo, now)

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

    def _predictions(self) -> Iterator[Wanted]:
        promoted = self.store.learning.promoted()
        if promoted is None:
            return
        spec = self.planner.predict_spec(promoted)
        for volume in self.store.learning.without_prediction(promoted.version, spec, self._room("predict", spec)):
            yield self.planner.predict(volume, promoted)


def _touches(patch: PatchRow, labels: Sequence[LabelRow]) -> bool:
    return any(label.volume_id == patch.volume_id and label.box.overlaps(patch.box) for label in labels)
