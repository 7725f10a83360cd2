"""`alscope predict`: segment one file outside the loop, in this process, without a daemon."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import AlscopeError, UsageError, WorkspaceError

if TYPE_CHECKING:
    from daemon.config import Settings


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
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--model", "version", metavar="V", help="A model version [default: the promoted one].")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write [default: <name>-instances.tif in this folder]."
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@json_option
@config_option
@pass_session
def predict_command(
    session: Session, path: Path, version: str | None, out: Path | None, force: bool, as_json: bool
) -> None:
    """Segment PATH with the promoted model: a TIFF of instance ids with the voxel size kept.

    The file does not enter the pool, and the daemon need not run. It is read as the [[watch]] table of its folder says,
    or as the first one does. Exit code 65: the file cannot be used.

    \b
    Example:
      alscope predict other_lab/stack.tif
      alscope predict stack.tif --model M_f-002 --out stack-002.tif
    """
    from daemon.cli.output import print_json, say
    from daemon.stems import file_stem
    from daemon.store.sources import display_name
    from daemon.wording import count, short_path

    source = path.absolute()
    if not source.is_file():
        raise UsageError(f"{path}: no such file")
    target = (out or Path(f"{file_stem(display_name(bytes(source.with_suffix(''))))}-instances.tif")).absolute()
    _check_target(session.settings, source, target, force)
    chosen, key = _model(session, version)
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answer, not for what libraries print
        result = _segment(session, source, target, chosen, key)
    if as_json:
        print_json({"path": str(target), "model": chosen, **result})
    else:
        say(f"{short_path(target)}: {count(int(result['n_objects']), 'object')} by {chosen}")


def _check_target(settings: Settings, source: Path, target: Path, force: bool) -> None:
    if target == source:
        raise UsageError(f"{target}: would replace the image itself; name another file with --out")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already; use --force to replace it, or another --out")
    for watch in settings.watch:
        if target.resolve().is_relative_to(watch.folder.resolve()):
            raise UsageError(
                f"{target}: lies in the watched folder {watch.folder}, where it would be taken for a volume; use --out"
            )


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
        raise UsageError(f"there is no model {version!r}; known: {', '.join(known) or 'none yet'}")
    key = known[version][1]
    if not session.workspace.artifacts.has(key):
        raise WorkspaceError(
            f"{session.workspace.artifacts.path(key)}: the files of {version} are not there; restore them"
        )
    return version, key


def _segment(session: Session, source: Path, target: Path, version: str, model_key: str) -> dict[str, float]:
    """Run the stages `volume` and `predict` in a folder of their own beside the target, then put the result in place."""
    from alcore.artifact import ArtifactStore
    from alcore.errors import AlcoreError
    from alcore.fileset import fingerprint_of
    from alcore.run import execute
    from alcore.volumes import members
    from daemon.device import device, threads
    from daemon.files import copy_durably
    from daemon.planner import Planner
    from daemon.store.rows import ModelRow, SourceRow, VolumeRow

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
    with _own_folder(target) as folder:
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
            if len(held) > 1:
                raise UnusableFileError(
                    f"{source}: holds {len(held)} volumes ({held[0]['part']}, ...); save the wanted one on its own, or "
                    "drop the file into a watched folder: each of its volumes is segmented there"
                )
            info = held[0]["info"]
            volume = VolumeRow(
                0, source.name, info["sha256"], found.key, bytes(source), held[0]["read"], 0, members=names
            )
            wanted = planner.predict(volume, model)
            done = execute("predict", wanted.inputs, wanted.params, made, context)
        except AlcoreError as e:
            raise UnusableFileError(str(e)) from e
        copy_durably(made.path(done.key) / "instances.tif", target)
        return {name: float(value) for name, value in done.result.items() if isinstance(value, int | float)}


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
