"""What a finished or failed job changes in the store: one function per stage, each called inside the job's own transaction."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alcore.arrays.drift import drift
from alcore.arrays.splits import assign_role
from daemon.executors.perform import one_line
from daemon.planner import PSEUDO_LABELS
from daemon.policy import digest, round_again_s
from daemon.results_report import ReportResults
from daemon.results_selection import Failure
from daemon.store.labels import UNCHECKED, UNFINISHED
from daemon.store.rows import JobRow, LabelRow, SourceRow, path_of
from daemon.verdict import with_intervals
from daemon.wording import duration

MANY_SINGLES = 20
"""So many single images with running numbers in one folder are worth a question."""


class Results(ReportResults):
    """Applies results of all stages."""

    def done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        """A job's artifact exists: draw the consequences."""
        handler = getattr(self, f"_{job.stage}_done", None)
        if handler is not None:
            handler(job, result, now)

    def failed(self, job: JobRow, failure: Failure, now: float) -> None:
        """A job failed for good: draw the consequences."""
        handler = getattr(self, f"_{job.stage}_failed", None)
        if handler is not None:
            handler(job, failure, now)
        if job.stage not in ("volume", "label"):  # those two speak of a file of the user's, and say so themselves
            self.store.state.event("job", f"{job.stage} of {job.subject} failed: {failure.error}", now)

    # volumes

    def _volume_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        source_id, fingerprint = self._source_of(job)
        source = self.store.sources.source(source_id)
        if source is None or source.fingerprint != fingerprint:
            return  # it has gone, or changed, since it was read
        fresh = self.store.volumes.ingest(source_id, fingerprint, job.key, result, now)
        warnings = [w for volume_id in fresh for w in self._warnings(volume_id)]
        if fresh:
            volumes = result["volumes"]
            name = printable(job.inputs["source"][0].path.name)
            size = " x ".join(str(n) for n in volumes[0]["info"]["shape"][1:])
            several = f"{len(volumes)} volumes, the first of " if len(volumes) > 1 else ""
            text = f"{name}: {several}{size} voxels, {sum(len(v['patches']) for v in volumes)} patches"
            self.store.state.event("volume", text, now)
            for warning in warnings[:5]:
                self.store.state.event("quality", f"{name}: {warning}", now)
            if volumes[0]["info"]["shape"][1] == 1:
                self._hint_at_slices(job.inputs["source"][0].path, now)

    def _hint_at_slices(self, path: Path, now: float) -> None:
        """Many single images with running numbers may be the slices of one volume: say so, once."""
        if self.store.sources.n_numbered_alike(os.fsencode(path)) == MANY_SINGLES:
            text = (
                f"{MANY_SINGLES} single images like {printable(path.name)} were each taken for a volume of one slice; if "
                f"they are the slices of one volume, name their folder, {printable(path.parent.name)}, in `slices`"
            )
            self.store.state.event("hint", text, now)

    def _warnings(self, volume_id: int) -> list[str]:
        """What a first look at a new volume found, and how it differs from those before it. Never blocks."""
        quality = self.store.volumes.quality(volume_id)
        if not quality:
            return []
        more = drift(quality, self.store.volumes.earlier_quality(volume_id))
        quality["warnings"] = [*quality["warnings"], *more]
        self.store.volumes.set_quality(volume_id, quality)
        found: list[str] = quality["warnings"]
        return found

    def _volume_failed(self, job: JobRow, failure: Failure, now: float) -> None:
        source_id, fingerprint = self._source_of(job)
        source = self.store.sources.source(source_id)
        if source is not None:
            self.set_aside(source, fingerprint, job, failure.error, now)

    def set_aside(self, source: SourceRow, fingerprint: str, job: JobRow, error: str, now: float) -> None:
        """An acquisition cannot be used, as the job said that tried to read it, or another one that is the same file."""
        path = path_of(source.path)
        folder = next((w.folder for w in self.settings.watch if w.folder in path.parents), path.parent)
        # people know it by its place in the watched folder; the whole path would push the reason off their screen
        reason = error.replace(one_line(job.inputs["source"][0].path), printable(str(path.relative_to(folder))))
        self.store.sources.set_aside(source.id, fingerprint, reason, now)
        self.store.state.event("set aside", reason, now)

    def _source_of(self, job: JobRow) -> tuple[int, str]:
        return int(job.subject.split(":")[1]), json.dumps(job.params["fingerprint"], sort_keys=True)

    # labels

    def _package_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        self.store.annotation.packaged(job.subject.split(":")[1], job.key)

    def _label_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        (received,) = self.store.labels.received("id = ?", [int(job.subject.split(":")[1])])
        if received.state != "checking":
            return  # another check of it ended before: config.toml, or alscope, was changed while this one ran
        if received.suggestion.repeat_of is not None:
            self._repeat_labelled(received, job.key, result, now)
            return
        patch = received.suggestion.patch
        try:
            assigned = assign_role(
                self.store.models.placed(),
                str(patch.volume_id),
                patch.box,
                gate_share=self.settings.training.gate_share,
                gate_max=self.settings.training.gate_max_patches,
            )
        except ValueError:
            reason = (
                f"{received.suggestion.id}: this patch overlaps both patches that train and patches that are held out, so it "
                "can do neither; label one apart from them"
            )
            self.store.labels.reject(received, reason, now)
            self.store.state.event("label", f"label of {received.suggestion.id} rejected: {reason}", now)
            return
        warnings = [str(w) for w in result.get("warnings", [])]
        made = self.store.labels.accept(
            received,
            job.key,
            assigned.role,
            int(result["n_objects"]),
            warnings,
            now,
            float(result.get("seen_fraction", 1.0)),
        )
        self.store.models.set_role_reason(made, assigned.reason)
        use = "for training" if assigned.role == "train" else f"held out to judge models ({assigned.reason})"
        text = f"label of {received.suggestion.id} accepted: {result['n_objects']} objects, {use}"
        self.store.state.event("label", text + (f" ({'; '.join(warnings)})" if warnings else ""), now)

    def _label_failed(self, job: JobRow, failure: Failure, now: float) -> None:
        (received,) = self.store.labels.received("id = ?", [int(job.subject.split(":")[1])])
        if received.state != "checking":
            return  # as above
        if failure.kind == "source_changed":
            self.store.labels.reject(received, UNFINISHED, now)
            self.store.state.event("label", f"label of {received.suggestion.id}: {UNFINISHED}", now)
            return
        why = failure.error
        if failure.kind == "transient":  # every time that it was tried
            name = path_of(received.inbox_path).name
            why = f"{UNCHECKED.format(name=printable(name))} (the last time: {failure.error})"
        self.store.labels.reject(received, why, now)
        self.store.state.event("label", f"label of {received.suggestion.id} rejected: {why}", now)

    # learning

    def _pretrain_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        version = f"M_p-{self.store.learning.n_models('pretrained') + 1:03d}"
        self.store.learning.add_model(version, "pretrained", "baseline", job.key, None, [], "", now)
        self.store.state.event(
            "model",
            f"{version}: pre-trained on {result.get('n_cases', 0)} pseudo-labelled patches{_remarks(result)}",
            now,
        )

    def _finetune_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        round_ = self.store.learning.active_round()
        number = int(job.subject.split(":")[1])
        if round_ is None or round_.number != number:
            return
        start = job.inputs["model"]
        parent = self.store.learning.model_of_artifact(start[0].key) if start else None
        version = f"M_f-{number:03d}"
        self.store.learning.add_model(
            version,
            "finetuned",
            "candidate",
            job.key,
            parent.version if parent else None,
            round_.train,
            round_.labels_digest,
            now,
        )
        self.store.learning.judge(number, version)
        text = f"{version}: fine-tuned on {len(round_.train)} labels, now judged{_remarks(result)}"
        self.store.state.event("model", text, now)

    def _finetune_failed(self, job: JobRow, failure: Failure, now: float) -> None:
        number = int(job.subject.split(":")[1])
        round_ = self.store.learning.active_round()
        if round_ is not None and round_.number == number:
            words = self._again(job, failure, self.store.learning.failures(number))
            self.store.learning.fail_round(number, words, now)

    def _again(self, job: JobRow, failure: Failure, failures: int) -> str:
        """Why a training or judging ended, and when it is tried again."""
        wait = duration(round_again_s(failures))
        again = f"tried again in {wait}, or when the daemon is restarted" if self.store.jobs.gave_up(job.id) else ""
        how = f"`alscope jobs retry {job.id}` tries it again now"
        return "; ".join(filter(None, (failure.error, again, how)))

    def _pretrain_failed(self, job: JobRow, failure: Failure, now: float) -> None:
        kind, gave_up = next(
            ((k, g) for k, g in self.store.training.gave_up().items() if g.job_id == job.id), ("", None)
        )
        if gave_up is not None:
            text = f"no model for {kind} yet: {self._again(job, failure, gave_up.failures)}"
            self.store.state.event("model", text, now)

    def _evaluate_failed(self, job: JobRow, failure: Failure, now: float) -> None:
        gave_up, name = self.store.jobs.given_up_at(job.id), job.subject.split(":", 1)[1]
        round_ = self.store.learning.active_round()
        waits = round_ is not None and round_.state == "judging"  # else its round was concluded meanwhile
        if gave_up is not None and name != PSEUDO_LABELS and waits:
            text = f"{name} is not judged yet: {self._again(job, failure, gave_up.failures)}"
            self.store.state.event("model", text, now)

    def _evaluate_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        name = job.subject.split(":", 1)[1]
        model = None if name == PSEUDO_LABELS else name
        scored = {**result, "scores": with_intervals(result)}
        self.store.learning.add_evaluation(job.key, model, digest([i.key for i in job.inputs["label"]]), scored, now)
        for note in result.get("notes", []):
            self.store.state.event("model", f"{name}, judged: {note}", now)

    def _predict_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        model = self.store.learning.model_of_artifact(job.inputs["model"][0].key)
        assert model is not None and job.volume_id is not None
        self.store.predictions.add(
            job.volume_id, model.version, job.key, int(result["n_objects"]), now, result.get("confidence")
        )
        for note in result.get("notes", []):
            name = self.store.volumes.name(job.volume_id)
            self.store.state.event("predict", f"{name}: {note}", now)


def _remarks(result: Mapping[str, Any]) -> str:
    """What a training had to change about itself, or left out."""
    notes = [str(note) for note in result.get("notes", [])]
    return f" ({'; '.join(notes)})" if notes else ""


def labels_digest(labels: list[LabelRow]) -> str:
    """Name of a frozen label set: which labels, in which role."""
    return digest([(label.artifact, label.role) for label in labels])


def printable(name: str) -> str:
    """A file name for people: control characters escaped, undecodable bytes shown."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
