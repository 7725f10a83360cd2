"""What the shell offers for the names of suggestions, jobs, models, volumes and weights; read from the database, in no time.

Names that a shell would take apart or act upon (blanks, quotes, wildcards...) are not offered: its scripts pass them on bare.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence

import click
from click.shell_completion import CompletionItem

from daemon.cli.session import Session
from daemon.errors import AlscopeError
from daemon.wording import clean

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Names = Sequence[tuple[str, str]]
BARE = re.compile(r"[\w.+@%/-]+")
WAITING = ("open", "claimed", "rejected")
ANSWERED = ("accepted",)


def _completer(list_names: Callable[[sqlite3.Connection], Names]) -> Completer:
    def complete(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        from daemon.store.connection import open_reader

        try:
            db = open_reader(ctx.ensure_object(Session).workspace.root / "alscope.db")
        except (AlscopeError, OSError):
            return []  # nothing to offer, and nowhere to say why: the line that is being typed is not ours
        try:
            found = list_names(db)
        except sqlite3.Error:
            return []
        finally:
            db.close()
        return offered(found, begun)

    return complete


def offered(found: Names, begun: str) -> list[CompletionItem]:
    """Those names that begin so, each with a word about it."""
    return [
        CompletionItem(name, help=clean(said) or None)
        for name, said in found
        if name.startswith(begun) and BARE.fullmatch(name)
    ]


def _suggestions(*states: str) -> Completer:
    def names(db: sqlite3.Connection) -> Names:
        from daemon.store.names import suggestions

        return suggestions(db, states)

    return _completer(names)


def _jobs(*states: str) -> Completer:
    def names(db: sqlite3.Connection) -> Names:
        from daemon.store.names import jobs

        return jobs(db, states)

    return _completer(names)


@_completer
def held_back(db: sqlite3.Connection) -> Names:
    """Patches in the QC queue."""
    from daemon.store.names import held_back

    return held_back(db)


@_completer
def models(db: sqlite3.Connection) -> Names:
    """Versions of models."""
    from daemon.store.names import models

    return models(db)


@_completer
def volumes(db: sqlite3.Connection) -> Names:
    """Names of volumes."""
    from daemon.store.names import volumes

    return volumes(db)


suggestions = _suggestions()
waiting = _suggestions(*WAITING)
labelled = _suggestions(*ANSWERED)
jobs = _jobs()
jobs_to_retry = _jobs("failed", "cancelled")
jobs_to_cancel = _jobs("waiting", "ready", "running")


def weights(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Weights that can be fetched."""
    from alcore.weights.catalogue import CATALOGUE

    return offered([(name, entry.what) for name, entry in CATALOGUE.items()], begun)
