"""`alscope alarms` and `alscope expect`."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from daemon.cli.control import Duration
from daemon.cli.groups import Group
from daemon.cli.session import Session, config_option, json_option, pass_session


@click.group("alarms", cls=Group, invoke_without_command=True)
@json_option
@config_option
@click.pass_context
def alarms_group(ctx: click.Context, as_json: bool) -> None:
    """What needed a person's attention, newest first, and whether it was told by command and webhook ([alarms] in config.toml).

    \b
    Examples:
      alscope alarms
      alscope alarms test
    """
    if ctx.invoked_subcommand is None:
        _show(ctx.ensure_object(Session), as_json)


def _show(session: Session, as_json: bool) -> None:
    from rich.text import Text

    from daemon.cli.output import print_json, say, table
    from daemon.look import reading
    from daemon.store.alarm_listing import alarms
    from daemon.wording import clock

    with reading(session.workspace.root) as db:
        found = alarms(db, 200)
    if as_json:
        print_json([asdict(alarm) for alarm in found])
        return
    if not found:
        say("no alarm so far")
        return
    now = time.time()
    rows = []
    for a in found:
        sign = ("! ", "yellow") if a.lasting and a.ended_at is None else ("· ", "")
        state = "lasts" if a.lasting and a.ended_at is None else "over" if a.lasting else ""
        told = ", ".join(f"{channel} {what}" for channel, what in sorted(a.told.items()))
        rows.append([clock(a.raised_at, now), Text.assemble(sign, a.kind), state, a.message, told])
    table(["raised", "kind", "state", "what", "told"], rows, flexible=("what", "told"))


@alarms_group.command("test", short_help="Tell a trial alarm by every way that config.toml names.")
@config_option
@pass_session
def test_command(session: Session) -> int:
    """Tell a trial alarm by every way that config.toml names, from here: the daemon is not needed. Exit code 1 when one fails.

    \b
    Example:
      alscope alarms test
    """
    import threading

    from daemon.alarming import ways_out
    from daemon.alarms import Alarm, payload, told
    from daemon.cli.output import say
    from daemon.courier import Letter, here
    from daemon.wording import clean

    ways = ways_out(session.settings, session.workspace)
    if not ways:
        say(
            f"{session.config}: neither alarms.command nor alarms.webhook is set: alarms are shown in dashboard and log only"
        )
        return 1
    alarm = Alarm("test", "test", "a trial: this is how an alarm arrives")
    content = payload([(0, alarm, time.time())], clean(str(session.workspace.root)), here())
    failed = 0
    for channel, carry in ways.items():
        error = carry(Letter((0,), alarm.kind, told([alarm]), content), threading.Event())
        say(("✗ ", "red") if error else ("✓ ", "green"), f"{channel}: {error or 'told'}")
        failed |= bool(error)
    return failed


@click.command("expect")
@click.option(
    "--every",
    "every_s",
    type=Duration(),
    help="A file is expected at least every 30min, 2h... [default: only show what is declared].",
)
@click.option(
    "--for", "for_s", type=Duration(), help="The run ends by itself after 12h, 3d... [default: --end ends it]."
)
@click.option("--end", is_flag=True, help="The run is over: no files are expected any more.")
@config_option
@pass_session
def expect_command(session: Session, every_s: float | None, for_s: float | None, end: bool) -> None:
    """Declare a run at the microscope: when no file arrives for too long, there is an alarm. Without options: what is declared.

    \b
    Examples:
      alscope expect --every 2h --for 3d
      alscope expect --end
    """
    from daemon.cli.asking import ask_and_wait
    from daemon.cli.output import say

    if end and (every_s or for_s):
        raise click.UsageError("--end stands alone")
    if for_s and not every_s:
        raise click.UsageError("--for needs --every: how often is a file expected?")
    if end:
        say(ask_and_wait(session, "expect", {"end": True}))
    elif every_s:
        say(ask_and_wait(session, "expect", {"every_s": every_s, "for_s": for_s}))
    else:
        say(_declared(session))


def _declared(session: Session) -> str:
    from daemon.look import reading
    from daemon.store.alarm_listing import expected
    from daemon.wording_alarms import expect_words

    with reading(session.workspace.root) as db:
        found = expected(db)
    return expect_words(found, time.time()) or "no run is declared: `alscope expect --every 2h` declares one"
