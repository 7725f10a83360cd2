"""`alscope annotate`: the next patch in a window, until nobody wants another one."""

from __future__ import annotations

import click

from daemon.cli import completing
from daemon.cli.session import Session, config_option, pass_session


@click.command("annotate")
@click.argument("suggestion_id", metavar="[ID]", required=False, shell_complete=completing.waiting)
@click.option("--user", default="", help="Who annotates [default: the name you are logged in with].")
@click.option("--take-over", is_flag=True, help="Take the patch although somebody else has it.")
@click.option("--plain", is_flag=True, help="Plain napari, without Segment Anything.")
@config_option
@pass_session
def annotate_command(session: Session, suggestion_id: str | None, user: str, take_over: bool, plain: bool) -> int:
    """Open the next patch (or ID) in microSAM's annotator, with the pseudo-label to correct.

    Ctrl-Enter hands the label in and opens the next patch. Work is kept every minute: closing the window without handing in
    gives the patch back to the queue and keeps the draft, which is there when the patch is opened again. Exit codes: 0 done,
    65 a label was rejected (its draft is kept), 69 the daemon is not running.

    \b
    Example:
      alscope annotate
      alscope annotate s00004 --user ana
    """
    from daemon.cli.sitting import Sitting

    return Sitting(session, user, plain).run(suggestion_id, take_over)
