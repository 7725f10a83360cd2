"""`alscope init`: a commented config.toml, and a workspace."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from daemon.cli.config_text import GPU_USE, MODALITIES, Answers, filled, template
from daemon.cli.groups import Choice
from daemon.errors import ConfigError, UsageError


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option(
    "--watch",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that volumes come into [default: it is asked for; required in scripts].",
)
@click.option(
    "--voxel",
    type=float,
    nargs=3,
    metavar="Z Y X",
    help="Voxel size in um, for files that do not say [default: unknown].",
)
@click.option(
    "--modality",
    type=Choice(MODALITIES),
    help="What kind of images: em and fluorescence choose weights of Segment Anything (annotation.model), and fluorescence has "
    "the first labels look for bright objects only (pseudo.options) [default: other].",
)
@click.option(
    "--gpu",
    type=Choice(GPU_USE),
    help="Use an NVIDIA GPU (run.device): yes also lets Segment Anything draw the first labels (pseudo.backend), auto takes one "
    "when it is there [default: auto].",
)
@click.option("--force", is_flag=True, help="Replace an existing config.toml.")
def init_command(
    folder: Path,
    watch: Path | None,
    voxel: tuple[float, float, float] | None,
    modality: str | None,
    gpu: str | None,
    force: bool,
) -> None:
    """Write FOLDER/config.toml with every key commented, and make the workspace. FOLDER is this one if not named.

    On a terminal and without options it asks four questions, each with a default; with --watch, or in a script, it asks nothing.

    \b
    Examples:
      alscope init ~/alscope
      alscope init --watch /data/incoming
      alscope init em --watch /data/incoming --modality em --voxel 0.05 0.01 0.01
    """
    import tomllib

    from alcore.artifact import write_atomic
    from daemon.cli.output import say
    from daemon.config import from_mapping
    from daemon.wording import short_path
    from daemon.workspace import Workspace

    path = folder.absolute() / "config.toml"
    if path.exists() and not force:
        raise UsageError(f"{short_path(path)}: exists already; use --force to replace it")
    if watch is not None:
        if not watch.is_dir():
            raise UsageError(f"{watch}: no such folder; make it first, or correct --watch")
        answers = Answers(watch.absolute().resolve(), voxel, modality or "other", gpu or "auto")
    elif voxel or modality or gpu or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "say which folder volumes come into: --watch FOLDER (on a terminal, without options, it is asked)"
        )
    else:
        answers = _asked(path)
    settings = from_mapping(tomllib.loads(text := filled(template(), answers.settings())), path)
    folder.mkdir(parents=True, exist_ok=True)
    Workspace(settings.workspace).make()
    write_atomic(path, text.encode())
    say(f"wrote {short_path(path)} (every key with its default; adapt it as you like)")
    for key, value in answers.settings().items():
        say(f"   {key} = {value}")
    say(f"made {short_path(settings.workspace)}")
    where = "" if path.parent == Path.cwd() else f" --config {short_path(path)}"
    say("next:")
    say(f"   alscope{where} doctor    is everything in place?")
    say(f"   alscope{where} run       leave it running")
    say(f"   alscope{where} status    in a second terminal: what it does")


def _asked(path: Path) -> Answers:
    """Answers from the terminal."""
    from daemon.cli.questions import ask_all
    from daemon.config import from_mapping

    def problem(watch: Path) -> str:
        try:
            filled(template(), Answers(watch).settings())
            from_mapping({"watch": [{"folder": str(watch)}]}, path)
        except UsageError as e:
            return str(e)
        except ConfigError as e:
            return (
                f"{str(e).removeprefix(f'{path}: ')} (`alscope init FOLDER` puts config.toml and workspace into FOLDER)"
            )
        return ""

    return ask_all(path.parent, problem)
