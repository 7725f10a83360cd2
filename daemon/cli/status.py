"""`alscope status`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import NotRunningError

if TYPE_CHECKING:
    from daemon.store.views import Snapshot


@click.command("status")
@click.option("--all", "everything", is_flag=True, help="All that there is to say, in as many lines as it takes.")
@click.option("--problems", "all_problems", is_flag=True, help="Every problem, in full.")
@click.option("--disk", is_flag=True, help="Where the room on the disk went, and what goes by itself.")
@click.option(
    "--check", is_flag=True, help="Say it in the exit code too: 0 well, 1 problems, 69 the daemon is not running."
)
@json_option
@config_option
@pass_session
def status_command(
    session: Session, everything: bool, all_problems: bool, disk: bool, check: bool, as_json: bool
) -> int:
    """Twelve lines: is the daemon running, what does it do, what waits for me, what is wrong, how good is the model?

    \b
    Example:
      alscope status
      alscope status --all
      alscope status --disk
      alscope status --json | jq .queue[0]
      alscope status --check >/dev/null || mail -s "alscope needs help" me@lab
    """
    snapshot = session.look()
    if as_json:
        from daemon.cli.output import print_json
        from daemon.store.report import snapshot as raw

        started = snapshot.daemon.state != "never"
        shot = raw(session.workspace.root, snapshot.at) if started else snapshot
        print_json(shot.to_json() | {"machine": _machine(session.workspace.root, shot.daemon.pid)})
    elif disk:
        _disk(snapshot)
    else:
        from daemon.cli.output import console
        from daemon.status import status

        out = console()
        width = out.width if out.is_terminal else None
        for line in status(snapshot, session.workspace.root, width, everything, all_problems):
            out.print(line, no_wrap=True)
    if not check:
        return 0
    if snapshot.daemon.state not in ("running", "paused"):
        return NotRunningError.exit_code
    return 1 if snapshot.problems else 0


def _machine(workspace: Path, pid: int | None) -> dict[str, int]:
    """Bytes that are free for the workspace, and that the daemon and its workers take."""
    from daemon.disk import free_gb
    from daemon.vitals import memory

    own, workers = memory(pid) if pid is not None else (0, 0)
    there = next(p for p in (workspace, *workspace.parents) if p.exists())
    return {"disk_free_bytes": int(free_gb(there) * 1e9), "daemon_rss_bytes": own, "workers_rss_bytes": workers}


def _disk(snapshot: Snapshot) -> None:
    """A table of kinds, the largest first."""
    from daemon.cli.output import say, table
    from daemon.wording import duration, size
    from daemon.wording_room import ABOUT, largest, total_words

    room = snapshot.room
    if room is None:
        say("not measured yet: a daemon does so within a minute of its start, and every ten minutes")
        return
    table(
        ["what", ">room", "what becomes of it"],
        [[k, size(n), ABOUT.get(k, "")] for k, n in largest(room)],
        ("what becomes of it",),
    )
    say(f"the workspace takes {total_words(room)}, as measured {duration(snapshot.at - room.at)} ago")
