"""Putting a label into the inbox as a file that is only ever seen whole, and hearing what the daemon made of it."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.cli.session import Session
from daemon.commands import drop_label_note, leave_label_note
from daemon.errors import UsageError, WorkspaceError
from daemon.label_names import KNOWN, SEEN, SUFFIXES, ending_of


def put(session: Session, file: Path, suggestion_id: str, note: Mapping[str, Any], seen: Path | None = None) -> str:
    """Copy a label into the inbox, with what is said about it (see `commands.leave_label_note`); returns its sha256.

    seen: a mask of what was looked at, which goes with it. A file of the same suggestion that still waits there is never
    overwritten: somebody drew it. Raises UsageError or WorkspaceError.
    """
    endings = [_ending(path) for path in ([file] if seen is None else [file, seen])]
    workspace = session.workspace
    if not workspace.inbox.is_dir():
        raise WorkspaceError(f"{workspace.inbox}: there is no inbox; start the daemon once with `alscope run`")
    if waiting := _waiting(workspace.inbox, suggestion_id):
        raise _waits_already(waiting)
    mask = None
    if seen is not None:
        mask = workspace.inbox / f"{suggestion_id}{SEEN}{endings[1]}"
        _placed(seen, mask)
    try:
        if any(note.values()):
            leave_label_note(workspace, suggestion_id, note)
        return _placed(file, workspace.inbox / f"{suggestion_id}{endings[0]}")
    except BaseException:
        drop_label_note(workspace, suggestion_id)  # what was said of this file must not be said of another
        if mask is not None:
            mask.unlink(missing_ok=True)
        raise


def _ending(file: Path) -> str:
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    if not (ending := ending_of(file.name)):
        raise UsageError(f"{file}: a label is a {KNOWN}; export it as one of these")
    return ending


def _placed(file: Path, target: Path) -> str:
    """Copy a file so that it is only ever seen whole, and never over another; returns its sha256."""
    tmp = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        digest = _copy(file, tmp)
        try:
            os.link(tmp, target)  # unlike a rename, this never replaces what is there
        except FileExistsError:
            raise _waits_already(target) from None
        except OSError:
            os.rename(tmp, target)  # a file system without hard links
    finally:
        tmp.unlink(missing_ok=True)
    return digest


def _waiting(inbox: Path, suggestion_id: str) -> Path | None:
    """A label of a suggestion that lies in the inbox, in any format."""
    return next((p for s in SUFFIXES if (p := inbox / f"{suggestion_id}{s}").exists()), None)


def _waits_already(target: Path) -> WorkspaceError:
    return WorkspaceError(
        f"{target}: a label waits there to be checked; wait for its verdict, or remove the file first"
    )


def _copy(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    with open(source, "rb") as i, open(target, "wb") as o:
        while block := i.read(1 << 20):
            digest.update(block)
            o.write(block)
        o.flush()
        os.fsync(o.fileno())
    return digest.hexdigest()


def verdict(session: Session, suggestion_id: str, before: int, digest: str) -> tuple[str, str] | None:
    """(state, words) of the label with this digest that came in after number `before`, or None while it is open."""
    from daemon.look import reading
    from daemon.wording import count

    workspace = session.workspace
    waits = _waiting(workspace.inbox, suggestion_id) is not None
    with reading(workspace.root) as db:
        row = db.execute(
            "SELECT r.state, r.reason, COALESCE(l.n_objects, t.n_objects) AS n_objects, l.role,"
            " COALESCE(l.warnings, t.warnings) AS warnings FROM received r"
            " LEFT JOIN label l ON l.received_id = r.id LEFT JOIN repeat_label t ON t.received_id = r.id"
            " WHERE r.suggestion_id = ? AND r.id > ? AND r.sha256 = ? ORDER BY r.id DESC LIMIT 1",
            [suggestion_id, before, digest],
        ).fetchone()
    if row is None and not waits:
        return _set_aside(workspace.rejected, suggestion_id)
    if row is None or row["state"] == "checking":
        return None
    if row["state"] == "rejected":
        return "rejected", f"rejected: {row['reason']}"
    uses = {"train": "for training", "gate": "held out to judge models", None: "compared with another person's label"}
    use = uses[row["role"]]
    remarks = "; ".join(json.loads(row["warnings"]))
    return "accepted", f"accepted: {count(row['n_objects'], 'object')}, {use}" + (f" ({remarks})" if remarks else "")


def _set_aside(rejected: Path, suggestion_id: str) -> tuple[str, str]:
    """The daemon put the file away without receiving it as a label; it left the reason beside it."""
    notes = sorted(rejected.glob(f"{suggestion_id}[.-]*.txt"), key=lambda path: path.stat().st_mtime)
    reason = notes[-1].read_text(errors="replace").strip() if notes else "the file was taken out of the inbox"
    return "rejected", f"rejected: {reason}"
