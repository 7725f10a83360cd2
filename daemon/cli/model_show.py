"""`alscope models show`: one model with everything that is known of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from daemon.cli import completing
from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import UsageError
from daemon.nearest import did_you_mean
from daemon.store.model_listing import ModelPage

HEADING = 13
SCORES = {"f1": "F1", "dice": "Dice", "panoptic": "PQ", "ap75": "AP75"}
HOW = {"round": "by verdict", "hand": "by hand", "rollback": "by rollback"}


def find_model(session: Session, version: str) -> ModelPage:
    """The model of this version. Raises UsageError."""
    from daemon.look import reading
    from daemon.store.model_listing import model_page
    from daemon.store.names import models

    with reading(session.workspace.root) as db:
        found = model_page(db, version)
        known = [] if found else [name for name, _ in models(db)]
    if found is None:
        hint = did_you_mean(version, known, "`alscope models` lists them")
        raise UsageError(f"there is no model {version!r}; {hint}")
    return found


@click.command("show", short_help="One model: what it learned from, its scores, the verdict.")
@click.argument("version", shell_complete=completing.models)
@json_option
@config_option
@pass_session
def show_command(session: Session, version: str, as_json: bool) -> None:
    """One model: what it learned from, its scores, the verdict, when it was in use and who decided that.

    \b
    Example:
      alscope models show M_f-002
      alscope models show M_f-002 --json | jq .labels
    """
    from daemon.cli.output import print_json, say
    from daemon.wording import clock
    from daemon.wording_state import glyph

    model = find_model(session, version)
    folder = session.workspace.artifacts.path(model.artifact)
    if as_json:
        print_json({**asdict(model), "folder": str(folder)})
        return
    now = time.time()
    say((f"{model.version}  ", "bold"), glyph(model.state), model.state, f", {model.kind}")
    _line("made", clock(model.created_at, now) + (f", from {model.parent}" if model.parent else ""))
    train, gate = ([x for x in model.labels if x["role"] == role] for role in ("train", "gate"))
    if model.round is not None:
        _line("learned from", f"round {model.round}: {', '.join(x['suggestion'] for x in train)}")
        _line("judged on", ", ".join(x["suggestion"] for x in gate) or "nothing: there were no held-out labels")
    for word, figure in score_lines(model.scores):
        _line(word, figure)
    _line(
        "verdict",
        model.verdict or ("none: it is the start of all others" if model.kind == "pretrained" else "none yet"),
    )
    for n, step in enumerate(model.promotions):
        who = f" by {step['who']}" if step["who"] else ""
        instead = f", instead of {step['previous']}" if step["previous"] else ""
        text = f"{clock(step['at'], now)} {HOW[step['how']]}{who}{instead}"
        _line(
            "" if n else "put to use", text if step["how"] == "round" and model.verdict else f"{text}: {step['reason']}"
        )
    _line("segmented", f"{model.n_predicted} volumes")
    _line("files", str(folder))


def score_lines(scores: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """(name, figure with interval and patches) of every score that there is."""
    if not scores:
        return [("scores", "not scored")]
    n_patches = scores.get("n_patches")
    patches = "" if n_patches is None else f" on {n_patches} held-out patch{'' if n_patches == 1 else 'es'}"
    return [
        (word, figure(scores, name) + (patches if not n else ""))
        for n, (name, word) in enumerate(SCORES.items())
        if name in scores
    ]


def figure(scores: Mapping[str, Any] | None, name: str) -> str:
    """A score and, where there is one, its 90 % interval: "0.612 (0.55 to 0.67)"."""
    if not scores or name not in scores:
        return ""
    ends = scores.get("interval", {}).get(name)
    return f"{scores[name]:.3f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def _line(heading: str, text: str) -> None:
    from daemon.cli.output import say

    say(heading.ljust(HEADING), text)
