"""`alscope dashboard`."""

from __future__ import annotations

from dataclasses import replace

import click

from daemon.cli.session import Session, config_option, pass_session

REFRESH_S = 0.5
MESSAGE_S = 3.0


@click.command("dashboard")
@click.option("--once", is_flag=True, help="Print one picture and end (so it does, too, into a pipe).")
@config_option
@pass_session
def dashboard_command(session: Session, once: bool) -> int:
    """Everything that goes on, live on the whole screen: what runs, the queue, the models, the problems.

    It only reads; quitting it, or killing it, does not touch the daemon. Keys are shown on the screen.

    \b
    Example:
      alscope dashboard
      alscope dashboard --once
    """
    from daemon.dashboard import LiveView

    view = LiveView(session.workspace.root)
    if once or not view.full_screen:
        _print_once(session)
        return 0
    try:
        return _live(session)
    except KeyboardInterrupt:
        return 0


def _print_once(session: Session) -> None:
    """A picture on plain paper: as wide as the terminal, as long as it needs to be."""
    import shutil
    import sys

    from rich.console import Console

    from daemon.dashboard import render
    from daemon.vitals import VitalsReader

    width, height = shutil.get_terminal_size((100, 40))
    vitals = VitalsReader(session.workspace.root)
    out = Console(highlight=False, emoji=False, markup=False, width=width, height=height - 1, file=sys.stdout)
    try:
        out.print(render(session.look(), width, height - 1, vitals=vitals.read()))
    finally:
        vitals.close()


def _live(session: Session) -> int:
    from daemon.dashboard import LiveView
    from daemon.keys import END, Keys, ending_on_signals

    root = session.workspace.root
    with ending_on_signals(), Keys() as keys, LiveView(root, keys=True) as view:
        message, until = "", 0.0
        while True:
            view.refresh(message if view.now() < until else "")
            for key in keys.wait(REFRESH_S):
                if key in ("q", END):
                    return 0
                if key == "p":
                    message, until = _pause_or_resume(session, view.snapshot.daemon.state), view.now() + MESSAGE_S
                view.view = replace(view.view, message=message) if key == "p" else view.view.after(key)
                view.draw()


def _pause_or_resume(session: Session, state: str) -> str:
    """Ask the daemon, and say so: the answer shows in its state."""
    if state not in ("running", "paused"):
        return "the daemon is not running: nothing to pause"
    from daemon.commands import ask

    verb = "resume" if state == "paused" else "pause"
    try:
        ask(session.workspace, verb, {})
    except OSError as e:
        return f"cannot ask the daemon: {e.strerror}"
    return f"asked the daemon to {verb}"
