"""`alscope volumes`."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from daemon.cli.session import Session, config_option, json_option, pass_session


@click.command("volumes")
@click.option(
    "--state", type=click.Choice(["arriving", "settled", "ingested", "set_aside"]), help="Only those in this state."
)
@json_option
@config_option
@pass_session
def volumes_command(session: Session, state: str | None, as_json: bool) -> None:
    """Every acquisition in the watched folders: what it waits for, why it was set aside, or what became of it.

    Novelty is the median cosine distance of its patches to the nearest one known before it came.

    \b
    Example:
      alscope volumes
      alscope volumes --state set_aside
    """
    from rich.text import Text

    from daemon.cli.output import print_json, say, table
    from daemon.look import reading
    from daemon.status import glyph
    from daemon.store.listing import SourceView, sources
    from daemon.wording import extent, size

    with reading(session.workspace.root) as db:
        found = [s for s in sources(db, time.time()) if state is None or s.state == state]

    def prediction(source: SourceView) -> str | None:
        return str(session.workspace.predictions / f"{source.prediction}.tif") if source.prediction else None

    if as_json:
        print_json([asdict(s) | {"prediction": prediction(s)} for s in found])
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
        "segmentation, or what is the matter",
    ]
    table(headings, rows, flexible=(headings[0], headings[-1]))
