"""`alscope queue`: list, show, skip."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from daemon.cli.session import Session, config_option, json_option
from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.store.listing import SuggestionView


@click.group("queue", invoke_without_command=True)
@json_option
@config_option
@click.pass_context
def queue_group(ctx: click.Context, as_json: bool) -> None:
    """Patches that wait for an expert, in the order in which they teach most.

    Each has a folder with image, pseudo-label and preview; save the label as <workspace>/inbox/ID.tif from any tool.

    \b
    Example:
      alscope queue
      alscope queue show s00004
      alscope queue skip s00004 --reason "out of focus"
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.ensure_object(Session), as_json)


def _list(session: Session, as_json: bool) -> None:
    from daemon.cli.output import print_json, say, table
    from daemon.status import glyph
    from daemon.wording import extent, place

    snapshot = session.look()
    if as_json:
        print_json([asdict(item) for item in snapshot.queue])
        return
    if not snapshot.queue:
        say("the queue is empty: suggestions follow once volumes are embedded; see `alscope status`")
        return
    from rich.text import Text

    rows = [
        [
            str(q.rank),
            q.id,
            Text.assemble(glyph(q.state), q.state if q.ready or q.state != "open" else "being prepared"),
            q.volume,
            place(q.start),
            extent(q.shape),
            "" if q.distance is None else f"{q.distance:.3f}",
            q.note if q.state == "rejected" and q.note else q.reason,
        ]
        for q in snapshot.queue
    ]
    table([">rank", "id", "state", "volume", "where", "size", ">distance", "why"], rows, flexible=("volume", "why"))


def find(session: Session, suggestion_id: str) -> SuggestionView:
    """The suggestion of that name. Raises UsageError with the nearest name."""
    from daemon.look import reading
    from daemon.store.listing import suggestion

    with reading(session.workspace.root) as db:
        found = suggestion(db, suggestion_id)
        if found is not None:
            return found
        ids = [r["id"] for r in db.execute("SELECT id FROM suggestion")]
    near = difflib.get_close_matches(suggestion_id, ids, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`alscope queue` lists them"
    raise UsageError(f"there is no suggestion {suggestion_id!r}; {hint}")


@queue_group.command("show")
@click.argument("suggestion_id", metavar="ID")
@json_option
@config_option
@click.pass_context
def show_command(ctx: click.Context, suggestion_id: str, as_json: bool) -> None:
    """One suggestion: where it is, why it was chosen, and the paths of its files.

    \b
    Example:
      alscope queue show s00004
      napari $(alscope queue show s00004 --json | jq -r .files[])
    """
    from daemon.cli.output import print_json, say
    from daemon.status import glyph
    from daemon.wording import extent, place

    session = ctx.ensure_object(Session)
    found = find(session, suggestion_id)
    folder = session.workspace.queue / found.id
    files = sorted(str(path) for path in folder.iterdir()) if folder.is_dir() else []
    inbox = session.workspace.inbox / f"{found.id}.tif"
    if as_json:
        print_json(
            {**asdict(found), "folder": str(folder) if files else None, "files": files, "save_label_as": str(inbox)}
        )
        return
    say((f"{found.id}  ", "bold"), glyph(found.state), found.state, *([f": {found.note}"] if found.note else []))
    say("where     ", f"{found.volume} at {place(found.start)}, {extent(found.shape)} voxels (z, y, x)")
    distance = "" if found.distance is None else f" (distance {found.distance:.3f})"
    say("why       ", found.reason + distance)
    for number, path in enumerate(files):
        say("files     " if not number else "          ", path)
    if not files:
        answered = found.state in ("accepted", "skipped")
        say("files     ", "taken out of the queue" if answered else "being prepared")
    say("save as   ", str(inbox))


@queue_group.command("skip")
@click.argument("suggestion_id", metavar="ID")
@click.option("--reason", default="", help="Why: kept with the suggestion.")
@config_option
@click.pass_context
def skip_command(ctx: click.Context, suggestion_id: str, reason: str) -> None:
    """Take a patch out of the queue; another one follows. It is not suggested again.

    \b
    Example:
      alscope queue skip s00004 --reason "out of focus"
    """
    from daemon.cli.asking import ask_and_wait
    from daemon.cli.output import say

    session = ctx.ensure_object(Session)
    found = find(session, suggestion_id)
    say(ask_and_wait(session, "skip", {"id": found.id, "reason": reason}))
