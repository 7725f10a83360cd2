"""`alscope queue`: list, show, claim, release, skip, minutes; and the QC queue beside it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from daemon.cli import completing
from daemon.cli.groups import Choice, Group
from daemon.cli.session import Session, config_option, json_option
from daemon.errors import UsageError
from daemon.nearest import did_you_mean
from daemon.store.schema_claims import SKIP_REASONS

if TYPE_CHECKING:
    from daemon.store.queue_listing import SuggestionView


@click.group("queue", cls=Group, invoke_without_command=True)
@click.option("--qc", is_flag=True, help="The patches that are held back because they look broken, and why.")
@json_option
@config_option
@click.pass_context
def queue_group(ctx: click.Context, qc: bool, as_json: bool) -> None:
    """Patches that wait for an expert, in the order in which they teach most.

    Each has a folder with image, pseudo-label and preview; save the label as <workspace>/inbox/ID.tif from any tool. Where
    several people annotate, `claim` says that you are at it; `alscope annotate` does so by itself.

    \b
    Example:
      alscope queue
      alscope queue show s00004
      alscope queue claim s00004 --user ana
      alscope queue skip s00004 --kind "out of focus"
      alscope queue minutes
      alscope queue --qc
      alscope queue qc-ok q00017
    """
    if ctx.invoked_subcommand is None:
        (_list_held_back if qc else _list)(ctx.ensure_object(Session), as_json)


def _list(session: Session, as_json: bool) -> None:
    from daemon.cli.output import print_json, say, table
    from daemon.wording import ARM, ARM_WORDS, count, extent, place
    from daemon.wording_state import glyph
    from daemon.wording_work import holder_words

    snapshot = session.look()
    if as_json:
        print_json([asdict(item) for item in snapshot.queue])
        return
    held = snapshot.patches["held_back"]
    taken = any(q.user for q in snapshot.queue)
    if not snapshot.queue:
        say(
            f"the queue is empty: {snapshot.work.nothing or 'suggestions follow once volumes are embedded; see `alscope status`'}"
        )
    else:
        from rich.text import Text

        rows = [
            [
                str(q.rank),
                f"{q.id} {ARM[q.arm]}".rstrip(),
                Text.assemble(glyph(q.state), q.state if q.ready or q.state != "open" else "being prepared"),
                *([holder_words(q)] if taken else []),
                q.volume,
                place(q.start),
                extent(q.shape),
                "" if q.distance is None else f"{q.distance:.3f}",
                "" if q.minutes is None else f"{q.minutes:.0f}",
                q.note if q.state == "rejected" and q.note else q.reason,
            ]
            for q in snapshot.queue
        ]
        with_whom = ["with"] if taken else []
        headings = [">rank", "id", "state", *with_whom, "volume", "where", "size", ">novelty", ">min", "why"]
        table(headings, rows, flexible=("volume", "why"))
        if snapshot.work.nothing:
            say((snapshot.work.nothing, "dim"))
    for arm in [arm for arm in ARM_WORDS if any(q.arm == arm for q in snapshot.queue)]:
        say((ARM_WORDS[arm], "dim"))
    if held:
        look = "it looks" if held == 1 else "they look"
        say((f"{count(held, 'patch', 'patches')} held back because {look} broken: `alscope queue --qc`", "dim"))


def _list_held_back(session: Session, as_json: bool) -> None:
    from daemon.cli.output import print_json, say, table
    from daemon.look import reading
    from daemon.store.queue_listing import held_back
    from daemon.wording import extent, place

    with reading(session.workspace.root) as db:
        found = held_back(db)
    if as_json:
        print_json([asdict(item) for item in found])
        return
    if not found:
        say("no patch is held back: nothing looks broken so far")
        return
    rows = [[q.id, q.volume, place(q.start), extent(q.shape), f"{q.score:.2f}", q.reason] for q in found]
    table(["id", "volume", "where", "size", ">score", "why"], rows, flexible=("volume", "why"))
    say(("`alscope queue qc-ok ID` suggests one after all; the score says how far beyond the limit it is", "dim"))


def find(session: Session, suggestion_id: str) -> SuggestionView:
    """The suggestion of that name. Raises UsageError with the nearest name."""
    from daemon.look import reading
    from daemon.store.queue_listing import suggestion

    with reading(session.workspace.root) as db:
        found = suggestion(db, suggestion_id)
        if found is not None:
            return found
        ids = [r["id"] for r in db.execute("SELECT id FROM suggestion")]
    raise UsageError(
        f"there is no suggestion {suggestion_id!r}; {did_you_mean(suggestion_id, ids, '`alscope queue` lists them')}"
    )


@queue_group.command("show", short_help="One suggestion: where it is, why it was chosen, its files.")
@click.argument("suggestion_id", metavar="ID", shell_complete=completing.suggestions)
@json_option
@config_option
@click.pass_context
def show_command(ctx: click.Context, suggestion_id: str, as_json: bool) -> None:
    """One suggestion: where it is, why it was chosen, what was labelled that looks like it, and the paths of its files.

    \b
    Example:
      alscope queue show s00004
      napari $(alscope queue show s00004 --json | jq -r .files[])
    """
    from daemon.cli.queue_show import show

    session = ctx.ensure_object(Session)
    show(session.workspace, find(session, suggestion_id), as_json)


@queue_group.command("claim", short_help="Take a patch, so that nobody else begins with it.")
@click.argument("suggestion_id", metavar="[ID]", required=False, shell_complete=completing.waiting)
@click.option("--user", default="", help="Who takes it [default: the name you are logged in with].")
@click.option(
    "--take-over", is_flag=True, help="Take it from somebody else, who is told; what they drew is kept as well."
)
@config_option
@click.pass_context
def claim_command(ctx: click.Context, suggestion_id: str | None, user: str, take_over: bool) -> None:
    """Take a patch, so that nobody else begins with it; without ID the next one. Prints its id.

    For those who annotate with a tool of their own: it is yours for `annotation.lease_min` minutes, and again when you claim it
    again. Your label answers it, wherever you save it; `alscope queue release` gives it back. Exit code 1: somebody has it.

    \b
    Example:
      alscope queue claim --user ana
      alscope queue claim s00004 --user ana --take-over
    """
    from daemon.cli.claiming import claim, login
    from daemon.cli.output import say

    say(claim(ctx.ensure_object(Session), suggestion_id, user or login(), take_over))


@queue_group.command("release", short_help="Give a patch back to the queue.")
@click.argument("suggestion_id", metavar="ID", shell_complete=completing.waiting)
@click.option("--user", default="", help="Who has it [default: the name you are logged in with].")
@config_option
@click.pass_context
def release_command(ctx: click.Context, suggestion_id: str, user: str) -> None:
    """Give a patch back to the queue.

    \b
    Example:
      alscope queue release s00004 --user ana
    """
    from daemon.cli.asking import ask_and_wait
    from daemon.cli.claiming import login
    from daemon.cli.output import say

    session = ctx.ensure_object(Session)
    found = find(session, suggestion_id)
    say(ask_and_wait(session, "release", {"id": found.id, "user": user or login()}))


@queue_group.command("skip", short_help="Take a patch out of the queue; another one follows.")
@click.argument("suggestion_id", metavar="ID", shell_complete=completing.waiting)
@click.option(
    "--kind",
    type=Choice(SKIP_REASONS),
    default="other",
    help="What is the matter: patches that look like an artefact or one out of focus are held back, those like one with "
    "nothing here are asked about less often [default: other].",
)
@click.option("--reason", default="", help="In your own words: kept with the suggestion [default: none].")
@click.option("--user", default="", help="Who skips it [default: the name you are logged in with].")
@config_option
@click.pass_context
def skip_command(ctx: click.Context, suggestion_id: str, kind: str, reason: str, user: str) -> None:
    """Take a patch out of the queue; another one follows. It is not suggested again.

    \b
    Example:
      alscope queue skip s00004 --kind "out of focus"
      alscope queue skip s00005 --kind artefact --reason "a fold across it"
    """
    from daemon.cli.asking import ask_and_wait
    from daemon.cli.claiming import login
    from daemon.cli.output import say

    session = ctx.ensure_object(Session)
    found = find(session, suggestion_id)
    wish = {"id": found.id, "kind": kind, "reason": reason, "user": user or login()}
    say(ask_and_wait(session, "skip", wish))


@queue_group.command("minutes", short_help="What labels took their authors, by person, day and round.")
@json_option
@config_option
@click.pass_context
def minutes_command(ctx: click.Context, as_json: bool) -> None:
    """What labels took their authors, by person, day and round, and what the minutes of each round bought.

    Minutes are those of active editing, as the annotation window tells; other tools tell none.

    \b
    Example:
      alscope queue minutes
      alscope queue minutes --json
    """
    from daemon.cli.minutes import show

    show(ctx.ensure_object(Session), as_json)


@queue_group.command("qc-ok", short_help="Put a patch that was held back into the queue after all.")
@click.argument("held_id", metavar="ID", shell_complete=completing.held_back)
@config_option
@click.pass_context
def qc_ok_command(ctx: click.Context, held_id: str) -> None:
    """A patch that was held back is fine: put it into the queue after all. ID as in `alscope queue --qc`.

    \b
    Example:
      alscope queue qc-ok q00017
    """
    from daemon.cli.asking import ask_and_wait
    from daemon.cli.output import say
    from daemon.look import reading
    from daemon.store.queue_listing import held_back

    session = ctx.ensure_object(Session)
    with reading(session.workspace.root) as db:
        known = [patch.id for patch in held_back(db)]
    if held_id not in known:
        hint = did_you_mean(held_id, known, "`alscope queue --qc` lists it")
        raise UsageError(f"{held_id!r} is not in the QC queue; {hint}")
    say(ask_and_wait(session, "qc-ok", {"id": held_id}))
