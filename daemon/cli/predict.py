"""`alscope predict`: segment one file outside the loop, in this process, without a daemon; or ask for all volumes."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from daemon.cli import completing
from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import AlscopeError, UsageError, WorkspaceError
from daemon.nearest import did_you_mean


class UnusableFileError(AlscopeError):
    """The file cannot be segmented; the message says why."""

    exit_code = 65


@dataclass
class TerminalContext:
    """The `alcore.stage.Context` of a stage that runs for a person who watches."""

    scratch: Path
    cache: Path
    device: str
    threads: int
    ram_bytes: int
    told_at: float = field(default=float("-inf"))

    def progress(self, fraction: float, note: str = "") -> None:
        """A line on stderr now and then."""
        if time.monotonic() - self.told_at >= 2.0:
            self.told_at = time.monotonic()
            click.echo(f"{min(1.0, max(0.0, fraction)):4.0%}  {note}", err=True)

    def should_stop(self) -> bool:
        """Ctrl-C ends the process: nothing is worth a checkpoint here."""
        return False


@click.command("predict")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--model",
    "version",
    metavar="V",
    help="A model version [default: the promoted one].",
    shell_complete=completing.models,
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where to write, a .tif or an .ome.zarr [default: <name>-instances in this folder].",
)
@click.option("--part", metavar="NAME", help="The volume to segment, of several in the file [default: the only one].")
@click.option("--force", is_flag=True, help="Replace a former segmentation, in whatever form, its table and its map.")
@click.option("--all", "everything", is_flag=True, help="Let the daemon segment every volume with the promoted model.")
@json_option
@config_option
@pass_session
def predict_command(
    session: Session,
    path: Path | None,
    version: str | None,
    out: Path | None,
    part: str | None,
    force: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """Segment PATH with the promoted model: instance ids with the voxel size kept, and a table of the objects (.csv) beside.

    PATH is a file, or a folder that is one volume. It does not enter the pool, and the daemon need not run. It is read as the
    [[watch]] table of its folder says, or as the first one does. Above `prediction.zarr_above_gb` the segmentation is an
    OME-Zarr, else a TIFF. Exit code 65: the file cannot be used.

    --all asks the daemon to segment every volume of the pool that the promoted model has not segmented yet, whatever
    `prediction.policy` says; the former segmentations stay until the new ones are complete.

    \b
    Example:
      alscope predict other_lab/stack.tif
      alscope predict stack.tif --model M_f-002 --out stack-002.tif
      alscope predict --all
    """
    if everything == (path is not None):
        raise UsageError("name a file to segment, or --all for every volume of the pool")
    if path is None:
        if version or out or part or force:
            raise UsageError("--all takes no other options: it is always the promoted model, into predictions/")
        _all(session, as_json)
        return
    _one(session, path, version, out, part, force, as_json)


def _all(session: Session, as_json: bool) -> None:
    from daemon.cli.asking import ask_and_wait
    from daemon.cli.output import print_json, say

    answer = ask_and_wait(session, "predict-all", {})
    if as_json:
        print_json({"answer": answer})
    else:
        say(answer)


def _one(
    session: Session, path: Path, version: str | None, out: Path | None, part: str | None, force: bool, as_json: bool
) -> None:
    from daemon.cli.output import print_json, say
    from daemon.cli.predict_files import check_targets, form_of, table_of
    from daemon.publishing import FORMS
    from daemon.stems import file_stem
    from daemon.store.sources import display_name
    from daemon.wording import count, short_path

    source = path.absolute()
    if not source.exists():
        raise UsageError(f"{path}: no such file or folder")
    if out is None:
        stem = f"{file_stem(display_name(bytes(_bare(source))))}-instances"
        targets = [Path(f"{stem}{form}").absolute() for form in FORMS]
    else:
        targets = [out.absolute()]
        if not form_of(out):
            raise UsageError(f"{out}: a segmentation is written as {' or '.join(FORMS)}; name such a file with --out")
    former = check_targets(session.settings, source, targets, force)
    chosen, key = _model(session, version)
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answer, not for what libraries print
        result = _segment(session, source, targets, former, chosen, key, part)
    target = Path(str(result["path"]))
    if as_json:
        print_json({"model": chosen, **result})
        return
    say(
        f"{short_path(target)}: {count(int(result['n_objects']), 'object')} by {chosen}; {table_of(target).name} lists them"
    )
    for note in result["notes"]:
        say(str(note))


def _bare(source: Path) -> Path:
    """Without what says the format: stack.ome.tif is stack, the folder day.2 of slices stays day.2."""
    if source.is_dir() and source.suffix != ".zarr":
        return source
    return source.with_name(source.stem.removesuffix(".ome"))


def _model(session: Session, version: str | None) -> tuple[str, str]:
    """(version, artifact key) of the model to use. Raises UsageError or WorkspaceError."""
    from daemon.look import reading
    from daemon.store.listing import models

    with reading(session.workspace.root) as db:
        known = models(db)
    if version is None:
        promoted = next((name for name, (state, _) in known.items() if state == "promoted"), None)
        if promoted is None:
            hint = f"; name one with --model: {', '.join(known)}" if known else ""
            raise UsageError(f"no model has been promoted yet{hint}")
        version = promoted
    if version not in known:
        hint = did_you_mean(version, known, f"known: {', '.join(known) or 'none yet'}")
        raise UsageError(f"there is no model {version!r}; {hint}")
    key = known[version][1]
    if not session.workspace.artifacts.has(key):
        raise WorkspaceError(
            f"{session.workspace.artifacts.path(key)}: the files of {version} are not there; restore them"
        )
    return version, key


def _segment(
    session: Session,
    source: Path,
    targets: list[Path],
    former: list[Path],
    version: str,
    model_key: str,
    part: str | None,
) -> dict[str, Any]:
    """Run the stages `volume` and `predict` in a folder of their own beside the target, then put the result in place: in that
    of the targets that is named like what was made, instead of the former files."""
    from alcore.artifact import ArtifactStore
    from alcore.errors import AlcoreError
    from alcore.fileset import fingerprint_of
    from alcore.run import execute
    from alcore.volumes import members
    from daemon.cli.predict_files import put_in_place, table_of
    from daemon.device import device, threads
    from daemon.planner import Planner
    from daemon.store.rows import ModelRow, SourceRow, VolumeRow
    from daemon.store.volumes import artifact_of

    settings = session.settings
    try:
        names = members(source.resolve())
        fingerprint = fingerprint_of(bytes(source.resolve()), names)
    except AlcoreError as e:
        raise UnusableFileError(str(e)) from e
    except OSError as e:
        raise UnusableFileError(f"{source}: cannot be opened ({e.strerror}); check its permissions") from e
    if fingerprint is None:
        raise UnusableFileError(f"{source}: no acquisition is there")
    watched = (i for i, w in enumerate(settings.watch) if source.resolve().is_relative_to(w.folder.resolve()))
    file = SourceRow(0, bytes(source), next(watched, 0), fingerprint.to_text(), names)
    model = ModelRow(version, "finetuned", "promoted", model_key, None, 0)
    with _own_folder(targets[0]) as folder:
        made = ArtifactStore(folder / "artifacts")
        ours = session.workspace.artifacts
        context = TerminalContext(
            folder / "scratch",
            folder / "cache",
            device(settings.run),
            threads(settings.run),
            int(settings.run.ram_gb * 2**30),
        )
        planner = Planner(
            settings,
            context.device,
            lambda key: ours.path(key) if key == model_key else made.path(key),
            session.workspace.root,
        )
        try:
            read = planner.volume(file)
            found = execute("volume", read.inputs, read.params, made, context)
            held = found.result["volumes"]
            chosen = _chosen(source, held, part)
            info = chosen["info"]
            key = artifact_of(found.key, chosen["folder"])
            volume = VolumeRow(0, source.name, info["sha256"], key, bytes(source), chosen["read"], 0, members=names)
            wanted = planner.predict(volume, model)
            params = dict(wanted.params)
            if len(targets) == 1:  # its name says what it is to be
                params["zarr_above_gb"] = None if targets[0].suffix == ".tif" else -1
            done = execute("predict", wanted.inputs, params, made, context)
        except AlcoreError as e:
            raise UnusableFileError(str(e)) from e
        target = put_in_place(made.path(done.key), targets, former)
        return {"path": str(target), "table": str(table_of(target)), **done.result}


def _chosen(source: Path, held: list[dict[str, Any]], part: str | None) -> dict[str, Any]:
    """The one volume in the file, or the one that is called `part`."""
    names = [str(volume["part"]) for volume in held]
    if part is None and len(held) == 1:
        return held[0]
    if part in names:
        return held[names.index(part)]
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    if part is not None:
        raise UnusableFileError(f"{source}: holds no volume {part!r}; there is {listed or 'only one, without a name'}")
    raise UnusableFileError(
        f"{source}: holds {len(held)} volumes; name one with --part: {listed} (all are segmented if the file is dropped into a "
        "watched folder)"
    )


@contextlib.contextmanager
def _own_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target (so that there is room for the result), removed whatever happens."""
    import tempfile

    from alcore.artifact import remove_tree

    folder = Path(tempfile.mkdtemp(prefix=".alscope-predict-", dir=target.parent))
    try:
        for name in ("scratch", "cache"):
            (folder / name).mkdir()
        yield folder
    finally:
        remove_tree(folder)
