"""`alscope simulate`: the loop played offline on labelled images, to see whether choosing patches pays on such data."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.groups import Choice
from daemon.cli.session import json_option
from daemon.cli.simulate_progress import Line
from daemon.errors import AlscopeError, NoRoomError, UsageError

if TYPE_CHECKING:
    from alcore.simulation.engine import Outcome
    from alcore.simulation.pair import Pair
    from alcore.simulation.settings import Settings
    from alcore.simulation.worker import Run

SEEDS = {"fast": 10, "nnunet": 3}
STRATEGIES = ("random", "oracle", "guided", "coreset", "foreground", "typiclust", "herding", "uncertainty")
USUAL = {"fast": STRATEGIES, "nnunet": ("random", "coreset")}
STARTS = {"with": (True,), "without": (False,), "both": (False, True)}
USUAL_START = {"fast": "without", "nnunet": "both"}
MOST_NAMED = 10
"""Files without a partner that are named on the screen; the report names all."""
FILES = ("report.html", "results.csv", "picks.csv", "latent.npz", "run.json", "tables", "figures")


class BadSimulationError(AlscopeError):
    """Images, labels or settings that cannot be played (65), or a run that could not go on (75)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@click.command("simulate")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--image", "images", multiple=True, type=click.Path(path_type=Path), help="A labelled volume; repeat for more."
)
@click.option(
    "--labels", multiple=True, type=click.Path(path_type=Path), help="The instance labels of each, in their order."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("alscope-simulation"),
    show_default=True,
    help="Folder of the results; a second run goes on there.",
)
@click.option(
    "--learner",
    type=Choice(["fast", "nnunet"]),
    default="fast",
    show_default=True,
    help="A pixel classifier (seconds a cell), or nnU-Net itself.",
)
@click.option(
    "--strategies",
    metavar="A,B",
    help=f"Of {', '.join(STRATEGIES)}, or all.  [default: all; of nnunet: {', '.join(USUAL['nnunet'])}]",
)
@click.option(
    "--budgets",
    metavar="N,N",
    help="Numbers of labels; all is always played.  [default: 0, then doubling steps from 2 to all]",
)
@click.option(
    "--seeds", type=click.IntRange(1, 1000), help="How many seeds, each with another pool.  [default: 10; of nnunet: 3]"
)
@click.option(
    "--pretraining",
    type=Choice(["with", "without", "both"]),
    help="Begin with a model of the pseudo-labels?  [default: without; of nnunet: both]",
)
@click.option(
    "--patch",
    "patch_px",
    type=int,
    nargs=3,
    metavar="Z Y X",
    help="Size of a patch in voxels.  [default: chosen from the volume]",
)
@click.option(
    "--voxel-um",
    type=float,
    nargs=3,
    metavar="Z Y X",
    help="Voxel size in um, where the file has none.  [default: unknown]",
)
@click.option(
    "--axes", metavar="ZYX", help="Order of the dimensions, where the file does not say.  [default: as it says]"
)
@click.option("--axis", type=Choice(["y", "x"]), help="Along which test regions are cut.  [default: the longer]")
@click.option(
    "--test-share", type=float, default=0.25, show_default=True, help="Share of the image in one test region."
)
@click.option("--gap", "gap_px", type=int, help="Voxels between a test region and its pool.  [default: a patch]")
@click.option("--regions", type=int, help="Most test regions that are played.  [default: all that fit]")
@click.option("--pool-size", type=int, help="Patches in a seed's pool.  [default: four fifths of what is there]")
@click.option(
    "--missed", type=float, default=0.0, show_default=True, help="Chance that the expert leaves out an object."
)
@click.option(
    "--label-noise", type=float, default=0.0, show_default=True, help="Chance, per object, of a false one beside it."
)
@click.option(
    "--boundary-jitter",
    type=float,
    default=0.0,
    show_default=True,
    help="By how many voxels boundaries are off (s.d.).",
)
@click.option(
    "--minutes-per-patch", type=float, default=1.0, show_default=True, help="Minutes that the expert takes for a patch."
)
@click.option(
    "--minutes-per-object", type=float, default=0.25, show_default=True, help="Minutes for each object in it."
)
@click.option(
    "--encoder",
    type=Choice(["auto", "descriptor", "micro", "tiny", "small", "base"]),
    default="auto",
    show_default=True,
    help="As encoder.size in config.toml.",
)
@click.option(
    "--plan", type=Choice(["auto", "tiny", "default"]), default="auto", show_default=True, help="Plan of nnU-Net."
)
@click.option(
    "--binning",
    type=Choice(["1", "2", "4", "8"]),
    help="Pixels of one of nnU-Net's along y, x.  [default: by rule]",
)
@click.option(
    "--pretrain-epochs", type=click.IntRange(1), help="Epochs that nnU-Net is pre-trained.  [default: as the daemon]"
)
@click.option(
    "--finetune-epochs", type=click.IntRange(1), help="Epochs that nnU-Net is fine-tuned.  [default: as the daemon]"
)
@click.option(
    "--device",
    type=Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where nnU-Net and encoders compute.",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes.  [default: one per core; one on a GPU]")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads of each process.")
