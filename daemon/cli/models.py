"""`alscope models`."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from daemon.cli.groups import Group
from daemon.cli.model_diff import diff_command
from daemon.cli.model_export import export_command
from daemon.cli.model_moves import promote_command, rollback_command
from daemon.cli.model_show import SCORES, figure, show_command
from daemon.cli.session import Session, config_option, json_option
from daemon.cli.weights import fetch_command, weights_command


@click.group("models", cls=Group, invoke_without_command=True)
@json_option
@config_option
@click.pass_context
def models_group(ctx: click.Context, as_json: bool) -> None:
    """Every trained model, newest first: from what, its scores on the held-out labels (in brackets the 90 % interval), the verdict.

    Weights of models made elsewhere, which pseudo-label: `weights` lists them, `fetch` downloads them.

    \b
    Example:
      alscope models
      alscope models --json | jq '.[] | select(.state == "promoted")'
      alscope models fetch vit_b_lm
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.ensure_object(Session), as_json)


models_group.add_command(show_command)
models_group.add_command(diff_command)
models_group.add_command(export_command)
models_group.add_command(promote_command)
models_group.add_command(rollback_command)
models_group.add_command(fetch_command)
models_group.add_command(weights_command)


def _list(session: Session, as_json: bool) -> None:
    from rich.text import Text

    from daemon.cli.output import print_json, say, table
    from daemon.wording import clock
    from daemon.wording_state import glyph

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
            *(figure(m.scores, name) for name in SCORES),
            clock(m.created_at, now),
            m.verdict,
        ]
        for m in found
    ]
    headings = [
        "version",
        "state",
        "kind",
        "parent",
        ">labels",
        *(f">{word}" for word in SCORES.values()),
        "made",
        "verdict",
    ]
    table(headings, rows, flexible=("verdict",))
