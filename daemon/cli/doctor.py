"""`alscope doctor`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.cli.checking import Check

ABOUT = "Support bundle of alscope: no image data; secrets are masked. Each part that could not be had says why."


@click.command("doctor")
@click.option("--deep", is_flag=True, help="Import torch and faiss, too, and let each compute something (seconds).")
@click.option(
    "--bundle",
    is_flag=False,
    flag_value=Path(),
    type=click.Path(path_type=Path),
    metavar="[FILE]",
    help="Write a zip for whoever helps: settings, checks, state and logs, without images and secrets"
    " [default: no; without FILE alscope-support-<date>.zip, here].",
)
@click.option("--private", is_flag=True, help="In the bundle: aliases for the names of acquisitions and people.")
@json_option
@config_option
@pass_session
def doctor_command(session: Session, deep: bool, bundle: Path | None, private: bool, as_json: bool) -> int:
    """Check this machine and config.toml, and say how to mend what is wrong. Exit code 1 if something fails.

    With --bundle what the checks say goes into the bundle, and the exit code says whether that could be written.

    \b
    Example:
      alscope doctor --deep
      alscope doctor --bundle
      alscope doctor --bundle help.zip --private
    """
    from daemon.cli.output import print_json, say
    from daemon.wording_state import glyph

    if bundle is not None:
        _bundle(session, bundle, private, deep, as_json)
        return 0
    if private:
        raise UsageError("--private goes with --bundle")
    done = _checks(session, deep)
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


def _checks(session: Session, deep: bool) -> list[Check]:
    from daemon.cli import checks
    from daemon.errors import ConfigError

    done = list(checks.machine())
    try:
        settings = session.settings
        done.append(checks.Check("config", "ok", str(session.config)))
        done += checks.configured(settings)
    except ConfigError as e:
        done.append(checks.Check("config", "fail", str(e), "correct it, or write a new one with `alscope init`"))
    if deep:
        done += checks.deep()
    return done


def _bundle(session: Session, file: Path, private: bool, deep: bool, as_json: bool) -> None:
    from daemon.cli.bundle import default_name, write_bundle
    from daemon.cli.output import print_json, say
    from daemon.cli.support import Support

    target = file if file.name else default_name(time.time())
    support = Support(session, private, lambda: [asdict(check) for check in _checks(session, deep)])
    lacking = write_bundle(target, support.parts(), support.redaction(), ABOUT)
    if as_json:
        print_json({"file": str(target), "bytes": target.stat().st_size, "lacking": lacking})
        return
    say(f"written: {target} ({target.stat().st_size / 1e6:.1f} MB), with contents.txt, which says what is in it")
    for name, why in lacking.items():
        say(("! ", "yellow"), f"without {name}: {why}")
    if not private:
        say("names of files and people are in it; with --private there are aliases in their place")
    say("look into it before you send it")
