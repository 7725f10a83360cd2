"""What systemd is told (the sd_notify protocol), in plain sockets. Nothing where it did not start us."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

from daemon.store.views import Snapshot

STATUS_EVERY_S = 60.0
"""The line in `systemctl status` costs a look at the whole workspace: it is made anew so often, and when the work changes."""


def notify(message: str) -> None:
    """Tell systemd; several words are lines of one message."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        s.connect(address)
        s.sendall(message.encode(errors="replace"))


def status_words(snapshot: Snapshot, remark: str = "") -> str:
    """One line for `systemctl status`: what runs, what waits for people, how good it is, what is wrong. remark: comes first."""
    from daemon.wording_problems import problem_words
    from daemon.wording_state import summary

    worst = snapshot.problems[0] if snapshot.problems else None
    told = [remark, summary(snapshot), problem_words(worst) if worst else ""]
    return " | ".join(part for part in told if part).replace("\n", " ")


class StatusLine:
    """Keeps the line in `systemctl status` true, at little cost."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._made_at = float("-inf")
        self._of: object = None

    def keep(self, state: object, remark: str = "") -> None:
        """Tell it again, if it is old or `state`, whatever that is, is not what it was."""
        now = time.monotonic()
        if "NOTIFY_SOCKET" not in os.environ or (state == self._of and now - self._made_at < STATUS_EVERY_S):
            return
        from daemon.errors import WorkspaceError
        from daemon.look import look

        self._of, self._made_at = state, now
        with contextlib.suppress(WorkspaceError):
            notify(f"STATUS={status_words(look(self._workspace, time.time()), remark)}")
