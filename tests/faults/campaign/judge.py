"""What a fault left behind: lost, duplicated, stuck, or against another invariant. Written down by other means than the product's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from alcore.fileset import fingerprint_of
from daemon.store.labels import UNCHECKED
from tests.faults.campaign.life import AGAIN
from tests.faults.invariants import artifact_of, check, digests


@dataclass
class Found:
    """Findings of each kind, in words."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.duplicated or self.stuck or self.violations)


@contextlib.contextmanager
def _reader(workspace: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(f"file:{workspace}/alscope.db?mode=ro", uri=True)
    try:
        yield db
    finally:
        db.close()


def after_a_fault(root: Path, watched: dict[str, str], found: Found) -> None:
    """What holds at any moment, the daemon being dead. watched: digests of the watched folder as it was prepared."""
    workspace = root / "ws"
    if digests(root / "in") != watched:
        found.violations.append("the watched folder was changed")
    if not _has_tables(workspace):
        return
    try:
        check(workspace)
    except (AssertionError, OSError, LookupError, ValueError, sqlite3.Error) as e:
        found.violations.append(f"{type(e).__name__}: {e}"[:500])
    _answers(root, found)


def _has_tables(workspace: Path) -> bool:
    if not (workspace / "alscope.db").exists():
        return False
    with _reader(workspace) as db:
        return any(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'received'"))


def _answers(root: Path, found: Found) -> None:
    """Every label that was saved is in the inbox, or was received, once, and lies with us or still there."""
    workspace = root / "ws"
    with _reader(workspace) as db:
        rows = db.execute(
            "SELECT r.sha256, r.file, r.inbox_path, r.state, r.reason, COUNT(e.id) FROM received r LEFT JOIN job j"
            " ON j.stage = 'label' AND j.subject = 'received:' || r.id LEFT JOIN job_event e"
            " ON e.job_id = j.id AND e.start = 'running' AND e.note LIKE '%worker died%' GROUP BY r.id"
        ).fetchall()
    for answer in (root / "answers").iterdir():
        sha = hashlib.sha256(answer.read_bytes()).hexdigest()
        unchecked = [r for r in rows if r[0] == sha and r[3] == "rejected" and re.match(AGAIN, r[4]) and r[5] >= 3]
        taken = [r for r in rows if r[0] == sha and r not in unchecked]
        in_inbox = (workspace / "inbox" / answer.name).exists() or (unchecked and _is_aside(workspace, sha))
        if len(taken) > 1:
            found.duplicated.append(f"{answer.name} was received {len(taken)} times")
        if not taken and not in_inbox:
            found.lost.append(f"{answer.name}: saved, and neither in the inbox nor received")
        for _, file, inbox_path, state, *_ in taken:
            ours = workspace / file
            if state == "rejected":
                found.lost.append(f"{answer.name} was rejected, and is right")
            elif not ours.exists() and not os.path.exists(bytes(inbox_path)):
                found.lost.append(f"{answer.name}: received, and its file is nowhere")
            elif (
                hashlib.sha256((ours if ours.exists() else Path(os.fsdecode(inbox_path))).read_bytes()).hexdigest()
                != sha
            ):
                found.violations.append(f"{answer.name}: its file is not what was saved")


def _is_aside(workspace: Path, sha: str) -> bool:
    """Does a label lie where nobody found anything wrong with it?"""
    places = [*(workspace / "labels" / "received").glob("*.tif"), *(workspace / "rejected").glob("*.tif")]
    return any(hashlib.sha256(path.read_bytes()).hexdigest() == sha for path in places)


def at_rest(root: Path, found: Found, n_volumes: int) -> None:
    """Nothing is left to do: everything was done, once, and is seen."""
    workspace = root / "ws"
    with _reader(workspace) as db:
        unfinished = db.execute(
            "SELECT stage, state, error FROM job WHERE state NOT IN ('done', 'cancelled') AND NOT (stage = 'label' AND state = 'failed'"
            " AND EXISTS (SELECT 1 FROM received r WHERE job.subject = 'received:' || r.id AND r.reason LIKE ?))"
            # a round whose training died three times is replaced by another one
            " AND NOT (stage = 'finetune' AND state = 'failed' AND error LIKE 'the worker died%' AND EXISTS"
            " (SELECT 1 FROM round r WHERE r.state = 'done' AND r.number > CAST(SUBSTR(job.subject, 7) AS INTEGER)))",
            [f"{UNCHECKED[:30]}%"],
        ).fetchall()
        missing = [
            r[0]
            for r in db.execute("SELECT key FROM job WHERE state = 'done'")
            if not artifact_of(workspace, r[0]).exists()
        ]
        volumes = db.execute("SELECT COUNT(*), COUNT(DISTINCT sha256) FROM volume").fetchone()
        sources = db.execute("SELECT path, state, reason, fingerprint FROM source WHERE gone = 0").fetchall()
        n_labels = db.execute("SELECT COUNT(*) FROM label WHERE superseded_by IS NULL").fetchone()[0]
        n_patches = db.execute("SELECT COUNT(*) FROM patch").fetchone()[0]
        shown = db.execute(
            "SELECT v.export_name, p.artifact FROM prediction p JOIN volume v ON v.id = p.volume_id"
            " JOIN model m ON m.version = p.model WHERE m.state = 'promoted'"
        ).fetchall()
    found.stuck += [f"a job of {stage} is {state} at the end: {error}" for stage, state, error in unfinished]
    found.violations += [f"{key} is done, and not there" for key in missing]
    if volumes[0] != n_volumes:
        (found.lost if volumes[0] < n_volumes else found.duplicated).append(f"{volumes[0]} volumes of {n_volumes}")
    known = {bytes(path): (state, reason, fingerprint) for path, state, reason, fingerprint in sources}
    for path in (root / "in").iterdir():
        state, reason, fingerprint = known.get(os.fsencode(path), ("unknown", "", ""))
        now = fingerprint_of(os.fsencode(path))
        if state not in ("ingested", "set_aside") or (state == "set_aside" and not reason):
            found.lost.append(f"{path.name} is {state} at the end")
        elif now is None or fingerprint != now.to_text():
            found.violations.append(f"{path.name}: what is known of it is older than the file")
    answers = sorted(p.name for p in (root / "answers").iterdir())
    if not n_labels == len(answers) == n_patches:
        what = found.duplicated if n_labels > len(answers) else found.stuck
        what.append(f"{n_labels} labels of {len(answers)} answers on {n_patches} patches")
    if sorted(p.name for p in (workspace / "labels").glob("*.tif")) != answers:
        found.violations.append("labels/ holds something else than what was accepted")
    if not shown:
        found.stuck.append("nothing was predicted")
    for name, key in shown:
        segmentation = artifact_of(workspace, key) / "instances.tif"
        seen = workspace / "predictions" / f"{name}.tif"
        if not seen.exists() or seen.read_bytes() != segmentation.read_bytes():
            found.violations.append(f"{seen.name} is not what the promoted model found")
    left = [
        *(workspace / "artifacts" / ".staging").glob("*"),
        # half a backup may be another process's work: it is removed an hour later
        *(path for path in workspace.glob("*/.*.tmp") if path.parent.name != "backups"),
        *(workspace / "inbox").iterdir(),
    ]
    found.violations += [f"{path.relative_to(workspace)} is left over" for path in left]
