"""`alscope models diff`: what one model finds that another does not, object by object, with pictures."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from daemon.cli import completing
from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import UsageError, WorkspaceError

BYTES_PER_VOXEL = 40
"""Memory that comparing two segmentations takes for each voxel of a volume."""
KINDS = ("gained", "lost", "better", "worse", "invented", "no longer invented")


@click.command("diff", short_help="What one model does differently from another.")
@click.argument("a", shell_complete=completing.models)
@click.argument("b", shell_complete=completing.models)
@click.option(
    "--volumes", is_flag=True, help="Compare the segmentations of volumes that both have made, without any truth."
)
@click.option("--out", type=click.Path(path_type=Path), help="A folder for the pictures [default: A-B in this folder].")
@json_option
@config_option
@pass_session
def diff_command(session: Session, a: str, b: str, volumes: bool, out: Path | None, as_json: bool) -> None:
    """What model B does differently from model A on every held-out patch, and a picture of each where something changed.

    Patches of other data than either model takes (other channels or voxel size) are left out, and named.

    gained and lost are true objects (IoU above 0.5); better and worse are found by both, with an IoU that differs by 0.1 or
    more; invented are no objects. A picture shows the slices through the largest of them, which are numbered: A is red, on the
    left, B is green, on the right, and the truth is yellow.

    \b
    Example:
      alscope models diff M_f-001 M_f-002
      alscope models diff M_f-001 M_f-002 --volumes --json
    """
    from daemon.cli.model_show import find_model
    from daemon.cli.output import print_json, say, table

    models = find_model(session, a), find_model(session, b)
    folders = tuple(session.workspace.artifacts.path(m.artifact) for m in models)
    target = (out or Path(f"{a}-{b}")).absolute()
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target}: is no folder; name one with --out")
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answer
        rows, left_out = (
            _volumes(session, (a, b), target)
            if volumes
            else _patches(session, (a, b), (folders[0], folders[1]), target)
        )
    total = {kind: sum(row["counts"][kind] for row in rows) for kind in KINDS}
    if as_json:
        on = "volumes" if volumes else "held-out patches"
        others = [{"name": name, "reason": why} for name, why in left_out]
        print_json({"a": a, "b": b, "on": on, "total": total, "rows": rows, "left_out": others})
        return
    for name, why in left_out:
        click.echo(f"{name}: left out, {why}", err=True)
    shown = ("gained", "lost") if volumes else KINDS
    where = "volume" if volumes else "held-out patch"
    lines = [[row["name"], *(str(row["counts"][kind]) for kind in shown), row["picture"] or ""] for row in rows]
    table([where, *(f">{kind}" for kind in shown), "picture"], [*lines, ["all", *(str(total[k]) for k in shown), ""]])
    say(f"{b} against {a}: " + ", ".join(f"{total[kind]} {kind}" for kind in shown))


def _patches(
    session: Session, versions: tuple[str, str], folders: tuple[Path, Path], target: Path
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    from alcore.errors import AlcoreError
    from alcore.nnunet.difference import comparable, on_patches
    from alcore.nnunet.environment import nnunet_process
    from daemon.cli.predict import TerminalContext
    from daemon.device import device, threads
    from daemon.look import reading
    from daemon.store.model_listing import gate_labels

    with reading(session.workspace.root) as db:
        held = gate_labels(db)
    if not held:
        raise UsageError("no labels are held out yet, so there is nothing to compare on; --volumes needs none")
    labels = [(name, session.workspace.artifacts.path(key)) for name, key in held]
    for path in (*folders, *(path for _, path in labels)):
        if not path.is_dir():
            raise WorkspaceError(f"{path}: these files are not there any more; restore them")
    labels, others = comparable(folders, labels, versions)
    if not labels:
        name, why = others[0]
        raise UsageError(
            f"no held-out label is of data that both models take: {name} is of {why}; --volumes needs none"
        )
    target.mkdir(parents=True, exist_ok=True)
    run, least = session.settings.run, session.settings.prediction
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        ctx = TerminalContext(place, place, device(run), threads(run), int(run.ram_gb * 2**30))
        try:
            with nnunet_process(place, ctx.device, ctx.threads):
                voxels, um3 = least.min_object_voxels or None, least.min_object_um3
                return on_patches(folders, labels, target, ctx, voxels, um3, versions), others
        except AlcoreError as e:
            raise WorkspaceError(str(e)) from e


def _volumes(
    session: Session, versions: tuple[str, str], target: Path
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    from alcore.nnunet.difference import on_volume
    from daemon.look import reading
    from daemon.store.model_listing import predicted_by

    with reading(session.workspace.root) as db:
        both = predicted_by(db, versions)
    if not both:
        raise UsageError(
            f"no volume has segmentations by both {versions[0]} and {versions[1]} (those of models out of use are cleared away, "
            "see prediction.keep_models)"
        )
    target.mkdir(parents=True, exist_ok=True)
    most = session.settings.run.ram_gb * 2**30 / BYTES_PER_VOXEL
    rows, left_out = [], []
    for name, n_voxels, *keys in both:
        paths = [_segmentation(session.workspace.artifacts.path(key)) for key in keys]
        one, other = paths
        if one is None or other is None:
            left_out.append((name, "its segmentations are not there any more"))
        elif n_voxels > most:
            left_out.append((name, f"{n_voxels:,} voxels do not fit into run.ram_gb twice"))
        else:
            rows.append(on_volume(name, one, other, target, versions))
    return rows, left_out


def _segmentation(artifact: Path) -> Path | None:
    from daemon.publishing import FORMS

    return next((path for form in FORMS if (path := artifact / f"instances{form}").exists()), None)
