"""Words for people: durations, sizes, places, what a job does. Names from outside are made harmless here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DAEMON = {
    "running": ("●", "green"),
    "paused": ("‖", "yellow"),
    "hanging": ("!", "bold red"),
    "stopped": ("○", "yellow"),
    "crashed": ("✗", "bold red"),
    "never": ("○", "yellow"),
}
"""Glyph and colour of each state of the daemon: never a colour alone."""

STATE = {
    "open": ("○", "cyan"),
    "claimed": ("◐", "yellow"),
    "submitted": ("…", "blue"),
    "checking": ("…", "blue"),
    "accepted": ("✓", "green"),
    "rejected": ("✗", "red"),
    "skipped": ("–", "dim"),
    "waiting": ("…", "yellow"),
    "ready": ("○", "cyan"),
    "running": ("▶", "green"),
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("–", "dim"),
    "arriving": ("…", "blue"),
    "settled": ("○", "cyan"),
    "ingested": ("✓", "green"),
    "set_aside": ("✗", "red"),
    "gone": ("–", "dim"),
    "source gone": ("–", "dim"),
    "unreachable": ("!", "yellow"),
    "candidate": ("○", "cyan"),
    "baseline": ("○", "cyan"),
    "promoted": ("✓", "green"),
    "current": ("✓", "green"),
    "embedding": ("▶", "green"),
    "retired": ("–", "dim"),
    "training": ("▶", "green"),
    "judging": ("▶", "green"),
    "ok": ("✓", "green"),
    "warn": ("!", "yellow"),
    "fail": ("✗", "bold red"),
}
"""Glyph and colour of the states of suggestions, labels, jobs, sources, models, encoders, rounds and checks."""

ARM = {"selected": "", "control": "◇", "asked": "+"}
"""Mark of who chose a suggestion: nothing for the strategy."""
ARM_WORDS = {
    "control": "◇ drawn at random, to measure whether selection helps: annotate it like any other",
    "asked": "+ taken out of the QC queue by a person",
}

DOING = {
    "volume": "reading {}",
    "pseudo": "pseudo-labelling {}",
    "traits": "looking at the patches of {}",
    "encoder": "making an encoder of {}",
    "embedding": "embedding {}",
    "novelty": "comparing {} with all before",
    "suggestions": "choosing patches from {}",
    "package": "preparing {} for the expert",
    "sam_embedding": "looking at {} with Segment Anything",
    "label": "checking the label of {}",
    "agreement": "comparing the labels of two people, {}",
    "pretrain": "pre-training on {}",
    "finetune": "fine-tuning, {}",
    "evaluate": "judging {}",
    "predict": "segmenting {}",
    "control": "comparing selection with chance after {}",
    "latent_map": "mapping the latent space, {}",
    "gate_pictures": "drawing held-out patches, {}",
    "report": "writing the report, {}",
}
"""What a job of each stage does, around the name of its subject."""

WHY = {
    "score": ("score", "{:.3g}, larger is chosen first"),
    "gain": ("gain", "{:.3g}, what it adds to what is covered"),
    "minutes": ("time", "about {:.0f} min for an expert"),
    "density": ("density", "{:.2f}, 1 is the most typical of the pool"),
    "foreground": ("foreground", "{:.0%} of the voxels, as far as pseudo-labels know"),
    "border": ("borders", "{:.0%} of the voxels lie on the border of an object"),
    "n_objects": ("objects", "about {:.0f}"),
    "confidence": ("confidence", "{:.2f} of the pseudo-labels, in 0 to 1"),
    "uncertainty": ("uncertainty", "{:.2f} of the model, 1 is no idea at all"),
    "entropy_fg": ("unsure inside", "{:.2f} mean entropy where the model sees objects, 0 to 1"),
    "entropy_bg": ("unsure outside", "{:.2f} mean entropy where it sees none, 0 to 1"),
    "sharpness": ("sharpness", "{:.3g}"),
    "contrast": ("contrast", "{:.3g}"),
    "clipped": ("saturated", "{:.1%} of the voxels"),
    "blank": ("blank", "{:.0%} of the slices"),
    "pool": ("drawn from", "{:.0f} patches"),
    "chance": ("chance", "{:.2%} to be drawn"),
    "power": ("power", "{:.3g}, how strictly uncertainty decides"),
    "cluster": ("cluster", "of {:.0f} patches"),
    "cluster_labels": ("its labels", "{:.0f}"),
}
"""The numbers behind a suggestion: a word for each, and what the number means with its unit."""

PIPELINE = (
    ("arriving", "arriving"),
    ("set_aside", "set aside"),
    ("ingested", "tiled"),
    ("pseudo_labelled", "pseudo-labelled"),
    ("embedded", "embedded"),
    ("indexed", "indexed"),
    ("predicted", "predicted"),
)
"""The counts of volumes in the order of the flow: key in the snapshot, words."""

SPARKS = "▁▂▃▄▅▆▇█"


def clean(text: str) -> str:
    """One line of harmless text: line breaks become spaces; control, direction and undecodable characters are shown escaped."""
    return "".join(c if c.isprintable() else " " if c in "\n\r\t" else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    """A character as Python would write it; a byte of a file name that was no text, as that byte."""
    return f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else repr(c)[1:-1]


def doing(stage: str, name: str) -> str:
    """A job in words."""
    return DOING.get(stage, stage + " of {}").format(name)


def duration(seconds: float) -> str:
    """A length of time in one or two units: "8 s", "4 min", "2 h 05 min", "3 d 4 h"."""
    s = max(0, int(seconds))
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min"
    if s < 86400:
        return f"{s // 3600} h {s % 3600 // 60:02d} min"
    return f"{s // 86400} d {s % 86400 // 3600} h"


def clock(at: float, now: float) -> str:
    """Local time of day; with the date unless it is today's."""
    then, today = time.localtime(at), time.localtime(now)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M", then)


def size(n_bytes: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" or n_bytes >= 100 else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def count(n: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def place(start: Sequence[int]) -> str:
    """Where a patch begins (z, y, x)."""
    return "z {} y {} x {}".format(*start)


def extent(shape: Sequence[int]) -> str:
    """A (z, y, x) extent in voxels."""
    return " x ".join(str(n) for n in shape)


def scores(value: Mapping[str, Any] | None) -> str:
    """The two scores that decide about promotion."""
    if not value:
        return "not scored"
    return f"F1 {value['f1']:.3f} Dice {value['dice']:.3f}"


def sparkline(values: Sequence[float], low: float = 0.0, high: float = 1.0) -> str:
    """A curve of numbers in low..high, one character each."""
    span = max(high - low, 1e-9)
    return "".join(SPARKS[min(len(SPARKS) - 1, max(0, int((v - low) / span * len(SPARKS))))] for v in values)


def short_path(path: Path) -> str:
    """A path as one would type it here: relative to the current folder where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def why_lines(why: Mapping[str, float]) -> list[tuple[str, str]]:
    """(word, number with its meaning) of each number behind a suggestion; one that is not known here stands for itself."""
    order = [*(name for name in WHY if name in why), *(name for name in sorted(why) if name not in WHY)]
    return [(WHY[n][0], WHY[n][1].format(why[n])) if n in WHY else (clean(n), f"{why[n]:.4g}") for n in order]


def interval(value: float, low: float, high: float) -> str:
    """A difference with its interval."""
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