@json_option
def simulate_command(folder: Path | None, as_json: bool, **options: Any) -> None:
    """Play the loop on labelled images, with a simulated expert, over strategies, numbers of labels, seeds and test regions.

    Every image is a pool by itself (name images and labels in pairs, or a FOLDER that holds such pairs). Each of its test regions
    is scored by models that learned from patches at least a patch away from it. Strategies see the same pools and seeds. What is
    played is kept in --out: the same command goes on after a kill, and plays only what is missing when more is asked for.

    Ctrl-C ends it with tables of what is complete.

    Exit code 65: an image, its labels or a setting cannot be used; 73: the disk is full; 75: try again.

    \b
    Examples:
      alscope simulate --image image.tif --labels labels.tif
      alscope simulate --image em.tif --labels mito.tif --voxel-um 0.04 0.01 0.01
      alscope simulate labelled/ --patch 15 64 64 --strategies random,guided
      alscope simulate labelled/ --learner nnunet --pretraining both --seeds 3
    """
    from alcore.errors import AlcoreError, DiskFullError, TransientError
    from alcore.simulation.engine import Engine, StoppedError
    from daemon.cli.output import print_json, say
    from daemon.cli.simulation_shown import print_shown
    from daemon.config_selection import Selection

    began = time.monotonic()
    bar = Line(began)
    try:
        run = _run(folder, options)
        if run.left_out:
            more = f" and {len(run.left_out) - MOST_NAMED} more" if len(run.left_out) > MOST_NAMED else ""
            bar.say(f"left out, without a partner in {folder}: {', '.join(run.left_out[:MOST_NAMED])}{more}")
        workers = options["workers"] or (1 if run.device == "cuda" else _cores())
        outcome = Engine(run, workers, bar.tell, Selection().strategy, bar.say).play()
    except DiskFullError as e:
        raise NoRoomError(str(e)) from e
    except KeyboardInterrupt as e:
        bar.say(_stopped(e.outcome if isinstance(e, StoppedError) else None, options["out"]))
        click.get_current_context().exit(130)
    except AlcoreError as e:
        raise BadSimulationError(str(e), 75 if isinstance(e, TransientError) else 65) from e
    finally:
        bar.end()
    files = {name: str(run.out / name) for name in FILES}
    if as_json:
        warnings = list(dict.fromkeys(text for part in outcome.shown for text in part.warnings))
        told = {part.learner: {"answer": part.answer, "verdicts": list(part.verdicts)} for part in outcome.shown}
        seconds = round(time.monotonic() - began, 1)
        counts = {"rows": outcome.rows, "played": outcome.played, "seconds": seconds}
        print_json({**counts, "files": files, "warnings": warnings, "says": told})
        return
    print_shown(outcome.shown)
    say(f"{outcome.played} cells were played, {outcome.rows} are in {files['results.csv']}")
    say(f"all tables and pictures: {files['report.html']}")


