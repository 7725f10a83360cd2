"""`alscope train`, `pause` and `resume`."""

from __future__ import annotations

import re

import click

from daemon.cli.session import Session, config_option, pass_session

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[float]):
    """A length of time such as 90s, 30min, 2h or 1d; in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", str(value).strip())
        if not found or float(found[1]) <= 0:
            self.fail(f"{value!r} is not a length of time; write 90s, 30min, 2h or 1d", param, ctx)
        return float(found[1]) * UNITS[found[2]]


def _ask(session: Session, verb: str, arguments: dict[str, float | bool]) -> None:
    from daemon.cli.asking import ask_and_wait
    from daemon.cli.output import say

    say(ask_and_wait(session, verb, arguments))


@click.command("train")
@click.option("--replan", is_flag=True, help="Let nnU-Net plan again, and pre-train on today's pseudo-labels, instead.")
@config_option
@pass_session
def train_command(session: Session, replan: bool) -> None:
    """Open a training round now, on all accepted labels, without waiting for `training.every` new ones.

    With --replan the next rounds start from a new pre-trained model; by itself a plan is only made when there is data of another
    voxel size or number of channels.

    \b
    Examples:
      alscope train
      alscope train --replan
    """
    _ask(session, "train", {"replan": True} if replan else {})


@click.command("pause")
@click.option(
    "--for",
    "seconds",
    type=Duration(),
    help="End the pause by itself after 90s, 30min, 2h, 1d... [default: `alscope resume` ends it].",
)
@config_option
@pass_session
def pause_command(session: Session, seconds: float | None) -> None:
    """Start no new work; training and segmenting stand still, and short jobs that run finish (on a cluster all do). Files are
    still noticed.

    \b
    Example:
      alscope pause --for 2h
    """
    _ask(session, "pause", {"seconds": seconds} if seconds else {})


@click.command("resume")
@config_option
@pass_session
def resume_command(session: Session) -> None:
    """End a pause.

    \b
    Example:
      alscope resume
    """
    _ask(session, "resume", {})
