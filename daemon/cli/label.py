"""`alscope label`: hand in a label and hear the verdict; list what came in."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import AlscopeError

VERDICT_S = 60.0
POLL_S = 0.2


class LabelRejectedError(AlscopeError):
    """The label failed its checks; the reason says what to mend."""

    exit_code = 65


@click.group("label")
def label_group() -> None:
    """Hand in labels, and see what became of them.

    \b
    Example:
      alscope label add my_label.tif --for s00004
      alscope label list
    """


@label_group.command("add")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--for", "suggestion_id", metavar="ID", required=True, help="The suggestion that the label answers.")
@click.option("--empty", is_flag=True, help="There is really nothing to label in this patch.")
@click.option("--user", default="", help="Who drew it.")
@click.option("--wait/--no-wait", default=True, help="Wait for the verdict [default], or not.")
@json_option
@config_option
@pass_session
def add_command(
    session: Session, file: Path, suggestion_id: str, empty: bool, user: str, wait: bool, as_json: bool
) -> None:
    """Hand in FILE, a TIFF with one number per object (0 = background), as the label of a suggestion.

    The file is copied; it has the same effect as saving it as <workspace>/inbox/ID.tif. Exit codes: 0 accepted, or kept
    to be checked; 65 rejected, with the reason.

    \b
    Example:
      alscope label add my_label.tif --for s00004 --user ana
      alscope label add blank.tif --for s00005 --empty
    """
    from daemon.cli import inbox
    from daemon.cli.output import print_json, say
    from daemon.cli.queue import find
    from daemon.look import reading
    from daemon.store.listing import newest_received
    from daemon.workspace import read_holder

    suggestion = find(session, suggestion_id)
    with reading(session.workspace.root) as db:
        before = newest_received(db)
    digest = inbox.put(session, file, suggestion.id, {"empty": empty, "user": user})
    if read_holder(session.workspace.lock_file) is None:
        state, words = "kept", "the daemon is not running: kept in the inbox; it is checked when the daemon starts"
    elif not wait:
        state, words = "kept", "in the inbox; `alscope label list` tells what became of it"
    else:
        state, words = _verdict(session, suggestion.id, before, digest)
    if as_json:
        print_json({"suggestion": suggestion.id, "state": state, "message": words})
    if state == "rejected":
        raise LabelRejectedError(words)
    if not as_json:
        say(f"{suggestion.id}: {words}")


def _verdict(session: Session, suggestion_id: str, before: int, digest: str) -> tuple[str, str]:
    """(state, words): accepted, rejected, or kept when there is no verdict in time."""
    from daemon.cli import inbox

    until = time.monotonic() + VERDICT_S
    while time.monotonic() < until:
        found = inbox.verdict(session, suggestion_id, before, digest)
        if found is not None:
            return found
        time.sleep(POLL_S)
    return "kept", f"not checked within {VERDICT_S:.0f} s; it is kept, and `alscope label list` tells what became of it"


@label_group.command("list")
@json_option
@config_option
@pass_session
def list_command(session: Session, as_json: bool) -> None:
    """Every label that came in, newest first, with the verdict.

    \b
    Example:
      alscope label list
    """
    from rich.text import Text

    from daemon.cli.output import print_json, say, table
    from daemon.look import reading
    from daemon.status import glyph
    from daemon.store.listing import received
    from daemon.wording import clock

    with reading(session.workspace.root) as db:
        found = received(db)
    if as_json:
        print_json([asdict(label) for label in found])
        return
    if not found:
        say("no label has come in yet; `alscope queue` shows what to label")
        return
    uses = {"train": "training", "gate": "held out", "repeat": "second opinion", None: ""}
    now = time.time()
    rows = [
        [
            clock(label.received_at, now),
            label.suggestion,
            label.volume,
            Text.assemble(glyph(label.state), label.state),
            uses[label.role] if label.current or label.role is None else "superseded",
            "" if label.n_objects is None else str(label.n_objects),
            "" if label.minutes is None else f"{label.minutes:.1f}",
            label.author,
            label.reason or "; ".join(label.warnings),
        ]
        for label in found
    ]
    table(["when", "for", "volume", "state", "use", ">objects", ">min", "by", "remarks"], rows, flexible=("volume", "remarks"))
