"""`alscope demo`: the whole loop in minutes, on simulated or on your own labelled data."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.report import write_report
from daemon.cli.session import Session
from daemon.config import load
from daemon.config_cluster import scheduler_address
from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.demo.conductor import Script
    from daemon.demo.examiner import Exam
    from daemon.demo.split import Piece
    from daemon.store.views import Snapshot


@click.command("demo")
@click.option(
    "--image", type=click.Path(path_type=Path), help="A labelled volume: TIFF, Z x Y x X [default: a synthetic tissue]."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Its instance labels: TIFF of the same shape [default: the tissue's own].",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("alscope-demo"),
    show_default=True,
    help="Where everything goes.",
)
@click.option("--rounds", type=click.IntRange(1, 50), help="Fine-tuning rounds.  [default: 2; 3 on data of your own]")
@click.option(
    "--every", type=click.IntRange(1, 100), help="New labels per round, held-out ones included.  [default: 6]"
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the synthetic tissue: equal seeds give equal tissues."
)
@click.option(
    "--address",
    help="Of a dask scheduler, tcp://HOST:PORT: its workers do the work (docs/cluster.md).  [default: none, this machine does it]",
)
def demo_command(
    image: Path | None,
    labels: Path | None,
    folder: Path,
    rounds: int | None,
    every: int | None,
    seed: int,
    address: str | None,
) -> None:
    """A simulated microscope writes volumes, the real daemon does everything, a simulated expert answers from known truth.

    At the end: a table of scores on test volumes that no model has seen, summary.json, a picture of every volume, and
    the report (workspace/report/report.html).

    \b
    Examples:
      alscope demo
      alscope demo --image image.tif --labels labels.tif --rounds 4
      alscope demo --address tcp://127.0.0.1:8786
    """
    if (image is None) != (labels is None):
        raise UsageError("--image and --labels belong together")
    try:
        scheduler_address(address or "")
    except ValueError as e:
        raise UsageError(f"--address {address}: {e}") from None
    from daemon.demo import conductor, split

    if image is not None and labels is not None:
        pool, tests = _real(image, labels)
        script = conductor.script(pool, rounds or 3, every or 6, at_least=24)
        name = image.name
    else:
        click.echo("Making a synthetic tissue ...", err=True)
        pool, tests = split.synthetic(seed)
        script = conductor.script(pool, rounds or 2, every or 6, at_least=24)
        name = f"synthetic, seed {seed}"
    _play(folder, pool, tests, script, address or "", {"data": name, "test": [list(t.image.shape) for t in tests]})


def _real(image: Path, labels: Path) -> tuple[list[Piece], list[Piece]]:
    from alcore.types import Box
    from alcore.volumes import open_volume
    from alcore.volumes.labels import read_labels
    from daemon.demo.split import split

    for path in (image, labels):
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
    with open_volume(image) as reader:
        voxels = reader.read(Box((0, 0, 0), reader.shape[1:]))[0]
        voxel_um = reader.voxel_um
    truth, _ = read_labels(labels)
    return split(voxels, truth, voxel_um, gap_px=64)


def _play(
    folder: Path, pool: list[Piece], tests: list[Piece], script: Script, address: str, about: dict[str, Any]
) -> None:
    from alcore.volumes.writers import write_image_tiff
    from daemon.demo import conductor
    from daemon.demo.examiner import Examiner
    from daemon.demo.expert import Expert
    from daemon.demo.microscope import Microscope
    from daemon.live import LiveView

    conductor.prepare_folder(folder)
    config = conductor.write_config(folder, script, address)
    settings = load(config)
    workspace = settings.workspace
    began, clock = time.time(), time.monotonic()

    def may_answer() -> bool:
        shot = conductor.seen(workspace)
        return shot is not None and conductor.expert_may_answer(shot, script.every, script.rounds)

    microscope = Microscope(pool, folder / "acquisition", script.seconds_per_volume)
    expert = Expert({p.name: p.labels for p in pool}, workspace, script.think_s, may_answer)
    with (
        conductor.daemon(config, folder / "daemon.log") as process,
        conductor.actor("microscope", microscope.run),
        conductor.actor("expert", expert.run),
        LiveView(workspace) as view,
    ):
        shot = conductor.wait_until_over(
            workspace, script, len(pool), process, view.refresh, lambda: microscope.error or expert.error
        )
    click.echo("Scoring every model on the test volumes ...", err=True)
    (folder / "test").mkdir()
    for piece in tests:
        write_image_tiff(folder / "test" / piece.name, piece.image[None], piece.voxel_um)
    examiner = Examiner(folder / "test", settings)
    try:
        exam = examiner.examine(
            [(folder / "test" / piece.name, piece.labels) for piece in tests], conductor.model_artifacts(workspace)
        )
    finally:
        examiner.close()
    summary = conductor.summarise(shot, exam, began, time.monotonic() - clock, about)
    conductor.write_summary(folder / "summary.json", summary)
    _pictures(folder, workspace, pool, tests, shot, exam, summary)
    click.echo("Writing the report ...", err=True)
    session = Session()
    session.option = config
    with contextlib.redirect_stdout(sys.stderr):
        write_report(session, workspace / "report")
    conductor.tidy(folder)
    _table(folder, summary)


def _pictures(
    folder: Path,
    workspace: Path,
    pool: list[Piece],
    tests: list[Piece],
    shot: Snapshot,
    exam: Exam,
    summary: dict[str, Any],
) -> None:
    from alcore.arrays.matching import score
    from alcore.volumes.labels import read_labels
    from alcore.volumes.store import open_labels
    from daemon.demo import conductor, figures

    pictures = folder / "pictures"
    pictures.mkdir()

    def picture(piece: Piece, pseudo: Any, prediction: Any) -> None:
        masks = [
            (f"{name}, F1 {score(mask, piece.labels).f1:.2f}" if mask is not None else name, mask)
            for name, mask in (("pseudo-label", pseudo), ("prediction", prediction))
        ]
        target = pictures / f"{Path(piece.name).stem}.png"
        figures.volume_picture(target, piece.name, piece.image, [*masks, ("truth", piece.labels)])

    pseudo_folders = conductor.pseudo_by_volume(workspace)
    for piece in pool:
        found = workspace / "predictions" / f"{Path(piece.name).stem}.tif"
        pseudo = pseudo_folders.get(piece.name)
        picture(
            piece,
            open_labels(pseudo / "instances.zarr")[:] if pseudo else None,
            read_labels(found)[0] if found.exists() else None,
        )
    promoted = next((m.version for m in shot.models if m.state == "promoted"), None)
    used = next((t for t in exam.trained if t.version == promoted), None)
    for number, piece in enumerate(tests):
        picture(piece, exam.pseudo[number], used.instances[number] if used else None)
    figures.learning_curve(pictures / "learning_curve.png", summary)


def _table(folder: Path, summary: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title="scores on test volumes that no model has seen", box=box.SIMPLE_HEAD, padding=0)
    headings = ("round", "labels", "pool", "F1", "accuracy", "panoptic", "precision", "Dice", "promoted", "time")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("round", "promoted") else "right", no_wrap=True)

    def row(name: str, labels: str, share: str, scores: dict[str, float], promoted: str, wall: str) -> None:
        numbers = [f"{scores[k]:.3f}" for k in ("f1", "accuracy", "panoptic", "precision", "dice")]
        table.add_row(name, labels, share, *numbers, promoted, wall)

    row("pseudo", "0", "0 %", summary["pseudo_label_scores"], "", "")
    if summary["pretrained_scores"]:
        row("pretrained", "0", "0 %", summary["pretrained_scores"], "", "")
    for r in summary["rounds"]:
        row(
            str(r["round"]),
            f"{r['n_labels']}",
            f"{100 * r['fraction']:.0f} %",
            r["scores"],
            "yes" if r["promoted"] else "no",
            f"{int(r['wall_s']) // 60}:{int(r['wall_s']) % 60:02d}",
        )
    console = Console()
    console.print(table)
    console.print("instances at IoU 0.5; pool: share of it labelled by the expert; time: since start")
    console.print(f"{summary['elapsed_s'] / 60:.1f} minutes in all.")
    for what in ("pictures", "summary.json", "workspace/predictions", "workspace/report/report.html"):
        console.print(f"  {folder / what}", soft_wrap=True)
    console.print(f"  alscope --config {folder / 'config.toml'} status   (what the daemon left)", soft_wrap=True)
