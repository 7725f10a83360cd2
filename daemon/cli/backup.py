"""`alscope backup` and `alscope restore`: copies of the database."""

from __future__ import annotations

import time
from pathlib import Path

import click

from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import UsageError, WorkspaceError

WHY = {"nightly": "nightly", "update": "before an update", "hand": "by hand"}


@click.command("backup")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@config_option
@pass_session
def backup_command(session: Session, file: Path | None) -> None:
    """Copy the database, which knows everything but the images; the daemon may go on meanwhile.

    Without FILE the copy goes into backups/ of the workspace, where it stays until you remove it; the daemon makes one there every
    night by itself. Artifacts, labels and models are files of their own: copy the whole workspace to save those, too.

    \b
    Example:
      alscope backup
      alscope backup /mnt/safe/microscope1.db
    """
    from daemon.cli.output import say
    from daemon.store.backups import HAND, back_up, copy_to
    from daemon.store.connection import DATABASE

    root = session.workspace.root
    if file is None:
        made = back_up(root, HAND, time.time())
    else:
        if file.exists():
            raise UsageError(f"{file}: is there already; name another file")
        if not file.absolute().parent.is_dir():
            raise UsageError(f"{file.absolute().parent}: no such folder")
        copy_to(root / DATABASE, file.absolute())
        made = file
    say(f"copied to {made} ({made.stat().st_size / 1e6:.1f} MB), looked over and sound")


@click.command("restore")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--list", "only_list", is_flag=True, help="Only show the backups.")
@click.option(
    "--rebuild",
    is_flag=True,
    help="Without a backup: begin with an empty database, and find again what is on the disk.",
)
@json_option
@config_option
@pass_session
def restore_command(session: Session, file: Path | None, only_list: bool, rebuild: bool, as_json: bool) -> None:
    """Put a backup of the database back: FILE, or the newest sound one. The daemon must be stopped.

    The database that is replaced stays beside it. Labels that were accepted since the backup are found again on the disk when the
    daemon starts; folders of suggestions that the backup does not know are moved to found/, with what was saved for them.

    \b
    Example:
      alscope restore --list
      alscope restore
    """
    root = session.workspace.root
    if sum((file is not None, only_list, rebuild)) > 1:
        raise UsageError("FILE, --list and --rebuild exclude each other: give one of them")
    if as_json and not only_list:
        raise UsageError("--json goes with --list")
    if only_list:
        _list(root, as_json)
        return
    from daemon.workspace import Lock

    if not root.is_dir():
        raise WorkspaceError(f"{root}: no workspace here; check `workspace` in config.toml")
    lock = Lock(session.workspace)
    lock.take()
    try:
        _rebuild(session) if rebuild else _put_back(session, file)
    finally:
        lock.release()


def _list(root: Path, as_json: bool) -> None:
    from daemon.cli.output import print_json, say, table
    from daemon.rescue import clock
    from daemon.store.backups import listing
    from daemon.store.integrity import unsound

    found = [(backup, unsound(backup.path)) for backup in listing(root)]
    if as_json:
        print_json([{"file": str(b.path), "why": b.kind, "at": b.at, "unsound": bad} for b, bad in found])
        return
    if not found:
        say(f"no backups in {root / 'backups'} yet; `alscope backup` makes one")
        return
    rows = [
        [clock(b.at), WHY[b.kind], f"{b.path.stat().st_size / 1e6:.1f}", bad or "sound", str(b.path)]
        for b, bad in found
    ]
    table(["made", "why", ">MB", "state", "file"], rows, flexible=("file",))


def _put_back(session: Session, file: Path | None) -> None:
    from daemon.cli.output import say
    from daemon.found import RESTORED, ask_for_it
    from daemon.rescue import clock
    from daemon.store.backups import newest_good, put_back

    root, now = session.workspace.root, time.time()
    if file is None:
        best = newest_good(root)
        if best is None:
            raise UsageError(
                f"{root / 'backups'}: no sound backup; name a FILE, or `alscope restore --rebuild` finds again what is on the disk"
            )
        file, said = best.path, f"the backup of {clock(best.at)}"
    else:
        said = str(file)
    replaced = put_back(root, file, now, lambda: ask_for_it(session.workspace, RESTORED, f"{said} was put back", now))
    say(f"put back: {said}")
    if replaced is not None:
        say(f"the database that it replaced is {replaced}")
    say("start the daemon (`alscope run`): it finds again the labels that were accepted since")


def _rebuild(session: Session) -> None:
    from daemon.cli.output import say
    from daemon.found import LOST
    from daemon.rescue import begin_anew

    aside = begin_anew(session.workspace, "somebody asked for a new database", time.time())
    if aside is not None:
        say(f"the former database is {aside}")
    say(
        "start the daemon (`alscope run`): it reads the watched folders again, and finds labels and results on the disk"
    )
    say(f"lost: {LOST}")
