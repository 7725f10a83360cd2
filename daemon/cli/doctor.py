"""`alscope doctor`."""

from __future__ import annotations

from dataclasses import asdict

import click

from daemon.cli.session import Session, config_option, json_option, pass_session


@click.command("doctor")
@click.option("--deep", is_flag=True, help="Import torch and faiss, too, and let each compute something (seconds).")
@json_option
@config_option
@pass_session
def doctor_command(session: Session, deep: bool, as_json: bool) -> int:
    """Check this machine and config.toml, and say how to mend what is wrong. Exit code 1 if something fails.

    \b
    Example:
      alscope doctor --deep
    """
    from daemon.cli import checks
    from daemon.cli.output import print_json, say
    from daemon.errors import ConfigError
    from daemon.wording_state import glyph

    done = list(checks.machine())
    try:
        settings = session.settings
        done.append(checks.Check("config", "ok", str(session.config)))
        done += checks.configured(settings)
    except ConfigError as e:
        done.append(checks.Check("config", "fail", str(e), "correct it, or write a new one with `alscope init`"))
    if deep:
        done += checks.deep()
    failed = sum(check.state == "fail" for check in done)
    if as_json:
        print_json([asdict(check) for check in done])
        return int(failed > 0)
    for check in done:
        say(glyph(check.state), (f"{check.name:15}", "bold"), check.found)
        if check.mend:
            say(" " * 17, ("-> ", "dim"), check.mend)
    say(f"{failed} of {len(done)} checks failed" if failed else "nothing stands in the way")
    return int(failed > 0)
