"""`alscope models`."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from daemon.cli.session import Session, config_option, json_option, pass_session


@click.command("models")
@json_option
@config_option
@pass_session
def models_command(session: Session, as_json: bool) -> None:
    """Every trained model, newest first: from what, its scores on the held-out labels, and the verdict.

    \b
    Example:
      alscope models
      alscope models --json | jq '.[] | select(.state == "promoted")'
    """
    from rich.text import Text

    from daemon.cli.output import print_json, say, table
    from daemon.status import glyph
    from daemon.wording import clock

    snapshot = session.look()
    found = snapshot.models[::-1]
    if as_json:
        print_json([asdict(model) for model in found])
        return
    if not found:
        say("no model yet; the first is pre-trained once enough volumes have pseudo-labels")
        return
    now = time.time()
    rows = [
        [
            m.version,
            Text.assemble(glyph(m.state), m.state),
            m.kind,
            m.parent or "",
            str(m.n_labels),
            *([f"{m.scores[name]:.3f}" for name in ("f1", "dice", "panoptic")] if m.scores else ["", "", ""]),
            clock(m.created_at, now),
            m.verdict,
        ]
        for m in found
    ]
    headings = ["version", "state", "kind", "parent", ">labels", ">F1", ">Dice", ">PQ", "made", "verdict"]
    table(headings, rows, flexible=("verdict",))
