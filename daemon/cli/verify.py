"""`alscope verify`: is everything on the disk as it was written?"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict

import click

from daemon.cli.session import Session, config_option, json_option, pass_session

EVERY_S = 1.0
DAMAGED = 65
"""Exit code when something is not as it was written."""


@click.command("verify")
@json_option
@config_option
@pass_session
def verify_command(session: Session, as_json: bool) -> int:
    """Read every result and every received label, and compare it with what was written down about it when it was made.

    Takes as long as reading all of it does; the daemon may go on meanwhile. Nothing is changed. Exit code 65 when something is
    damaged.

    \b
    Example:
      alscope verify
    """
    from daemon.cli.output import print_json, say
    from daemon.look import reading
    from daemon.verifying import pieces, verify

    with reading(session.workspace.root) as db:
        found = pieces(session.workspace, db)
    n_bytes = sum(piece.size for piece in found)
    shown = _Progress(n_bytes)
    wrong = list(verify(found, shown.read))
    shown.end()
    if as_json:
        print_json({"checked": len(found), "bytes": n_bytes, "damaged": [asdict(finding) for finding in wrong]})
        return DAMAGED if wrong else 0
    for finding in wrong:
        say(("x ", "red"), f"{finding.kind} {finding.name}: {finding.what}")
        say("  ", ("-> ", "dim"), finding.todo)
    outcome = f"{len(wrong)} damaged" if wrong else "all as they were written"
    say(f"{len(found)} artifacts and label files read ({n_bytes / 1e9:.2f} GB): {outcome}")
    return DAMAGED if wrong else 0


class _Progress:
    """How far it is, on a terminal only."""

    def __init__(self, n_bytes: int) -> None:
        self._all, self._read, self._shown = n_bytes, 0, time.monotonic()
        self._wanted, self._dirty = sys.stderr.isatty(), False

    def read(self, n: int) -> None:
        """So many bytes more were read."""
        self._read += n
        now = time.monotonic()
        if self._wanted and now - self._shown > EVERY_S:
            self._shown, self._dirty = now, True
            sys.stderr.write(f"\r{self._read / 1e9:.1f} of {self._all / 1e9:.1f} GB")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._dirty:
            sys.stderr.write("\n")
