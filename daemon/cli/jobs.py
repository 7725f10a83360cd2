"""`alscope jobs`: list, show, retry, cancel."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from daemon.cli import completing
from daemon.cli.groups import Choice, Group
from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import UsageError
from daemon.machine import JOB_STATES

TAIL_LINES = 20
TAIL_BYTES = 1 << 16


@click.group("jobs", cls=Group, invoke_without_command=True)
@click.option("--state", type=Choice(JOB_STATES), help="Only those in this state [default: all].")
@click.option(
    "--limit", type=click.IntRange(0), default=40, show_default=True, help="At most so many jobs, newest first; 0: all."
)
@json_option
@config_option
@click.pass_context
def jobs_group(ctx: click.Context, state: str | None, limit: int, as_json: bool) -> None:
    """Work done and to do, newest first.

    \b
    Example:
      alscope jobs --state failed
      alscope jobs show 17
      alscope jobs retry 17
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.ensure_object(Session), state, limit, as_json)


def _list(session: Session, state: str | None, limit: int, as_json: bool) -> None:
    from rich.text import Text

    from daemon.cli.output import print_json, say, table
    from daemon.look import reading
    from daemon.store.listing import jobs
    from daemon.wording import doing, duration
    from daemon.wording_state import glyph

    with reading(session.workspace.root) as db:
        found = jobs(db, state, limit)
    if as_json:
        print_json([asdict(job) for job in found])
        return
    if not found:
        say("no jobs" + (f" in state {state}" if state else " yet"))
        return
    now = time.time()
    rows = [
        [
            str(job.id),
            Text.assemble(glyph(job.state), job.state),
            doing(job.stage, job.name),
            duration((job.finished_at or now) - job.started_at) if job.started_at and job.state != "ready" else "",
            str(job.attempts),
            job.error or (f"{job.progress:.0%} {job.note}" if job.state == "running" else ""),
        ]
        for job in found
    ]
    table([">id", "state", "what", ">time", ">tries", "remarks"], rows, flexible=("what", "remarks"))


@jobs_group.command("show", short_help="One job: its story, its parameters, the end of its log.")
@click.argument("job_id", metavar="ID", type=int, shell_complete=completing.jobs)
@json_option
@config_option
@pass_session
def show_command(session: Session, job_id: int, as_json: bool) -> None:
    """One job: all that happened to it, its parameters, and the end of its log.

    \b
    Example:
      alscope jobs show 17
    """
    import json

    from daemon.cli.output import print_json, say
    from daemon.look import reading
    from daemon.store.listing import job
    from daemon.wording import clock, doing
    from daemon.wording_state import glyph

    with reading(session.workspace.root) as db:
        found = job(db, job_id)
    if found is None:
        raise _no_such(session, job_id)
    log = session.workspace.places.job(job_id) / "log.txt"
    tail = log_tail(log)
    if as_json:
        print_json({**asdict(found), "log": str(log) if log.is_file() else None, "log_tail": tail})
        return
    now = time.time()
    say(
        (f"job {job_id}  ", "bold"),
        glyph(found.job.state),
        found.job.state,
        f"  {doing(found.job.stage, found.job.name)}",
    )
    for heading, text in (("error", found.job.error), ("artifact", found.key), ("params", json.dumps(found.params))):
        if text:
            say(f"{heading:10}", text)
    for number, (at, start, finish, note) in enumerate(found.story):
        words = f"{clock(at, now)}  {start or 'new'} -> {finish}" + (f" ({note})" if note else "")
        say("story     " if not number else "          ", words)
    if found.result is not None:
        text = json.dumps(found.result)
        say("result    ", text if len(text) <= 2000 else text[:2000] + "... (all of it with --json)")
    say("log       ", str(log) if tail else "nothing was logged")
    for line in tail:
        say("          ", line)


def _no_such(session: Session, job_id: int) -> UsageError:
    from daemon.look import reading
    from daemon.store.listing import jobs

    with reading(session.workspace.root) as db:
        newest = jobs(db, None, 1)
    return UsageError(
        f"there is no job {job_id}; "
        + (f"the newest is {newest[0].id}, `alscope jobs` lists them" if newest else "there is none yet")
    )


def log_tail(path: Path) -> list[str]:
    """The last lines of a log."""
    try:
        with open(path, "rb") as f:
            f.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return f.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        return []


def _ask(session: Session, verb: str, job_id: int) -> None:
    from daemon.cli.asking import ask_and_wait
    from daemon.cli.output import say
    from daemon.look import reading
    from daemon.store.listing import job

    with reading(session.workspace.root) as db:
        found = job(db, job_id)
    if found is None:
        raise _no_such(session, job_id)
    say(ask_and_wait(session, verb, {"id": job_id}))


@jobs_group.command("retry", short_help="Try a failed or cancelled job again.")
@click.argument("job_id", metavar="ID", type=int, shell_complete=completing.jobs_to_retry)
@config_option
@pass_session
def retry_command(session: Session, job_id: int) -> None:
    """Try a failed or cancelled job again (after mending what was wrong).

    \b
    Example:
      alscope jobs retry 17
    """
    _ask(session, "retry", job_id)


@jobs_group.command("cancel", short_help="Give up a job that waits or runs.")
@click.argument("job_id", metavar="ID", type=int, shell_complete=completing.jobs_to_cancel)
@config_option
@pass_session
def cancel_command(session: Session, job_id: int) -> None:
    """Give up a job that waits or runs.

    \b
    Example:
      alscope jobs cancel 17
    """
    _ask(session, "cancel", job_id)
