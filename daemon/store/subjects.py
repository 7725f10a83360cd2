"""Names for people in place of the ids that jobs carry as their subject."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace

from daemon.store.connection import FULL_NAME
from daemon.store.views import Problem, Snapshot

_SEPARATOR = " of "


def subject_names(db: sqlite3.Connection, subjects: Iterable[str]) -> dict[str, str]:
    """Subject of a job ("volume:3") -> what people call it ("stack_03.tif"). Unknown subjects stand for themselves."""
    return {subject: _name(db, subject) for subject in set(subjects)}


def _counted(number: str, one: str, many: str) -> str:
    return f"{number} {one if number == '1' else many}"


def _name(db: sqlite3.Connection, subject: str) -> str:
    kind, _, rest = subject.partition(":")
    number = rest.split(":")[0]
    if kind == "pretrain":
        return "pseudo-labels"
    if kind == "pool":
        return _counted(number, "volume", "volumes") if ":" in rest else _counted(number, "patch", "patches")
    if kind == "novelty":
        return _counted(rest.split(":")[-1], "volume", "volumes")
    if kind == "round":
        return f"round {number}"
    if kind in ("suggestion", "evaluate"):
        return rest
    queries = {
        "source": "SELECT name FROM source WHERE id = ?",
        "volume": f"SELECT {FULL_NAME} FROM volume v WHERE id = ?",
        "received": "SELECT suggestion_id FROM received WHERE id = ?",
        "truth": f"SELECT {FULL_NAME} FROM truth t JOIN volume v ON v.id = t.volume_id WHERE t.id = ?",
    }
    if kind not in queries or not number.isdecimal():
        return subject
    row = db.execute(queries[kind], [int(number)]).fetchone()
    return subject if row is None else str(row[0])


def with_names(db: sqlite3.Connection, snapshot: Snapshot) -> Snapshot:
    """The snapshot with names as subjects of its running jobs and of its problems with jobs."""
    told = [p.subject.split(_SEPARATOR, 1)[-1] for p in snapshot.problems if _is_of_job(p)]
    names = subject_names(db, [*told, *(job.subject for job in snapshot.running)])
    return replace(
        snapshot,
        running=tuple(replace(job, subject=names[job.subject]) for job in snapshot.running),
        problems=tuple(_renamed(p, names) if _is_of_job(p) else p for p in snapshot.problems),
    )


def _is_of_job(problem: Problem) -> bool:
    return problem.kind in ("job", "retry")


def _renamed(problem: Problem, names: Mapping[str, str]) -> Problem:
    stage, _, subject = problem.subject.partition(_SEPARATOR)
    return replace(problem, subject=f"{stage} of {names.get(subject, subject)}")
