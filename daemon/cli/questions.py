"""The four questions of `alscope init` on a terminal, each with a default that was found by looking, and a line of why."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import click

from daemon import gpus
from daemon.cli.config_text import GPU_USE, MODALITIES, Answers
from daemon.cli.groups import Choice
from daemon.cli.looking import MOST_VOLUMES, Seen, likely_folder, look_into
from daemon.cli.output import say
from daemon.device import has_cuda
from daemon.wording import clean, count, short_path, size

FOLDER = "Your files are never moved, changed or deleted; subfolders count, too."
MODALITY = "It chooses weights of Segment Anything, and which objects look like some."
VOXEL = "Sizes and distances in um need it. Leave it empty if you do not know."
GPU = "Training wants one; no leaves it to the microscope's own software."


def ask_all(target: Path, problem: Callable[[Path], str]) -> Answers:
    """Ask for the folder, the modality, the voxel size where it is not known, and the GPU.

    target: the folder that config.toml will be in. problem: why a folder cannot be watched, "" if it can.
    Ctrl-C and the end of the input raise click.Abort; nothing has been written then.
    """
    say("Four questions. Enter takes what is in brackets; Ctrl-C leaves all as it was.")
    watch = _folder(target, problem)
    seen = look_into(watch)
    for line in told(seen):
        say(f"   {line}")
    modality = _ask("2 of 4", "What kind of images are these?", MODALITY, "images", Choice(MODALITIES), seen.modality)
    voxel = _voxel(seen)
    gpu = _ask("4 of 4", _gpu_words(), GPU, "GPU", Choice(GPU_USE), "yes" if has_cuda() else "auto")
    return Answers(watch, voxel, modality, gpu)


def told(seen: Seen) -> list[str]:
    """What was found in a folder, for people."""
    if not seen.n_volumes:
        return ["no volumes there yet"]
    more = " or more" if seen.n_volumes == MOST_VOLUMES else ""
    kinds = ", ".join(suffix for suffix in seen.suffixes[:4] if suffix)
    lines = [f"{count(seen.n_volumes, 'volume')}{more} there ({kinds}), {size(seen.n_bytes)}"]
    if seen.slices:
        lines.append("one slice each: if a folder of them is one volume, say so in config.toml (slices)")
    if seen.trouble:
        lines.append(f"one cannot be read as it is: {clean(seen.trouble)}")
    return lines


def _ask(number: str, question: str, why: str, name: str, kind: click.ParamType, default: str | None) -> str:
    say((f"{number}  {question}", "bold"))
    say((f"   {why}", "dim"))
    return str(click.prompt(f"   {name}", type=kind, default=default))


def _folder(target: Path, problem: Callable[[Path], str]) -> Path:
    """The folder to watch: there, readable, and apart from the workspace."""
    likely = likely_folder([Path.cwd(), target])
    default = str(short_path(likely)) if likely is not None and not problem(likely) else None
    say(("1 of 4  Into which folder does your microscope write its volumes?", "bold"))
    say((f"   {FOLDER}", "dim"))
    while True:
        watch = Path(str(click.prompt("   folder", default=default)).strip()).expanduser().absolute()
        if not watch.exists() and click.confirm(f"   {clean(str(watch))}: no such folder. Make it?", default=False):
            _made(watch)
        wrong = _unusable(watch) or problem(watch.resolve())
        if not wrong:
            return watch.resolve()
        say(f"   {clean(wrong)}")


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as e:
        say(f"   {clean(str(folder))}: cannot be made ({e.strerror})")


def _unusable(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}: no such folder" if not folder.exists() else f"{folder}: is no folder"
    try:
        next(folder.iterdir(), None)
    except OSError as e:
        return f"{folder}: cannot be read ({e.strerror})"
    return ""


def _voxel(seen: Seen) -> tuple[float, float, float] | None:
    stated = "" if seen.voxel_um is None else " x ".join(f"{v:g}" for v in seen.voxel_um)
    if stated and not seen.silent:
        say((f"3 of 4  Voxel size: the files say it, {stated} um (z y x)", "bold"))
        return None
    unknown = (
        "some files do not say it" if stated else "no file says it" if seen.n_volumes else "there is no file to ask"
    )
    text = _ask("3 of 4", f"How large is a voxel, z y x in um? ({unknown})", VOXEL, "voxel", _Voxel(), stated)
    return voxel_of(text)


def voxel_of(text: str) -> tuple[float, float, float] | None:
    """Three positive numbers, with blanks, commas or "x" between; None for an empty text. Raises ValueError."""
    words = [word for word in re.split(r"[\s,;x]+", text.strip().removesuffix("um")) if word]
    if not words:
        return None
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 < n < math.inf for n in numbers):
        raise ValueError("three positive numbers are wanted, z y x in um, such as 0.05 0.01 0.01; or nothing")
    return numbers[0], numbers[1], numbers[2]


class _Voxel(click.ParamType):
    name = "voxel"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            voxel_of(value)
        except ValueError as e:
            self.fail(str(e))
        return value


def _gpu_words() -> str:
    found = gpus.names()
    if has_cuda():
        return f"Use the GPU ({', '.join(found) or 'an NVIDIA GPU is here'})?"
    if gpus.without_driver():
        return "The NVIDIA GPU in this machine has no driver loaded. Use it, once it has?"
    return "No NVIDIA GPU is seen here. Use one? (auto: when there is one)"
