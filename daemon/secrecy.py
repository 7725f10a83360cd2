"""What nobody else is to know: where secrets come from, and that they end with the process that needs them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

WEBHOOK = "ALSCOPE_WEBHOOK"
FROM_ENVIRONMENT = f"${WEBHOOK}"
"""Environment variable that may hold the address of the webhook, and what config.toml says then."""
NOT_SET = f"alarms.webhook: the environment variable {WEBHOOK} is not set"
SECRETS = (WEBHOOK, "DEEPCELL_ACCESS_TOKEN")
NOTIFY = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What is between systemd and the daemon alone."""


def for_others(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program that we start: without secrets, and without what systemd says to us."""
    return {name: value for name, value in environment.items() if name not in (*SECRETS, *NOTIFY)}


def keep_out_strangers() -> None:
    """What this process makes from now on is for its user and, where the umask lets it, the group; never for everybody."""
    os.umask(os.umask(0o077) | 0o007)


def is_secret(address: str) -> bool:
    """Is there more in an address than a machine: a path, a question or a password, which is what lets one in?"""
    if address == FROM_ENVIRONMENT:
        return False
    found = urlsplit(address)
    return found.path.strip("/") != "" or bool(found.query) or found.username is not None


def exposed(path: Path, command: bool, webhook: bool) -> str:
    """What is wrong with the rights of a config file that names a command, or holds the secret address of a webhook; or ""."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if (command or webhook) and mode & stat.S_IWOTH:
        return f"everybody on this machine may write to it, and so have alarms sent and programs run: chmod o-w {path.name}"
    if webhook and mode & stat.S_IROTH:
        return (
            f"alarms.webhook is a secret, and everybody on this machine may read it: chmod o-r {path.name}, or set "
            f'webhook = "{FROM_ENVIRONMENT}" and the address in the environment'
        )
    return ""
