"""`alscope run`: the daemon itself, in the foreground (systemd, a terminal or `make run` keep it)."""

from __future__ import annotations

import click

from daemon.cli.session import Session, config_option, pass_session


@click.command("run")
@click.option("--verbose", is_flag=True, help="Log every detail.")
@config_option
@pass_session
def run_command(session: Session, verbose: bool) -> None:
    """Watch the acquisition folders and run the whole loop until Ctrl-C or SIGTERM.

    Everything is in the workspace: stop it at any time, start it again, and it goes on where it was. `kill -HUP`, or
    `systemctl reload`, has it read config.toml again; a wrong one is refused, and the old settings stay.

    \b
    Example:
      alscope --config /etc/alscope/microscope1.toml run
    """
    from daemon import service
    from daemon.boot import set_up_logging
    from daemon.errors import ConfigError
    from daemon.secrecy import FROM_ENVIRONMENT, NOT_SET, keep_out_strangers

    if session.settings.alarms.webhook == FROM_ENVIRONMENT:
        raise ConfigError(f"{session.settings.file}: {NOT_SET}")
    keep_out_strangers()
    set_up_logging(verbose)
    service.run(session.settings)
