"""`alscope models promote` and `alscope models rollback`: which model is in use, decided by a person."""

from __future__ import annotations

import click

from daemon.cli import completing
from daemon.cli.session import Session, config_option, pass_session

USER = click.option("--user", default="", help="Who decides this [default: the login name].")


@click.command("promote", short_help="Put a model to use by hand, whatever the verdict was.")
@click.argument("version", shell_complete=completing.models)
@click.option("--reason", required=True, help="Why; kept with the model.")
@USER
@config_option
@pass_session
def promote_command(session: Session, version: str, reason: str, user: str) -> None:
    """Put a model to use by hand, whatever the verdict was; it says so when the verdict was "worse".

    Its segmentations are shown where they exist, and made where they are wanted. The next round is judged against it.

    \b
    Example:
      alscope models promote M_f-002 --reason "it sees the small ones"
    """
    _ask(session, "promote", {"version": version, "reason": reason}, user)


@click.command("rollback", short_help="Go back to the model that was in use before.")
@click.option("--reason", default="", help="Why; kept with the model [default: none].")
@USER
@config_option
@pass_session
def rollback_command(session: Session, reason: str, user: str) -> None:
    """Go back to the model that was in use before, and to its segmentations.

    The present model is not promoted by itself again; `alscope models promote` brings it back. A second rollback goes one
    model further back.

    \b
    Example:
      alscope models rollback --reason "it merges neighbours in the new stacks"
    """
    _ask(session, "rollback", {"reason": reason}, user)


def _ask(session: Session, verb: str, arguments: dict[str, str], user: str) -> None:
    from daemon.cli.asking import ask_and_wait
    from daemon.cli.claiming import login
    from daemon.cli.output import say

    say(ask_and_wait(session, verb, arguments | {"user": user.strip() or login()}))
