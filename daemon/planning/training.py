"""What is trained, and on which patches: the pre-training on pseudo-labels and the fine-tuning of a round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from alcore.kinds import Kind, MadeFor
from alcore.run import key_of
from alcore.types import Box
from daemon.clock import latest
from daemon.config import Settings
from daemon.planner import Planner
from daemon.policy import round_again_s
from daemon.store.rows import JobRow, LabelRow, ModelRow, PatchRow, RoundRow, VolumeRow, Wanted
from daemon.store.store import Store
from daemon.store.training import Amount

T = TypeVar("T")
MIX_PATCHES = 16
"""At most so many pseudo-labelled patches are mixed into a fine-tuning."""
UNDER_WAY = ("waiting", "ready", "running")
GIVEN_UP = ("failed", "cancelled")


@dataclass(frozen=True)
class TrainingPlans:
    """From pseudo-labels to M_p, and from the labels of a round to its candidate.

    There is one M_p for each kind of data (channels, voxel size) that there is enough of; its plan is frozen. known: what there
    was of each kind when so many volumes had pseudo-labels: ten thousand are not to be counted at every tick.
    """

    store: Store
    planner: Planner
    settings: Settings
    known: dict[tuple[str, int], list[Amount]] = field(default_factory=dict)

    def pseudo_labelled(self) -> list[tuple[VolumeRow, str]]:
        """Readable volumes, each with the key of its pseudo-labels."""
        done = self.store.jobs.done_by_volume("pseudo", self.planner.pseudo_spec())
        return [(v, done[v.id]) for v in self.store.volumes.readable() if v.id in done]

    # stage 1

    def pretraining(self) -> Iterator[Wanted]:
        """M_p of each kind of data, once enough pseudo-labels of it are there."""
        training = self.settings.training
        if not training.pretrain:
            return
        missing = self._missing()
        tried = self.store.training.tried() if missing else []
        if not missing or any(state in UNDER_WAY for _, _, state in tried):
            return
        busy = self.store.sources.n_arriving() + self.store.jobs.active("volume") + self.store.jobs.active("pseudo")
        for kind, n_volumes, n_patches in groups(missing):
            if n_patches < training.pretrain_min_patches or (busy and n_patches < training.pretrain_max_patches):
                continue
            ended = [int(s.split(":")[1]) for spec, s, state in tried if state in GIVEN_UP and spec in ("", str(kind))]
            if ended and n_volumes < 2 * ended[-1]:
                continue  # it failed with so many volumes, or somebody did not want it; more data may change that
            wanted = self._pretraining(kind)
            if wanted is not None:
                yield wanted
                return

    def pretraining_again(self, now: float) -> Iterator[Wanted]:
        """M_p of a kind that has none because its pre-training failed for a reason that may have passed by now: it goes on, or,
        where a patch of it was held out since, is made of what there is now. Each failure doubles the wait, as of a round."""
        gave_up = self.store.training.gave_up() if self.settings.training.pretrain else {}
        due = {spec: g for spec, g in gave_up.items() if now >= g.at + round_again_s(g.failures)}
        if not due or any(state in UNDER_WAY for _, _, state in self.store.training.tried()):
            return
        for kind, _, _ in groups(self._missing()):
            wanted = self._pretraining(kind) if str(kind) in due else None
            if wanted is None:
                continue
            job = self.store.jobs.get(due[str(kind)].job_id)
            assert job is not None
            self.store.state.event("job", f"the pre-training for {kind} is tried again", now)
            if self.store.training.takes_held_out(job):
                yield wanted
            else:
                self.store.jobs.retry(job.id, now)
            return

    def replan(self, now: float) -> str:
        """Make a new plan and M_p of what there is most of, from all that is there now. Returns what follows, in words.

        Raises LookupError, with the reason, when that cannot be done.
        """
        if not self.settings.training.pretrain:
            raise LookupError("training.pretrain = false: the plan is made anew in every round")
        if any(state in UNDER_WAY for _, _, state in self.store.training.tried()):
            raise LookupError("a pre-training is under way already")
        found = max(groups(self.amounts()), key=lambda g: g[2], default=None)
        wanted = self._pretraining(found[0]) if found is not None else None
        if wanted is None:
            raise LookupError(
                "no volume has pseudo-labels yet" if found is None else "no patch can be read that is not held out"
            )
        return self._made(wanted, now)

    def anew(self, job: JobRow, now: float) -> str:
        """Instead of a pre-training that takes what is held out by now, one for the same data without that. Returns what follows.

        Raises LookupError, with the reason, when that cannot be done.
        """
        if any(state in UNDER_WAY for _, _, state in self.store.training.tried()):
            raise LookupError("a pre-training is under way already")
        spec = self.store.jobs.spec(job.id)
        kind = next((kind for kind, _, _ in groups(self.amounts()) if str(kind) == spec), None)
        wanted = None if kind is None else self._pretraining(kind)
        if wanted is None:
            raise LookupError(
                "no other patch of such data has pseudo-labels; `alscope train --replan` takes what there is"
            )
        return f"job {job.id} takes patches that are held out by now or cannot be read; {self._made(wanted, now)}"

    def _made(self, wanted: Wanted, now: float) -> str:
        """This pre-training is done, because a person asks. Returns what follows, in words."""
        if self.store.jobs.want(wanted, now) is not None:
            return f"a new plan and model are made for {wanted.spec}; rounds that open from now on start from it"
        job = self.store.jobs.by_key(key_of(wanted.stage, wanted.inputs, wanted.params))
        assert job is not None
        if job.state == "done":
            raise LookupError("nothing has changed since the newest plan was made: it would be the same")
        self.store.jobs.retry(job.id, now)
        return f"the pre-training for {wanted.spec} is tried again"

    def pretraining_settled(self) -> bool:
        """Is there an M_p, or will there be none, and none is under way?"""
        if not self.settings.training.pretrain:
            return True
        states = [state for _, _, state in self.store.training.tried()]
        return bool(states) and not any(state in UNDER_WAY for state in states)

    def _pretrained(self) -> list[tuple[ModelRow, MadeFor | None]]:
        """Every M_p that tells objects apart as config.toml says now, newest first: a round cannot start from another one."""
        wanted = self.settings.training.instances
        found = self.store.training.pretrained()
        return [(m, made) for m, made in found if (made.instances if made else "components") == wanted]

    def amounts(self) -> list[Amount]:
        """What there is to pre-train on, by kind of data."""
        spec = self.planner.pseudo_spec()
        at = (spec, self.store.jobs.n_done("pseudo", spec))
        if at not in self.known:
            self.known.clear()
            self.known[at] = self.store.training.amounts(spec)
        return self.known[at]

    def _missing(self) -> list[Amount]:
        """What there is of the kinds that no M_p takes."""
        made = [made_for for _, made_for in self._pretrained()]
        return [a for a in self.amounts() if not any(m is None or m.takes(a.kind) for m in made)]

    def _pretraining(self, kind: Kind) -> Wanted | None:
        """On patches of all volumes that a model for this kind takes, but none that is held out by now; None when there is none,
        or none of these volumes can be read now."""
        volumes = self._taken(MadeFor(kind))
        held_out = self.store.training.held_out()
        chosen, patches = self._spread(volumes, held_out, self.settings.training.pretrain_max_patches)
        return self.planner.pretrain(chosen, patches, len(volumes), str(kind)) if patches else None

    def _taken(self, made_for: MadeFor | None) -> list[tuple[VolumeRow, str]]:
        """Pseudo-labelled volumes that a model takes (None: one for all)."""
        volumes = self.pseudo_labelled()
        if made_for is None:
            return volumes
        kinds = self.store.training.kinds(v.id for v, _ in volumes)
        return [(v, key) for v, key in volumes if made_for.takes(kinds[v.id])]

    # stage 2

    def is_time(self, now: float) -> bool:
        """Has one of the times of `training.schedule` come since labels came in that no round has seen?"""
        moment = latest(self.settings.training.times, now)
        return moment is not None and self.store.training.n_new_labels_of(moment) > 0

    def finetuning(self, round_: RoundRow, now: float) -> Iterator[Wanted]:
        """The recipe of a round is fixed when its job is first wanted, however the pool grows meanwhile; but where a file that it
        rehearses can no longer be read, it is what there is now."""
        existing = self.store.jobs.states("finetune", f"round:{round_.number}")
        last = self.store.jobs.get(existing[-1][0]) if existing else None
        if last is not None and last.state not in ("failed", "cancelled"):
            return
        start, made_for = self._start(round_)
        volumes = self._taken(made_for) if self.settings.training.mix_share > 0 else []
        mix, patches = self._spread(volumes, self._labelled(round_), MIX_PATCHES)
        wanted = self.planner.finetune(round_, start, mix, patches)
        same = last is not None and key_of("finetune", wanted.inputs, wanted.params) == last.key
        if last is not None and (same or not self.store.jobs.passed(last.id)):
            self.store.learning.fail_round(round_.number, self.store.jobs.last_words(last.id), now)
            return
        yield wanted

    def _labelled(self, round_: RoundRow) -> list[tuple[int, Box]]:
        """Where pseudo-labels are not rehearsed: at the labels of a round, and at all that is held out, whatever became of it."""
        return [
            *((label.volume_id, label.box) for label in (*round_.train, *round_.gate)),
            *self.store.training.held_out(),
        ]

    def _start(self, round_: RoundRow) -> tuple[ModelRow | None, MadeFor | None]:
        """The model that a round starts from (None: none), and the data that it takes (None: all).

        The newest M_p made for the kind that most of the training labels are of; or, where config.toml says so, the promoted
        model, unless a new M_p was made since.
        """
        kinds = self.store.training.kinds(label.volume_id for label in round_.train)
        (kind, _), *_ = Counter(kinds[label.volume_id] for label in round_.train).most_common(1)
        fitting = [(m, made) for m, made in self._pretrained() if made is None or made.takes(kind)]
        base, made_for = fitting[0] if fitting else (None, MadeFor(kind))
        current = self.store.learning.promoted()
        if self.settings.training.finetune_from == "current" and current is not None:
            takes, origin = self.made_for(current), self._origin(current)
            if takes is not None and not takes.takes(kind):
                return base, made_for
            if base is None or origin == base.version:
                return current, made_for
        return base, made_for

    # who takes what

    def made_for(self, model: ModelRow) -> MadeFor | None:
        """The data that a model takes; None: all, it is from a time when there was one model for all."""
        found = self.store.training.made_for(model.artifact)
        if found is not None or model.parent is None:
            return found
        parent = self.store.learning.model(model.parent)
        assert parent is not None
        return self.made_for(parent)

    def taken(self, model: ModelRow, labels: Sequence[LabelRow]) -> list[LabelRow]:
        """Those of the labels that a model can be judged on: of data that it takes."""
        made_for = self.made_for(model)
        if made_for is None:
            return list(labels)
        kinds = self.store.training.kinds(label.volume_id for label in labels)
        return [label for label in labels if made_for.takes(kinds[label.volume_id])]

    def opponents(self, candidate: ModelRow) -> tuple[ModelRow | None, ModelRow | None]:
        """(the model that a candidate is compared with, the one in use where that is for other data).

        Compared is with the model in use, or else with the newest M_p, if it was made for such data; None where there is none.
        """
        mine, promoted = self.made_for(candidate), self.store.learning.promoted()

        def alike(made_for: MadeFor | None) -> bool:
            return mine is None or made_for is None or made_for.takes(mine.kind)

        if promoted is not None and alike(self.made_for(promoted)):
            return promoted, None
        return next((m for m, made_for in self.store.training.pretrained() if alike(made_for)), None), promoted

    def _origin(self, model: ModelRow) -> str:
        """The version that a line of models began with."""
        while model.parent is not None:
            parent = self.store.learning.model(model.parent)
            assert parent is not None
            model = parent
        return model.version

    def _spread(
        self, volumes: Sequence[tuple[VolumeRow, str]], taken: Sequence[tuple[int, Box]], most: int
    ) -> tuple[list[tuple[VolumeRow, str]], list[PatchRow]]:
        """At most `most` patches of these volumes, spread evenly over all that touch none of the boxes `taken` (volume id,
        box); and the volumes that they lie in.

        Only the patches of volumes with such boxes, and those that are chosen, are fetched.
        """
        labelled = {volume_id for volume_id, _ in taken}
        free = {
            v.id: [p.row for p in self.store.volumes.patches(v.id) if not _touches(p, taken)]
            for v, _ in volumes
            if v.id in labelled
        }
        places = [(v.id, row) for v, _ in volumes for row in free.get(v.id, range(v.n_patches))]
        patches = [self.store.volumes.patch(volume_id, row) for volume_id, row in choose_evenly(places, most)]
        used = {p.volume_id for p in patches}
        return [(v, key) for v, key in volumes if v.id in used], patches


def _touches(patch: PatchRow, taken: Sequence[tuple[int, Box]]) -> bool:
    return any(volume_id == patch.volume_id and box.overlaps(patch.box) for volume_id, box in taken)


def choose_evenly(places: Sequence[T], most: int) -> list[T]:
    """At most `most` of these, spread evenly over the sequence."""
    if len(places) <= most:
        return list(places)
    return [places[i * len(places) // most] for i in range(most)]


def groups(amounts: Sequence[Amount]) -> list[tuple[Kind, int, int]]:
    """(kind, volumes, patches): kinds that one model takes are put together, under the one that comes first."""
    found: list[tuple[Kind, int, int]] = []
    left = list(amounts)
    while left:
        kind = left[0].kind
        one = [a for a in left if MadeFor(kind).takes(a.kind)]
        left = [a for a in left if a not in one]
        found.append((kind, sum(a.n_volumes for a in one), sum(a.n_patches for a in one)))
    return found
