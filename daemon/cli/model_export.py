"""`alscope models export`: a model that leaves the tool."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from daemon.cli import completing
from daemon.cli.session import Session, config_option, pass_session
from daemon.errors import UsageError, WorkspaceError


@click.command("export", short_help="Write a model for plain nnU-Net and bioimage.io.")
@click.argument("version", shell_complete=completing.models)
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--author", "authors", multiple=True, help="For the bioimage.io package; may be repeated [default: the login name]."
)
@click.option(
    "--license", "licence", default="CC-BY-4.0", show_default=True, help="SPDX name of the licence to pass it on under."
)
@config_option
@pass_session
def export_command(session: Session, version: str, target: Path, authors: tuple[str, ...], licence: str) -> None:
    """Write a model to a folder that does not exist yet, or to a .zip: for plain nnU-Net, and as a package for bioimage.io.

    README.md in it has the three commands that predict with plain nnU-Net; bioimageio/ is the package.

    \b
    Example:
      alscope models export M_f-002 mito-model
      alscope models export M_f-002 mito-model.zip --author "Ana Silva"
    """
    from daemon.cli.claiming import login
    from daemon.cli.model_show import find_model
    from daemon.cli.output import say

    model = find_model(session, version)
    source = session.workspace.artifacts.path(model.artifact)
    if not source.is_dir():
        raise WorkspaceError(f"{source}: the files of {version} are not there any more")
    if target.exists():
        raise UsageError(f"{target}: exists already; choose a name that is free")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".alscope-export-") as scratch:
        folder = Path(scratch) / (target.stem if target.suffix == ".zip" else target.name)
        _write(source, folder, version, authors or (login(),), licence)
        if target.suffix == ".zip":
            made = Path(shutil.make_archive(str(Path(scratch) / "model"), "zip", scratch, folder.name))
            made.rename(target)
        else:
            folder.rename(target)
    say(f"{version} is in {target}; README.md in it says how to predict with plain nnU-Net")


def _write(source: Path, folder: Path, version: str, authors: tuple[str, ...], licence: str) -> None:
    from alcore.errors import AlcoreError
    from alcore.export.bioimage import Credits, export_bioimage
    from alcore.export.nnunet_layout import export_nnunet
    from alcore.nnunet.environment import nnunet_process

    try:
        with tempfile.TemporaryDirectory() as scratch, nnunet_process(Path(scratch), "cpu", 1):
            export_nnunet(source, folder, version)
            export_bioimage(source, folder / "bioimageio", version, Credits(authors, licence))
    except AlcoreError as e:
        raise WorkspaceError(str(e)) from e
