"""What people ask of the daemon: a file in commands/ for each wish, obeyed once, the outcome recorded in the store.

Files need no open port, wait for a daemon that is not running, and leave the daemon the only writer of the database.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.artifact import write_atomic
from alcore.plainfile import open_plain
from daemon import commands_alarms, commands_annotation, commands_labels, commands_models, commands_predictions
from daemon.errors import AlscopeError, UsageError
from daemon.planning.training import GIVEN_UP, UNDER_WAY
from daemon.policy import TRAINING
from daemon.store.rows import Picked
from daemon.wording import clean
from daemon.workspace import Workspace

if TYPE_CHECKING:
    from daemon.engine import Engine

log = logging.getLogger("alscope.commands")

MOST_COMMAND = 1 << 20
"""Bytes of a command: those that name many patches or files are the longest."""
MOST_NOTE = 1 << 16
MOST_PARTS = 100
"""Characters, and lists and objects, in what is said about a label."""


def ask(workspace: Workspace, verb: str, arguments: Mapping[str, Any]) -> str:
    """Leave a command for the daemon; returns its id."""
    command_id = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
    text = json.dumps({"verb": verb, "arguments": dict(arguments)})
    write_atomic(workspace.commands / f"{command_id}.json", text.encode())
    return command_id


def leave_label_note(workspace: Workspace, suggestion_id: str, note: Mapping[str, Any]) -> None:
    """Say something about a label before it is saved; every key may be missing.

    empty (bool): there is really nothing to label. user (str), tool (str): who drew it, with what. seen: the part that was
    looked at, in voxels of the patch, first and last, from 0: {"z": [first, last]} or {"box": [[z, z], [y, y], [x, x]]}.
    work: {"active_s": float, "clicks": int, "changed_voxels": int, "open_s": float}.
    """
    write_atomic(_note(workspace, suggestion_id), json.dumps(dict(note)).encode())


def label_note(workspace: Workspace, suggestion_id: str) -> dict[str, Any]:
    """What was said about a label, or nothing: anybody may write there."""
    try:
        with open_plain(_note(workspace, suggestion_id)) as file:
            text = file.read(4 * MOST_NOTE + 1).decode()
        if len(text) > MOST_NOTE or text.count("[") + text.count("{") > MOST_PARTS:
            return {}
        value = json.loads(text, parse_constant=lambda _: None)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def drop_label_note(workspace: Workspace, suggestion_id: str) -> None:
    """What was said about a label is in the store now."""
    _note(workspace, suggestion_id).unlink(missing_ok=True)


def _note(workspace: Workspace, suggestion_id: str) -> Path:
    return workspace.commands / f"label-{suggestion_id}.note"


def obey(engine: Engine, now: float) -> int:
    """Carry out every waiting command, oldest first; returns how many. Whatever lies there, the daemon lives on."""
    found = sorted(engine.workspace.commands.glob("[0-9]*.json"))
    paths = [path for path in found if path.is_symlink() or not path.is_dir()]
    for path in paths:
        if engine.store.state.command_outcome(path.stem) is None:
            with engine.store.transaction():  # carried out and recorded, or neither
                verb, arguments, ok, outcome = _carry_out(engine, path, now)
                engine.store.state.command_done(path.stem, verb, arguments, ok, outcome, now)
        path.unlink(missing_ok=True)
    return len(paths)


def _carry_out(engine: Engine, path: Path, now: float) -> tuple[str, dict[str, Any], bool, str]:
    try:
        with open_plain(path) as file:
            text = file.read(MOST_COMMAND + 1)
        if len(text) > MOST_COMMAND:
            raise ValueError(f"larger than {MOST_COMMAND >> 20} MB")
        value = json.loads(text)
        verb, arguments = clean(str(value["verb"])), dict(value["arguments"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        return "?", {}, False, clean(f"{path.name}: not a command ({e})")
    if verb not in VERBS:
        return verb, arguments, False, f"{verb!r} is not something the daemon can do"
    try:
        with engine.store.transaction():
            return verb, arguments, True, VERBS[verb](engine, arguments, now)
    except KeyError as e:
        return verb, arguments, False, f"{verb} needs {e}"
    except (TypeError, ValueError, OverflowError) as e:  # written by hand, or by another program
        log.exception("command %s", verb)
        return verb, arguments, False, clean(f"{verb} cannot be done with what was said ({e})")
    except AlscopeError as e:
        return verb, arguments, False, str(e)


def _pause(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    seconds = float(arguments.get("seconds", 0)) or 10 * 365 * 86400
    engine.store.state.pause(now + seconds)
    held = [engine.executor.holds(stage) for stage in (*TRAINING, "predict")]
    running = "training and segmenting stand still" if all(held) else "running jobs finish"
    if any(held) and not all(held):
        running = "training and segmenting stand still here, and finish on the cluster"
    return f"paused: nothing new is started, {running}"


def _resume(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    engine.store.state.pause(None)
    return "resumed"


def _train(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    if arguments.get("replan"):
        try:
            return engine.planning.training.replan(now)
        except LookupError as e:
            raise UsageError(f"no new plan: {e}") from e
    why_not = engine.planning.learning.open_round(now)
    if why_not:
        raise UsageError(f"no round opened: {why_not}")
    return "a round is opened on all accepted labels"


def _qc_ok(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """A person says that a patch that was held back is fine: it is suggested after all."""
    name = str(arguments["id"])
    number = int(name[1:]) if name[:1] == "q" and name[1:].isascii() and name[1:].isdecimal() else -1
    held = engine.store.selection.held_back(number) if number < 1 << 63 else None
    if held is None:
        raise UsageError(f"{name!r} is not in the QC queue; `alscope queue --qc` lists it")
    volume_id, row, reason = held
    pick = Picked(volume_id, row, None, f"a person says that it is fine (it was held back: {reason})", arm="asked")
    (made,) = engine.store.annotation.suggest([pick], now)
    return f"{name} is suggested as {made}"


def _retry(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    job = engine.store.jobs.get(int(arguments["id"]))
    if job is None:
        raise UsageError(f"there is no job {arguments['id']}; `alscope jobs` lists them")
    if engine.store.jobs.outgrown(job.id):
        raise UsageError(
            f"job {job.id} is the training of {job.subject.replace(':', ' ')}, and a later round has all its labels; "
            "`alscope train` opens another"
            if job.stage == "finetune"
            else f"job {job.id} is a pre-training for data that a later one made a model for; "
            "`alscope train --replan` makes a new one"
        )
    if job.state in GIVEN_UP and job.stage == "evaluate" and not engine.planning.learning.waits_for(job):
        raise UsageError(f"job {job.id} was to judge a model for a round that is over; `alscope train` opens another")
    if job.state in GIVEN_UP and job.stage == "pretrain" and engine.store.training.takes_held_out(job):
        try:
            return engine.planning.training.anew(job, now)
        except LookupError as e:
            raise UsageError(f"job {job.id} takes patches that are held out by now or cannot be read, and {e}") from e
    engine.store.jobs.retry(job.id, now)
    return f"job {job.id} ({job.stage} of {job.subject}) is tried again"


def _cancel(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    job = engine.store.jobs.get(int(arguments["id"]))
    if job is None:
        raise UsageError(f"there is no job {arguments['id']}; `alscope jobs` lists them")
    if job.state not in UNDER_WAY:
        raise UsageError(f"job {job.id} is {job.state} already: there is nothing to cancel")
    engine.store.jobs.cancel(job.id, "cancelled by hand", now)
    engine.executor.kill(job.id)
    return f"job {job.id} ({job.stage} of {job.subject}) is cancelled"


VERBS = {
    "pause": _pause,
    "resume": _resume,
    "train": _train,
    "qc-ok": _qc_ok,
    "retry": _retry,
    "cancel": _cancel,
    **commands_alarms.VERBS,
    **commands_annotation.VERBS,
    **commands_labels.VERBS,
    **commands_models.VERBS,
    **commands_predictions.VERBS,
}
