"""What volumes lack: reading, pseudo-labels, traits, embeddings, novelty; and which encoder the pool lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from daemon.config import Settings
from daemon.planner import Planner
from daemon.planning.levels import AHEAD, missing_anywhere, room
from daemon.planning.pseudo import PseudoPlans
from daemon.policy import encoder_kind, wants_encoder
from daemon.store.kept import asked_for
from daemon.store.rows import EncoderRow, SourceRow, Wanted
from daemon.store.store import Store

LEAST_READING = 4
"""So few jobs that read acquisitions are planned at a time: what is read next is decided late."""
BACKLOG = 8
"""When more acquisitions than this wait to be read, what was read is learned from before the rest is read."""
NEW_AT_ONCE = 256
"""Volumes whose novelty is measured in one job: after a switch of encoders all are new, and small jobs wait behind it."""


@dataclass(frozen=True)
class PoolPlans:
    """From the settled acquisition to a pool that is embedded by the encoder that selects."""

    store: Store
    planner: Planner
    settings: Settings
    pseudo: PseudoPlans

    def readings(self) -> list[tuple[SourceRow, Wanted]]:
        """The acquisitions that are to be read next, with the job that would read each."""
        backlog = self.store.sources.n_settled() > BACKLOG
        newest_first = self.settings.run.backlog == "newest"
        sources = self.store.sources.to_read(newest_first, max(LEAST_READING, 2 * self.settings.run.workers))
        return [(source, self.planner.volume(source, backlog)) for source in sources]

    def volumes(self, now: float) -> Iterator[Wanted]:
        """Reading, then pseudo-labels, then what every patch holds."""
        for _, wanted in self.readings():
            yield wanted
        spec = self.planner.pseudo_spec()
        yield from self._pseudo(spec, now)
        yield from self._traits(spec)

    def _pseudo(self, spec: str, now: float) -> Iterator[Wanted]:
        """Once for every volume, by whoever labels now; and once more without the model where that failed."""
        by = self.pseudo.labeler(now)
        if missing_anywhere(self.store, "pseudo", spec):
            for volume in self.store.volumes.without("pseudo", spec, room(self.store, "pseudo", spec)):
                yield self.planner.pseudo(volume, by)
        for volume_id in self.store.jobs.failed_with_model("pseudo", spec):
            failed = self.store.volumes.get(volume_id)
            if failed is not None:
                yield self.planner.pseudo(failed, self.pseudo.without_model())

    def _traits(self, pseudo: str) -> Iterator[Wanted]:
        """From image and pseudo-labels; from the image alone where pseudo-labelling failed, and again if it works later."""
        jobs = self.store.jobs
        spec = self.planner.traits_spec(True)
        if jobs.n_volumes_with("traits", spec) < jobs.n_done("pseudo", pseudo):
            done = jobs.done_by_volume("pseudo", pseudo)
            for volume in self.store.volumes.without("traits", spec, room(self.store, "traits", spec), done):
                yield self.planner.traits(volume, done[volume.id])
        failed = jobs.given_up("pseudo", pseudo)
        if failed:
            spec = self.planner.traits_spec(False)
            for volume in self.store.volumes.without("traits", spec, room(self.store, "traits", spec), failed):
                yield self.planner.traits(volume, None)

    # encoders

    def encoders(self, now: float) -> Iterator[Wanted]:
        """The descriptor as soon as there is anything to describe; the autoencoder, unless config.toml wants none, when the
        pool is large enough, and again when it has grown."""
        preferred = encoder_kind(self.settings.encoder, self.planner.device)
        self._take_up_again(preferred, now)
        for kind in ("descriptor", "mae") if preferred == "mae" else ("descriptor",):
            if self.store.jobs.active("encoder", long=kind == "mae") or not self._lacks(kind, preferred):
                continue
            spec = self.planner.encoder_spec(kind, *self.store.volumes.readable_pool())
            if not self.store.jobs.known("encoder", spec):
                yield self.planner.encoder(kind, self.store.volumes.readable())

    def _take_up_again(self, preferred: str, now: float) -> None:
        """An encoder that was retired, when it is made as config.toml says now, or of the kind that it prefers, or nothing else
        serves."""
        encoders, wanted = self.store.encoders, self.planner.encoder_design(preferred)
        in_use = encoders.in_use().values()
        serving = [e for e in in_use if e.kind == preferred]
        if any(e.design == wanted for e in serving):
            return
        revived = encoders.revive(preferred, wanted)
        if revived is None and not serving:
            revived = encoders.revive(preferred) or (None if in_use else encoders.revive(None))
        if revived is not None:
            why = "as config.toml says" if revived.kind == preferred else "nothing else serves"
            self.store.state.event("encoder", f"{revived.name} ({revived.kind}) is taken up again: {why}", now)

    def _lacks(self, kind: str, preferred: str) -> bool:
        """Does the pool lack an encoder of this kind, or one that knows it as large as it is now?"""
        in_use = self.store.encoders.in_use()
        if kind != preferred and any(e.kind == preferred or state == "embedding" for state, e in in_use.items()):
            return False
        n_patches, encoder = self.store.volumes.n_patches(), self.settings.encoder
        tried_on = self.store.encoders.tried_on(kind, self.planner.encoder_design(kind))
        arriving = self.store.sources.n_arriving() + self.store.jobs.active("volume")
        if kind == "descriptor" and tried_on is None:
            arriving = 0  # it takes seconds, and people wait for the first suggestions
        # what can be read is what it is made of: counted only where all that ever came would do
        return wants_encoder(n_patches, arriving, tried_on, encoder) and wants_encoder(
            self.store.volumes.readable_pool()[1], arriving, tried_on, encoder
        )

    def embeddings(self, now: float) -> Iterator[Wanted]:
        """By every encoder that serves or is about to; when the new one has embedded all, it selects."""
        for encoder in self.store.encoders.in_use().values():
            kept = list(self._kept(encoder))
            yield from kept
            spec = self.planner.embedding_spec(encoder)
            free, missing = room(self.store, "embedding", spec), []
            if missing_anywhere(self.store, "embedding", spec):
                missing = self.store.volumes.without("embedding", spec, max(1, free))
            for volume in missing[:free]:
                yield self.planner.embedding(volume, encoder)
            if encoder.state == "embedding" and not missing and not kept and not self._embedding_now(encoder):
                self._switch(encoder, now)

    def _embedding_now(self, encoder: EncoderRow) -> bool:
        jobs, planner = self.store.jobs, self.planner
        return bool(
            jobs.active_with_spec("embedding", planner.embedding_spec(encoder))
            or jobs.active_with_spec("kept_embedding", planner.kept_spec(encoder))
        )

    def _kept(self, encoder: EncoderRow) -> Iterator[Wanted]:
        """What was kept of volumes that this encoder never saw: else it would ask for what is labelled already."""
        images = self.store.kept.images(self.planner.embedding_spec(encoder))
        if not images:
            return
        jobs = self.store.kept.jobs(self.planner.kept_spec(encoder))
        for volume_id, rows in images.items():
            if not asked_for(rows, jobs, volume_id):
                yield self.planner.kept_embedding(volume_id, self.store.volumes.artifact(volume_id), rows, encoder)

    def _switch(self, encoder: EncoderRow, now: float) -> None:
        """Let it select; unless most volumes could not be embedded with it, which then says more of it than of them."""
        spec = self.planner.embedding_spec(encoder)
        done, failed = self.store.jobs.n_done("embedding", spec), len(self.store.jobs.given_up("embedding", spec))
        if failed > done:
            reason = (
                f"{failed} of {done + failed} volumes could not be embedded with it (`alscope jobs --state failed`)"
            )
            with self.store.transaction():
                self.store.encoders.refuse(encoder.id, reason)
                self.store.state.event("encoder", f"{encoder.name} ({encoder.kind}) is not used: {reason}", now)
            return
        text = f"all volumes are embedded; {encoder.name} ({encoder.kind}, of {encoder.n_patches} patches) selects now"
        with self.store.transaction():
            self.store.encoders.switch(encoder.id)
            self.store.state.event("encoder", text, now)

    def novelty(self) -> Iterator[Wanted]:
        """How new volumes were when they came, for all of them together once no more are being embedded, or many wait."""
        current, jobs = self.store.encoders.in_use().get("current"), self.store.jobs
        if current is None or jobs.active("novelty"):
            return
        spec = self.planner.embedding_spec(current)
        n_embedded = jobs.n_done("embedding", spec)
        kept = self.store.kept.stand_in(self.planner.kept_spec(current), spec)
        n_new = n_embedded - self.store.selection.n_novelty(current.id)
        if n_new <= 0 or (n_new < AHEAD and jobs.active_with_spec("embedding", spec)):
            return
        missing = self.store.selection.without_novelty(current.id, spec)
        new, later = missing[:NEW_AT_ONCE], set(missing[NEW_AT_ONCE:])
        n_known = n_embedded + len(kept) - len(later)
        if new and not jobs.known("novelty", self.planner.novelty_spec(current, n_known, new)):
            embeddings = {volume: made.artifact for volume, made in kept.items()}
            embeddings |= jobs.done_by_volume("embedding", spec)
            yield self.planner.novelty(current, {v: key for v, key in embeddings.items() if v not in later}, new)