def _run(folder: Path | None, options: dict[str, Any]) -> Run:
    from alcore.simulation.settings import check_names
    from alcore.simulation.worker import Run
    from daemon.config import Run as Machine
    from daemon.device import device

    learner = options["learner"]
    found = device(Machine(device=options["device"]))
    names = options["strategies"]
    strategies = USUAL[learner] if names is None else STRATEGIES if names == "all" else tuple(_listed(names))
    check_names(strategies, STRATEGIES, "--strategies")
    settings = _settings(options, found)
    pairs, left_out = _pairs(folder, options)
    return Run(
        tuple(pairs),
        settings,
        tuple(dict.fromkeys(strategies)),
        STARTS[options["pretraining"] or USUAL_START[learner]],
        tuple(range(options["seeds"] or SEEDS[learner])),
        learner,
        options["out"].absolute(),
        found,
        options["threads"],
        left_out,
    )


def _stopped(outcome: Outcome | None, out: Path) -> str:
    """One line on a run that Ctrl-C has ended."""
    shown = f"; {outcome.rows} results are in {out / 'report.html'}" if outcome is not None and outcome.shown else ""
    return f"stopped: what was played is kept in {out}, and the same command goes on there{shown}"


def _pairs(folder: Path | None, options: dict[str, Any]) -> tuple[Sequence[Pair], tuple[str, ...]]:
    """(images with their labels, files of the folder that have no partner)."""
    from alcore.simulation import pair

    images, labels = options["images"], options["labels"]
    if (folder is None) == (not images and not labels):
        raise UsageError("name images and labels in pairs (--image A --labels B), or a folder that holds such pairs")
    if folder is None:
        return pair.given(images, labels), ()
    found = pair.found(folder, options["out"])
    return found.pairs, found.left_out


def _settings(options: dict[str, Any], device: str) -> Settings:
    from alcore.simulation.settings import ExpertSettings, Settings
    from daemon.config_selection import Encoder
    from daemon.config_training import Schedule, Training
    from daemon.policy import encoder_kind, encoder_params, schedule

    encoder = Encoder(size=options["encoder"])
    plan = options["plan"] if options["plan"] != "auto" else "default" if device == "cuda" else "tiny"
    usual = Training()
    factor = int(options["binning"] or 0)
    training = {
        "plan": {"name": plan, "binning": [1, factor, factor]} if factor else plan,
        "pretrain": schedule(Schedule(epochs=options["pretrain_epochs"] or 0), plan, "pretrain"),
        "finetune": schedule(Schedule(epochs=options["finetune_epochs"] or 0), plan, "finetune"),
        "mix_share": usual.mix_share,
        "validation_share": usual.validation_share,
    }
    return Settings(
        patch_px=options["patch_px"] or None,
        voxel_um=options["voxel_um"] or None,
        read={"axes": options["axes"]} if options["axes"] else {},
        axis={None: None, "y": 1, "x": 2}[options["axis"]],
        test_share=options["test_share"],
        gap_px=options["gap_px"],
        regions=options["regions"],
        pool_size=options["pool_size"],
        budgets=None if options["budgets"] is None else tuple(_numbers(options["budgets"])),
        expert=ExpertSettings(
            missed=options["missed"],
            label_noise=options["label_noise"],
            boundary_jitter_px=options["boundary_jitter"],
            minutes_base=options["minutes_per_patch"],
            minutes_per_object=options["minutes_per_object"],
        ),
        encoder=encoder_params(encoder, encoder_kind(encoder, device), device, seed=0),
        training=training if options["learner"] == "nnunet" else {},
    )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in _listed(text)]
    except ValueError:
        raise UsageError(f"--budgets {text!r}: numbers of labels are wanted, as in 0,2,4,8,16") from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
