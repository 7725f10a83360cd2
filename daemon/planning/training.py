"""What is trained, and on which patches: the pre-training on pseudo-labels and the fine-tuning of a round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from daemon.config import Settings
from daemon.planner import Planner
from daemon.store.rows import LabelRow, PatchRow, RoundRow, VolumeRow, Wanted
from daemon.store.store import Store

T = TypeVar("T")
MIX_PATCHES = 16
"""At most so many pseudo-labelled patches are mixed into a fine-tuning."""


@dataclass(frozen=True)
class TrainingPlans:
    """From pseudo-labels to M_p, and from the labels of a round to its candidate."""

    store: Store
    planner: Planner
    settings: Settings

    def pseudo_labelled(self) -> list[tuple[VolumeRow, str]]:
        """Readable volumes, each with the key of its pseudo-labels."""
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
        volumes = self.pseudo_labelled()
        yield self.planner.pretrain(*self._spread(volumes, (), training.pretrain_max_patches), len(volumes))

    def pretraining_settled(self) -> bool:
        """Is there an M_p, or will there be none?"""
        if not self.settings.training.pretrain:
            return True
        states = [state for _, state in self.store.jobs.of_stage("pretrain")]
        return "done" in states or (bool(states) and states[-1] == "failed")

    def finetuning(self, round_: RoundRow, now: float) -> Iterator[Wanted]:
        """The recipe of a round is fixed when its job is first wanted, however the pool grows meanwhile."""
        existing = self.store.jobs.states("finetune", f"round:{round_.number}")
        if existing:
            job_id, state = existing[-1]
            if state in ("failed", "cancelled"):
                self.store.learning.fail_round(round_.number, self.store.jobs.last_words(job_id), now)
            return
        volumes = self.pseudo_labelled() if self.settings.training.mix_share > 0 else []
        mix, patches = self._spread(volumes, [*round_.train, *round_.gate], MIX_PATCHES)
        yield self.planner.finetune(round_, self.store.learning.pretrained(), mix, patches)

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


def _touches(patch: PatchRow, labels: Sequence[LabelRow]) -> bool:
    return any(label.volume_id == patch.volume_id and label.box.overlaps(patch.box) for label in labels)


def choose_evenly(places: Sequence[T], most: int) -> list[T]:
    """At most `most` of these, spread evenly over the sequence."""
    if len(places) <= most:
        return list(places)
    return [places[i * len(places) // most] for i in range(most)]
