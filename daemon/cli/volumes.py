"""`alscope volumes`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from daemon.cli.groups import Choice
from daemon.cli.session import Session, config_option, json_option, pass_session

if TYPE_CHECKING:
    from daemon.store.listing import SourceView
    from daemon.store.views import VolumeQuality


@click.command("volumes")
@click.option(
    "--state",
    type=Choice(["arriving", "settled", "ingested", "set_aside"]),
    help="Only those in this state [default: all].",
)
@click.option("--worst", is_flag=True, help="The segmentations to look at first, first.")
@json_option
@config_option
@pass_session
def volumes_command(session: Session, state: str | None, worst: bool, as_json: bool) -> None:
    """Every acquisition in the watched folders: what it waits for, why it was set aside, or what became of it.

    Novelty is the median cosine distance of its patches to the nearest one known before it came. Quality is what the model's
    confidence lets expect of its segmentation: the Dice with the 90 % interval of a patch, learned from held-out patches; or
    the confidence alone (0 to 1), which only ranks, where these are too few or show that it means nothing.

    \b
    Example:
      alscope volumes
      alscope volumes --state set_aside
      alscope volumes --worst
    """
    from rich.text import Text

    from daemon.cli.output import print_json, say, table
    from daemon.look import reading
    from daemon.publishing import FORMS
    from daemon.store.listing import sources
    from daemon.store.quality_listing import calibrations, volume_quality
    from daemon.wording import extent, size
    from daemon.wording_quality import short_words
    from daemon.wording_state import glyph

    with reading(session.workspace.root) as db:
        found = [s for s in sources(db, time.time()) if state is None or s.state == state]
        known = calibrations(db)
    if worst:
        found.sort(key=lambda s: (s.confidence is None, s.confidence))

    def prediction(source: SourceView) -> str | None:
        if not source.prediction:
            return None
        paths = [session.workspace.predictions / f"{source.prediction}{form}" for form in FORMS]
        return str(next((p for p in paths if p.exists()), paths[0]))

    def quality(source: SourceView) -> VolumeQuality | None:
        if source.confidence is None or source.predicted_by is None:
            return None
        return volume_quality(source.name, source.predicted_by, source.confidence, known)

    if as_json:
        print_json([asdict(s) | {"prediction": prediction(s), "expected": _expected(quality(s))} for s in found])
        return
    if not found:
        say("no files yet; drop volumes into a watched folder")
        return
    rows = []
    for s in found:
        shown = s.state
        if s.gone and s.state == "ingested":
            shown = "source gone"
        elif s.away:
            shown = "unreachable"
        path = prediction(s)
        told = "; ".join((*([s.alarm] if s.alarm else []), *s.warnings, *s.notes))
        remarks = s.reason if not s.shape and s.reason else f"{s.predicted_by}: {path}" if path else told
        rows.append(
            [
                f"{s.name} ({s.part})" if s.part else s.name,
                Text.assemble(glyph(shown), shown.replace("_", " ")),
                size(s.size_bytes),
                extent(s.shape) if s.shape else "",
                " x ".join(f"{v:g}" for v in s.voxel_um) if s.voxel_um else "unknown" if s.shape else "",
                str(s.n_patches) if s.shape else "",
                "" if s.novelty is None else f"{s.novelty:.2f}",
                "" if (q := quality(s)) is None else short_words(q),
                remarks,
            ]
        )
    headings = [
        "name",
        "state",
        ">size",
        "voxels (z y x)",
        "voxel um",
        ">patches",
        ">novelty",
        ">quality",
        "segmentation, or what is the matter",
    ]
    table(headings, rows, flexible=(headings[0], headings[-1]))


def _expected(quality: VolumeQuality | None) -> dict[str, float | bool | None] | None:
    """Dice, its interval, and whether that goes beyond what was held out; None where confidence only ranks."""
    if quality is None or quality.dice is None:
        return None
    return {"dice": quality.dice, "low": quality.low, "high": quality.high, "beyond": quality.beyond}
