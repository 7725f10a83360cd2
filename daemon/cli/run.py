"""`alscope run`: the daemon itself, in the foreground (systemd, a terminal or `make run` keep it)."""

from __future__ import annotations

from pathlib import Path

import click

from daemon.config import find_config, load


@click.command("run", short_help="Watch the folders and do everything; ends on Ctrl-C or SIGTERM.")
@click.option("--verbose", is_flag=True, help="Log every detail.")
@click.pass_context
def run_command(context: click.Context, verbose: bool) -> None:
    """Watch the acquisition folders and run the whole loop until Ctrl-C or SIGTERM.

    Everything is in the workspace: stop it at any time, start it again, and it goes on where it was.

    \b
    Example:
      alscope --config /etc/alscope/microscope1.toml run
    """
    from daemon import service

    option: Path | None = context.obj.get("config") if context.obj else None
    settings = load(find_config(option))
    service.set_up_logging(verbose)
    service.run(settings)
