"""`alscope dashboard`."""

from __future__ import annotations

from dataclasses import asdict, replace

import click

from daemon.cli.session import Session, config_option, json_option, pass_session

REFRESH_S = 0.5
MESSAGE_S = 3.0


@click.command("dashboard")
@click.option("--once", is_flag=True, help="Print one picture and end (so it does, too, into a pipe).")
@json_option
@config_option
@pass_session
def dashboard_command(session: Session, once: bool, as_json: bool) -> int:
    """Everything that goes on, live on the whole screen: what runs, the queue, the models, the problems, the alarms.

    It only reads; quitting it, or killing it, does not touch the daemon. Keys are shown on the screen. Without colours: NO_COLOR=1.
    --json prints what `alscope status --json` does, and the machine (processor, memory, disk, GPU).

    \b
    Example:
      alscope dashboard
      alscope dashboard --once
      alscope dashboard --json | jq .machine
    """
    from daemon.live import LiveView

    if as_json:
        _print_json(session)
        return 0
    view = LiveView(session.workspace.root)
    if once or not view.full_screen:
        _print_once(session)
        return 0
    try:
        return _live(session)
    except KeyboardInterrupt:
        return 0


def _print_json(session: Session) -> None:
    from daemon.cli.output import print_json
    from daemon.vitals import now

    print_json(session.look().to_json() | {"machine": asdict(now(session.workspace.root))})


def _print_once(session: Session) -> None:
    """A picture on plain paper: as wide as the terminal, as long as it needs to be."""
    import shutil

    from daemon.cli.output import console
    from daemon.dashboard import once
    from daemon.vitals import now

    width, height = shutil.get_terminal_size((100, 40))
    out = console()
    for line in once(session.look(), width, max(height, 40) - 1, now(session.workspace.root)):
        out.print(line, no_wrap=True, overflow="ignore", crop=False)


def _live(session: Session) -> int:
    from daemon.keys import END, Keys, ending_on_signals
    from daemon.live import LiveView

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
                    view.view = replace(view.view, message=message)
                else:
                    view.press(key)
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
