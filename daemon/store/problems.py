"""What is wrong now, read from the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from alcore.disk import full_words, is_full
from daemon.remedies import REMEDY, rank
from daemon.store.connection import FULL_NAME
from daemon.store.job_levels import OUTGROWN
from daemon.store.rows import encoder_name
from daemon.store.views import DaemonView, Problem


def disk_problem(workspace: Path, now: float) -> list[Problem]:
    """A full disk, seen from here: the daemon has no room to write it down."""
    return [Problem("disk", "workspace", full_words(workspace), now)] if is_full(workspace) else []


def current_problems(
    recorded: Iterable[Problem], daemon: DaemonView, workspace: Path, now: float
) -> tuple[Problem, ...]:
    """The recorded ones with what is wrong with the daemon and the disk at this moment, the most wrong kinds first (see
    `daemon.remedies`)."""
    found = []
    if daemon.state in ("stopped", "crashed", "never", "hanging"):
        words = {
            "stopped": "the daemon is not running; start it with `alscope run`",
            "crashed": "the daemon ended unexpectedly; start it with `alscope run`, nothing is lost",
            "never": "no daemon has run here yet; start it with `alscope run`",
            "hanging": "the daemon gives no sign of life; see its log",
        }
        found.append(Problem("daemon", "alscope", words[daemon.state], daemon.seen or now))
    full = disk_problem(workspace, now)
    found += [*full, *(p for p in recorded if not (full and p.kind == "disk"))]
    return tuple(sorted(found, key=lambda p: rank(p.kind)))


def recorded_problems(db: sqlite3.Connection) -> list[Problem]:
    """What is written down as wrong, each with what to do."""
    found = [
        Problem(r["kind"], r["subject"], r["message"], r["first_seen"])
        for r in db.execute("SELECT * FROM problem ORDER BY kind, subject")
    ]
    found += [*_failed_jobs(db), *_waiting_jobs(db), *_rejected_encoder(db)]
    for r in db.execute("SELECT id, note, changed_at FROM suggestion WHERE state = 'rejected' ORDER BY rank"):
        text = f"{r['note']}; mend the file and save it to inbox/{r['id']}.tif again"
        found.append(Problem("label", r["id"], text, r["changed_at"]))
    for r in db.execute(
        "SELECT name, reason, changed_at FROM source WHERE state = 'set_aside' AND gone = 0 ORDER BY id"
    ):
        found.append(Problem("set aside", r["name"], r["reason"], r["changed_at"]))
    for r in db.execute(
        "SELECT name, reason, changed_at FROM source INDEXED BY source_remarks"
        " WHERE state = 'ingested' AND reason <> '' AND gone = 0 ORDER BY id"
    ):
        found.append(Problem("part of a file set aside", r["name"], r["reason"], r["changed_at"]))
    for r in db.execute(
        "SELECT v.name, v.part, v.quality, v.created_at FROM volume v WHERE json_array_length(v.quality, '$.warnings') > 0"
        " ORDER BY v.id DESC LIMIT 20"
    ):
        text = "; ".join(json.loads(r["quality"])["warnings"])
        found.append(Problem("quality", r["name"] + (f" ({r['part']})" if r["part"] else ""), text, r["created_at"]))
    found += _novel_volumes(db)
    return [replace(p, todo=REMEDY[p.kind]) if p.kind in REMEDY else p for p in found]


def _failed_jobs(db: sqlite3.Connection) -> Iterator[Problem]:
    """Those whose failure nobody else speaks of."""
    for r in db.execute(
        "SELECT * FROM job WHERE state = 'failed' AND stage NOT IN ('volume', 'label')"
        f" AND error_kind <> 'encoder_rejected' AND NOT {OUTGROWN} ORDER BY id DESC"
    ):
        text = f"{r['error']} (`alscope jobs show {r['id']}`, `alscope jobs retry {r['id']}`)"
        yield Problem("job", f"{r['stage']} of {r['subject']}", text, r["finished_at"])


def _waiting_jobs(db: sqlite3.Connection) -> Iterator[Problem]:
    """Those that are tried again by themselves. One that waits for a file that is gone, or whose folder cannot be reached, is
    not: the volume says "source gone", the folder is a problem of its own."""
    there = (
        "EXISTS (SELECT 1 FROM source_part l JOIN source x ON x.id = l.source_id WHERE l.volume_id = job.volume_id"
        " AND l.current = 1 AND x.state = 'ingested' AND x.gone = 0 AND x.away = 0)"
    )
    for r in db.execute(
        "SELECT * FROM job WHERE state = 'waiting' AND (error_kind IN ('transient', 'disk_full', 'cluster')"
        f" OR (error_kind = 'source_missing' AND (volume_id IS NULL OR {there})))"
    ):
        yield Problem("retry", f"{r['stage']} of {r['subject']}", f"{r['error']}; it is tried again", r["created_at"])


def _rejected_encoder(db: sqlite3.Connection) -> Iterator[Problem]:
    """The newest attempt at an encoder of a kind, if it was refused."""
    for r in db.execute(
        "SELECT e.* FROM encoder e WHERE e.state = 'rejected'"
        " AND NOT EXISTS (SELECT 1 FROM encoder l WHERE l.kind = e.kind AND l.id > e.id) ORDER BY e.id"
    ):
        serving = db.execute("SELECT id, kind FROM encoder WHERE state = 'current'").fetchone()
        goes_on = (
            f"{encoder_name(serving['id'])} ({serving['kind']}) goes on selecting" if serving else "nothing selects yet"
        )
        text = f"{r['reason']}; {goes_on} (`alscope encoders`)"
        yield Problem("encoder", f"{encoder_name(r['id'])} ({r['kind']})", text, r["created_at"])


def _novel_volumes(db: sqlite3.Connection) -> Iterator[Problem]:
    """Volumes unlike everything before them, until one of their patches is labelled."""
    for r in db.execute(
        f"SELECT {FULL_NAME} AS name, n.alarm, n.at FROM novelty n INDEXED BY novelty_alarm JOIN volume v ON v.id = n.volume_id"
        " JOIN encoder e ON e.id = n.encoder_id AND e.state = 'current' WHERE n.alarm <> '' AND NOT EXISTS"
        " (SELECT 1 FROM label l JOIN patch p ON p.id = l.patch_id WHERE p.volume_id = v.id) ORDER BY v.id DESC LIMIT 20"
    ):
        yield Problem("novelty", r["name"], r["alarm"], r["at"])
