"""`alscope service`: the systemd unit that runs this configuration on this machine, written and looked after."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from daemon.cli.groups import Group
from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import NotRunningError, UsageError

BOOTED = Path("/run/systemd/system")
"""There where systemd runs the machine (sd_booted)."""
SYSTEM_UNITS = Path("/etc/systemd/system")
ASK_S = 10.0
F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class Place:
    """Where a unit belongs. system: to the machine, or to a user."""

    system: bool
    name: str

    @property
    def unit(self) -> str:
        """What systemctl calls it."""
        return f"alscope-{self.name}.service" if self.name else "alscope.service"

    @property
    def path(self) -> Path:
        """The file."""
        configuration = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        folder = SYSTEM_UNITS if self.system else Path(configuration) / "systemd" / "user"
        return folder / self.unit

    def systemctl(self, *words: str) -> str:
        """A command line for a person."""
        sudo = ["sudo"] if self.system and os.geteuid() else []
        return " ".join([*sudo, "systemctl", *([] if self.system else ["--user"]), *words])

    def ask(self) -> dict[str, str]:
        """What systemd knows of it; empty where it does not answer."""
        names = ("ActiveState", "UnitFileState", "StatusText", "MainPID", "NeedDaemonReload")
        scope = [] if self.system else ["--user"]
        try:
            ended = subprocess.run(
                ["systemctl", *scope, "show", self.unit, f"--property={','.join(names)}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=ASK_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return {}
        lines = ended.stdout.splitlines() if ended.returncode == 0 else []
        return {key: value for key, _, value in (line.partition("=") for line in lines)}


def place_options(function: F) -> F:
    """Which unit is meant."""
    function = click.option(
        "--name", default="", help="One of several on this machine: alscope-NAME.  [default: alscope]"
    )(function)
    return click.option(
        "--user/--system",
        "own",
        default=None,
        help="For this user, or for the machine.  [default: for the machine as root]",
    )(function)


def _place(own: bool | None, name: str) -> Place:
    if not re.fullmatch(r"[A-Za-z0-9_.-]*", name):
        raise UsageError(f"--name {name!r}: use letters, digits, '-', '_' and '.' only")
    return Place(os.geteuid() == 0 if own is None else not own, name)


def _needs_systemd() -> None:
    if not BOOTED.is_dir():
        raise NotRunningError(
            "systemd does not run this machine (a container, macOS, Windows?): keep `alscope run` in tmux or whatever starts "
            "programs here; `alscope service install --print` shows the unit"
        )


def _text(session: Session, place: Place) -> str:
    from daemon.units import Unit

    settings, config = session.settings, session.config.absolute()
    program = Path(sys.executable).parent / "alscope"
    start = [str(program)] if program.is_file() else [sys.executable, "-m", "daemon.cli.main"]
    user = ""
    if place.system:
        if not settings.workspace.is_dir():
            raise UsageError(f"{settings.workspace}: no such folder; `alscope init` makes the workspace")
        owner = settings.workspace.stat().st_uid
        try:
            user = pwd.getpwuid(owner).pw_name
        except KeyError:
            user = str(owner)
        if owner == 0:
            raise UsageError(
                f"{settings.workspace} belongs to root, as whom alscope should not run: give it to the user who is to run it, "
                f"such as `chown -R alscope {settings.workspace}`"
            )
    cache = place.unit.removesuffix(".service")
    what = f"alscope active learning, {config}"
    return Unit(what, (*start, "--config", str(config), "run"), (str(settings.workspace),), user, cache).text()


@click.group("service", cls=Group)
def service_group() -> None:
    """Keep the daemon running under systemd: write its unit for this machine, remove it, ask how it is.

    Nothing is started or stopped, and sudo is never called: each command says what to run.

    \b
    Example:
      alscope service install --user
    """


@service_group.command("install", short_help="Write the unit, and say what to run.")
@place_options
@click.option("--print", "only_print", is_flag=True, help="Print the unit, and write nothing.")
@config_option
@pass_session
def install_command(session: Session, own: bool | None, name: str, only_print: bool) -> None:
    """Write the unit that runs this config.toml, with the paths, the user and the workspace of this machine.

    The user is the one to whom the workspace belongs. Again after config.toml was moved, or after an update: it is brought up
    to date. Other changes of config.toml need `systemctl reload`, or nothing.

    \b
    Example:
      alscope service install --user
      sudo alscope --config /etc/alscope.toml service install --system
      alscope service install --system --print
    """
    from daemon.cli.output import say

    place = _place(own, name)
    if only_print:
        sys.stdout.write(_text(session, place))
        return
    _needs_systemd()
    text, before = _text(session, place), _installed(place)
    if before is not None and not _is_ours(before):
        raise UsageError(f"{place.path}: somebody else wrote it; remove it first, or take another --name")
    if before != text:
        _write(place, text)
    say(f"{place.path}: {'is as it should be' if before == text else 'written'}")
    say(f"now: `{place.systemctl('daemon-reload')}`, then `{place.systemctl('enable', '--now', place.unit)}`")
    if not place.system:
        say(f"to keep it running when you log out: `sudo loginctl enable-linger {pwd.getpwuid(os.geteuid()).pw_name}`")


@service_group.command("uninstall")
@place_options
def uninstall_command(own: bool | None, name: str) -> None:
    """Remove the unit that `install` wrote. The workspace, and all in it, stays.

    \b
    Example:
      alscope service uninstall --user
    """
    from daemon.cli.output import say

    place = _place(own, name)
    before = _installed(place)
    if before is None:
        say(f"{place.path}: is not there")
        return
    if not _is_ours(before):
        raise UsageError(f"{place.path}: somebody else wrote it, it is left alone")
    state = place.ask()
    if state.get("ActiveState") not in (None, "", "inactive", "failed") or state.get("UnitFileState") == "enabled":
        raise UsageError(f"{place.unit} is in use; stop it first: `{place.systemctl('disable', '--now', place.unit)}`")
    try:
        place.path.unlink()
    except PermissionError as e:
        raise UsageError(f"{place.path}: only root may remove it; run the command with sudo") from e
    say(f"{place.path}: removed; now: `{place.systemctl('daemon-reload')}`")


@service_group.command("status", short_help="Is there a unit, is it current, and does it run?")
@place_options
@json_option
@config_option
@pass_session
def status_command(session: Session, own: bool | None, name: str, as_json: bool) -> int:
    """Is there a unit, is it the one of this config.toml, and does it run? The exit code is 69 when it does not.

    \b
    Example:
      alscope service status --user
    """
    from daemon.cli.output import print_json, say

    place = _place(own, name)
    before = _installed(place)
    state = place.ask() if BOOTED.is_dir() else {}
    active = state.get("ActiveState", "")
    current = before is not None and before == _text(session, place)
    if as_json:
        print_json({"unit": str(place.path), "installed": before is not None, "current": current, "systemd": state})
    elif before is None:
        say(f"{place.path}: is not there; `alscope service install` writes it")
    else:
        outdated = (
            "" if current else "; it is not that of this config.toml: `alscope service install` brings it up to date"
        )
        enabled = state.get("UnitFileState") or "unknown to systemd"
        say(f"{place.path}: {enabled}, {active or 'not running'}{outdated}")
        if state.get("StatusText"):
            say(state["StatusText"])
    return 0 if active in ("active", "reloading") else NotRunningError.exit_code


def _installed(place: Place) -> str | None:
    try:
        return place.path.read_text()
    except FileNotFoundError:
        return None


def _is_ours(text: str) -> bool:
    from daemon.units import MARK

    return text.startswith(MARK)


def _write(place: Place, text: str) -> None:
    from alcore.artifact import write_atomic

    try:
        place.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place.path, text.encode(), 0o644)
    except PermissionError as e:
        raise UsageError(
            f"{place.path}: only root may write there; run the command with sudo, use --user, or --print the unit"
        ) from e
