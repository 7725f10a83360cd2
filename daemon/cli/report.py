"""`alscope report`: write the report now, in this process, whether the daemon runs or not."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import UsageError, WorkspaceError

if TYPE_CHECKING:
    from alcore.artifact import ArtifactStore, Manifest
    from alcore.stage import Context, Input
    from daemon.store.rows import Wanted


@click.command("report")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write it into this folder [default: report/ in the workspace]."
)
@click.option("--open", "show", is_flag=True, help="Open the page in the browser of this machine.")
@json_option
@config_option
@pass_session
def report_command(session: Session, out: Path | None, show: bool, as_json: bool) -> None:
    """How it stands, as one HTML page that needs no network: the latent space of all patches, the queue with its pictures, the
    learning curve and the control arm, held-out patches, volumes, models, minutes, timings and versions.

    Beside it: figures/ (PNG and SVG) and all numbers as CSV. The daemon writes the same after every round. The database is only
    read; the projection and the model's pictures take seconds to minutes, and are kept in cache/ for the next time.

    \b
    Example:
      alscope report --open
      alscope report --out /home/ana/talk --json
    """
    from daemon.cli.output import print_json, say
    from daemon.wording import count, duration, short_path, size

    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is no folder; name one with --out")
    began = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answer, not for what libraries print
        page, result = write_report(session, (out or session.workspace.report).absolute())
    if show:
        import webbrowser

        webbrowser.open(page.as_uri())
    if as_json:
        print_json({"page": str(page), **result})
        return
    say(
        f"{short_path(page)}: {count(result['n_patches'], 'patch', 'patches')}, {count(result['n_pictures'], 'picture')} on the map, "
        f"{size(result['n_bytes'])}, made in {duration(time.monotonic() - began)}; figures and CSV lie beside it"
    )
    for note in result["notes"]:
        say(note)


def write_report(session: Session, target: Path) -> tuple[Path, dict[str, Any]]:
    """Run what is missing, then put the report into `target`. Returns the page, and how much of what is in it."""
    from alcore.artifact import ArtifactStore
    from daemon.cli.predict import TerminalContext
    from daemon.device import device, threads
    from daemon.look import reading
    from daemon.planner import Planner
    from daemon.reporting.gather import Gathering, stamp
    from daemon.reporting.publish import publish

    run, workspace = session.settings.run, session.workspace
    place = workspace.places.cache / "report"
    ctx = TerminalContext(place / "scratch", workspace.places.cache, device(run), threads(run), int(run.ram_gb * 2**30))
    ctx.scratch.mkdir(parents=True, exist_ok=True)
    desk = _Desk(workspace.artifacts, ArtifactStore(place / "artifacts"), ctx)
    planner = Planner(session.settings, ctx.device, workspace.artifacts.path, workspace.root)
    subject, words = stamp(), {}
    with reading(workspace.root) as db:
        gathering = Gathering(planner, db)
        parts = {
            "latent_map": gathering.latent_map(subject, desk.newest_map(gathering.encoder())),
            "gate_pictures": gathering.gate_pictures(subject),
        }
        made: dict[str, Input | None] = {}
        for name, wanted in parts.items():
            made[name], why = desk.tried(wanted)
            if why:
                words[{"latent_map": "map", "gate_pictures": "gate"}[name]] = why
        now = time.time()
        done = desk.made(gathering.report(subject, made, words, now))
    page = publish(desk.own.path(done.key), target, done.key, now)
    desk.clear({item.key for item in made.values() if item is not None})
    return page, {**done.result, "notes": list(words.values())}


@dataclass(frozen=True)
class _Desk:
    """Where stages run for a person. shared: the artifacts of the workspace, which are only read; own: what is made here."""

    shared: ArtifactStore
    own: ArtifactStore
    ctx: Context

    def made(self, wanted: Wanted) -> Manifest:
        """The result of a job, run here unless it is there. Raises WorkspaceError, saying why it cannot be made."""
        from alcore.artifact import read_manifest
        from alcore.errors import AlcoreError
        from alcore.run import execute, key_of

        key = key_of(wanted.stage, wanted.inputs, wanted.params)
        if self.shared.has(key):
            return read_manifest(self.shared.path(key))
        try:
            return execute(wanted.stage, wanted.inputs, wanted.params, self.own, self.ctx)
        except AlcoreError as e:
            raise WorkspaceError(str(e)) from e

    def tried(self, wanted: Wanted | None) -> tuple[Input | None, str]:
        """(the artifact of a part of the report, ""), or (None, why it is missing): the report is written without it."""
        from alcore.stage import Input

        if wanted is None:
            return None, ""
        try:
            key = self.made(wanted).key
        except (WorkspaceError, OSError, RuntimeError, ValueError) as e:
            return None, f"{wanted.stage.replace('_', ' ')} could not be made: {e}"
        store = self.shared if self.shared.has(key) else self.own
        return Input(store.path(key), key), ""

    def newest_map(self, encoder: str) -> Input | None:
        """The map of this encoder that was made last, by the daemon or here."""
        from alcore.artifact import MANIFEST, read_manifest
        from alcore.errors import AlcoreError
        from alcore.stage import Input

        found = [path for store in (self.shared, self.own) for path in store.root.glob(f"*/latent_map-*/{MANIFEST}")]
        for path in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True):
            with contextlib.suppress(AlcoreError):
                if read_manifest(path.parent).params.get("encoder") == encoder:
                    return Input(path.parent, path.parent.name)
        return None

    def clear(self, kept: set[str]) -> None:
        """Keep the map and the pictures for the next time, and nothing else; nor what a killed process began."""
        import psutil

        from alcore.artifact import remove_tree

        for path in self.own.staging.glob("*.*.*"):
            pid = path.name.split(".")[1]
            if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                self.own.clean_staging(int(pid))
        for path in self.own.root.glob("*/*-*"):
            if path.name not in kept and not path.parent.name.startswith("."):
                remove_tree(path)
