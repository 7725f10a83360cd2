"""Models, rounds and evaluations in SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.store.backend_scores import BackendScores, backend_scores
from daemon.store.connection import transaction
from daemon.store.labels import Labels
from daemon.store.models import Models
from daemon.store.rows import LabelRow, ModelRow, RoundRow

if TYPE_CHECKING:
    from sqlite_utils import Database


@dataclass(frozen=True)
class FailedRound:
    """A round that ended without a model. at: when, in seconds since the epoch. failures: see `Learning.failures`."""

    number: int
    at: float
    failures: int


class Learning:
    """From the frozen label set of a round to the verdict on its model."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # artifacts

    def add_artifact(self, key: str, stage: str, n_bytes: int, seconds: float, now: float) -> None:
        """Remember a finished artifact."""
        with transaction(self._db):
            row = {"key": key, "stage": stage, "bytes": n_bytes, "seconds": seconds, "created_at": now}
            self._db.table("artifact").insert(row, ignore=True)
            self._db.execute("UPDATE artifact SET cleared_at = NULL WHERE key = ? AND cleared_at IS NOT NULL", [key])

    # models

    def add_model(
        self,
        version: str,
        kind: str,
        state: str,
        artifact: str,
        parent: str | None,
        labels: Sequence[LabelRow],
        digest: str,
        now: float,
    ) -> None:
        """A newly trained model version."""
        row = {
            "version": version,
            "kind": kind,
            "state": state,
            "artifact": artifact,
            "parent": parent,
            "n_labels": len(labels),
            "labels_digest": digest,
            "created_at": now,
        }
        with transaction(self._db):
            self._db.table("model").insert(row)

    def model(self, version: str) -> ModelRow | None:
        """One model version, or None."""
        return next(iter(self._models("version = ?", [version])), None)

    def model_of_artifact(self, artifact: str) -> ModelRow | None:
        """The model version made of this artifact, or None."""
        return next(iter(self._models("artifact = ?", [artifact])), None)

    def promoted(self) -> ModelRow | None:
        """The model that segments volumes now, or None."""
        return next(iter(self._models("state = 'promoted'", [])), None)

    def pretrained(self) -> ModelRow | None:
        """The newest M_p, or None."""
        return next(iter(self._models("kind = 'pretrained' ORDER BY id DESC LIMIT 1", [])), None)

    def n_models(self, kind: str) -> int:
        """How many versions of a kind exist."""
        return int(next(self._db.query("SELECT COUNT(*) AS n FROM model WHERE kind = ?", [kind]))["n"])

    def _models(self, where: str, arguments: Sequence[Any]) -> list[ModelRow]:
        sql = f"SELECT version, kind, state, artifact, parent, n_labels, ruling FROM model WHERE {where}"
        return [ModelRow(**r) for r in self._db.query(sql, list(arguments))]

    # rounds

    def open_round(self, labels: Sequence[LabelRow], digest: str, fraction: float, now: float) -> int:
        """Freeze the label set and start a round; the schema allows one active round."""
        with transaction(self._db):
            number = int(next(self._db.query("SELECT COALESCE(MAX(number), 0) + 1 AS n FROM round"))["n"])
            n_train = sum(label.role == "train" for label in labels)
            row = {
                "number": number,
                "state": "training",
                "labels_digest": digest,
                "n_labels": n_train,
                "n_gate": len(labels) - n_train,
                "fraction": fraction,
                "started_at": now,
            }
            self._db.table("round").insert(row)
            self._db.table("round_label").insert_all(
                {"round": number, "label_id": label.id, "role": label.role} for label in labels
            )
        return number

    def active_round(self) -> RoundRow | None:
        """The round that is training or judging, or None."""
        found = next(self._db.query("SELECT * FROM round WHERE state IN ('training', 'judging')"), None)
        if found is None:
            return None
        labels = Labels(self._db).round_labels(found["number"])
        return RoundRow(
            number=found["number"],
            state=found["state"],
            model=found["model"],
            labels_digest=found["labels_digest"],
            train=tuple(label for label in labels if label.role == "train"),
            gate=tuple(label for label in labels if label.role == "gate"),
        )

    def judge(self, number: int, model: str) -> None:
        """The round's model is trained: now it is judged."""
        with transaction(self._db):
            self._db.execute("UPDATE round SET state = 'judging', model = ? WHERE number = ?", [model, number])

    def fail_round(self, number: int, why: str, now: float) -> None:
        """The round ended without a model."""
        with transaction(self._db):
            self._db.execute(
                "UPDATE round SET state = 'failed', verdict = ?, finished_at = ? WHERE number = ?", [why, now, number]
            )

    def failed_round(self) -> FailedRound | None:
        """The newest round, if it ended without a model."""
        sql = "SELECT number, state, finished_at FROM round ORDER BY number DESC LIMIT 1"
        found = next(self._db.query(sql), None)
        if found is None or found["state"] != "failed":
            return None
        return FailedRound(found["number"], found["finished_at"], self.failures(found["number"]))

    def failures(self, number: int) -> int:
        """How often this round failed, and those before it back to the last that did not."""
        sql = (
            "SELECT COALESCE(SUM(MAX(1, (SELECT COUNT(*) FROM job j JOIN job_event e ON e.job_id = j.id AND e.finish = 'failed'"
            " WHERE j.stage = 'finetune' AND j.subject = 'round:' || o.number))), 0) AS n FROM round o WHERE o.number <= :number"
            " AND o.number > (SELECT COALESCE(MAX(number), 0) FROM round WHERE number < :number AND state <> 'failed')"
        )
        return int(next(self._db.query(sql, {"number": number}))["n"])

    def reopen_round(self, number: int) -> None:
        """A round that failed trains again, on the labels that it had."""
        with transaction(self._db):
            sql = "UPDATE round SET state = 'training', verdict = '', finished_at = NULL WHERE number = ? AND state = 'failed'"
            self._db.execute(sql, [number])

    def finish_round(
        self,
        round_: RoundRow,
        promoted: bool,
        verdict: str,
        scores: Mapping[str, Any] | None,
        baseline: Mapping[str, Any] | None,
        now: float,
        ruling: str = "",
    ) -> None:
        """The verdict: the candidate is promoted and the former model retired, or it is rejected. One transaction.

        ruling: the court's word, empty where it was not asked.
        """
        assert round_.model is not None
        text = json.dumps(dict(scores)) if scores is not None else None
        with transaction(self._db):
            self._db.execute(
                "UPDATE model SET scores = ?, verdict = ?, ruling = ? WHERE version = ?",
                [text, verdict, ruling, round_.model],
            )
            models = Models(self._db)
            if promoted:
                models.promote(round_.model, "round", "", verdict, now)
            else:
                models.move(round_.model, "rejected")
            self._db.execute(
                "UPDATE round SET state = 'done', promoted = ?, verdict = ?, scores = ?, baseline = ?, finished_at = ?"
                " WHERE number = ?",
                [
                    int(promoted),
                    verdict,
                    text,
                    json.dumps(dict(baseline)) if baseline is not None else None,
                    now,
                    round_.number,
                ],
            )

    # evaluations

    def add_evaluation(self, key: str, model: str | None, digest: str, result: Mapping[str, Any], now: float) -> None:
        """Scores of a model (None: of the pseudo-labels) on a set of held-out labels."""
        row = {
            "job_key": key,
            "model": model,
            "labels_digest": digest,
            "scores": json.dumps(result["scores"]),
            "per_label": json.dumps(result["per_label"]),
            "created_at": now,
        }
        with transaction(self._db):
            self._db.table("evaluation").insert(row, ignore=True)
            if model is not None:
                self._db.execute(
                    "UPDATE model SET scores = ? WHERE version = ? AND state <> 'candidate'", [row["scores"], model]
                )

    def evaluation(self, key: str) -> dict[str, Any] | None:
        """{"scores": ..., "per_label": ...} of one evaluate job, or None."""
        row = next(self._db.query("SELECT scores, per_label FROM evaluation WHERE job_key = ?", [key]), None)
        return None if row is None else {name: json.loads(row[name]) for name in ("scores", "per_label")}

    def n_evaluations(self) -> int:
        """How many evaluations there ever were."""
        return int(next(self._db.query("SELECT COUNT(*) AS n FROM evaluation"))["n"])

    def backend_scores(self) -> list[BackendScores]:
        """What each pseudo-label backend was worth on the held-out labels."""
        return backend_scores(self._db.conn)
