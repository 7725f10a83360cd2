"""`alscope models fetch` and `alscope models weights`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from daemon.cli import completing
from daemon.cli.session import Session, config_option, json_option, pass_session


def weights_folder(session: Session, option: Path | None = None) -> Path:
    """Where weights go: the option, what config.toml names, or the default. A missing config.toml is no error here."""
    from alcore.weights.places import default_folder
    from daemon import pseudo_choice
    from daemon.errors import ConfigError

    if option is not None:
        return option
    try:
        named = pseudo_choice.weights_folder(session.settings.pseudo)
    except ConfigError:
        named = None
    return named or default_folder()


@click.command("fetch", short_help="Download weights, after showing their licence.")
@click.argument("name", shell_complete=completing.weights)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to [default: pseudo.weights of config.toml].")
@click.option("--yes", is_flag=True, help="Accept the licence without being asked.")
@config_option
@pass_session
def fetch_command(session: Session, name: str, folder: Path | None, yes: bool) -> None:
    """Download the weights called NAME, after showing their licence. Run it again to continue after an interruption.

    For a machine without network, run it elsewhere with --folder, carry the folder over, and name it in config.toml
    (pseudo.weights). CellSAM needs a key in DEEPCELL_ACCESS_TOKEN.

    \b
    Example:
      alscope models fetch vit_b_lm
      alscope models fetch vit_b_em_organelles --folder /media/stick/weights
    """
    from alcore.errors import AlcoreError
    from alcore.weights.catalogue import CATALOGUE
    from alcore.weights.fetch import fetch
    from daemon.cli.output import say
    from daemon.errors import AlscopeError, UsageError
    from daemon.nearest import did_you_mean

    if name not in CATALOGUE:
        hint = did_you_mean(name, CATALOGUE, f"there are {', '.join(CATALOGUE)}")
        raise UsageError(f"no weights are called {name!r}; {hint}")
    entry, into = CATALOGUE[name], weights_folder(session, folder)
    say((name, "bold"), f": {entry.what}; about {entry.size_mb} MB, into {into}")
    say(f"licence: {entry.licence}")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody is here to accept the licence: add --yes")
        click.confirm("Do you accept it?", abort=True)
    try:
        for path in _with_bar(lambda report: fetch(entry, into, report, os.environ.get(entry.token or "-"))):
            say(f"{path}")
    except AlcoreError as e:
        raise AlscopeError(str(e)) from e


def _with_bar(work: Callable[[Callable[[str, int, int], None]], list[Path]]) -> list[Path]:
    """Run work(report) under a progress bar, on a terminal."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from daemon.cli.output import console

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    out = console()
    with Progress(*columns, console=out, disable=not out.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def report(name: str, have: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name)
            bar.update(tasks[name], completed=have, total=total or None)

        return work(report)


@click.command("weights", short_help="Weights made elsewhere: what there is, and what is here.")
@json_option
@config_option
@pass_session
def weights_command(session: Session, as_json: bool) -> None:
    """Weights of models made elsewhere: what can be fetched, under which licence, and what is here.

    \b
    Example:
      alscope models weights
    """
    from alcore.weights.catalogue import CATALOGUE
    from alcore.weights.places import find
    from daemon.cli.output import print_json, table

    folder = weights_folder(session)
    found = {name: find(name, folder) for name in CATALOGUE}
    if as_json:
        print_json([{**asdict(e), "here": [str(p) for p in found[n] or ()]} for n, e in CATALOGUE.items()])
        return
    rows = [
        [n, e.backend, e.what, str(e.size_mb), e.licence, str(files[0].parent) if (files := found[n]) else "not here"]
        for n, e in CATALOGUE.items()
    ]
    table(["name", "backend", "for", ">MB", "licence", "where"], rows, flexible=("for", "licence"))
