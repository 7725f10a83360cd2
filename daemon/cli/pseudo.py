"""`alscope pseudo`: scores and compare."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.groups import Group
from daemon.cli.session import Session, config_option, json_option, pass_session

if TYPE_CHECKING:
    from alcore.pseudo.compare import Candidate


@click.group("pseudo", cls=Group)
def pseudo_group() -> None:
    """Pseudo-labels: how good they are, and which backend makes them best.

    \b
    Example:
      alscope pseudo scores
      alscope pseudo compare
    """


@pseudo_group.command("scores", short_help="How good the pseudo-labels are on held-out patches.")
@json_option
@config_option
@pass_session
def scores_command(session: Session, as_json: bool) -> None:
    """Precision, recall and F1 (IoU 0.5) of the pseudo-labels of each backend on the held-out labels.

    And those of the promoted model on the same patches: the same figures as in the verdict of the newest round.

    \b
    Example:
      alscope pseudo scores --json
    """
    from daemon.cli.output import print_json, say, table
    from daemon.look import reading
    from daemon.store.backend_scores import backend_scores

    with reading(session.workspace.root) as db:
        found = backend_scores(db)
    if as_json:
        print_json([b.to_json() for b in found])
        return
    if not found:
        say("no scores yet: the first round of training scores the pseudo-labels on the labels that are held out")
        return
    rows = []
    for b in found:
        rows.append([b.backend, str(b.n), *_figures(b.scores)])
        if b.model is not None and b.model_scores is not None:
            rows.append([f"  {b.model} on the same", str(b.n), *_figures(b.model_scores)])
    table(["pseudo-labels by", ">held out", ">precision", ">recall", ">F1", ">Dice"], rows, ())


def _figures(scores: Mapping[str, float]) -> list[str]:
    return [f"{scores[name]:.3f}" for name in ("precision", "recall", "f1", "dice")]


@pseudo_group.command("compare", short_help="Score backends on all accepted labels.")
@click.option(
    "--with", "names", multiple=True, help="A backend, or backend:weights; several times [default: all that can run]."
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="Draw the patch with most objects into this PNG [default: no picture].",
)
@json_option
@config_option
@pass_session
def compare_command(session: Session, names: tuple[str, ...], picture: Path | None, as_json: bool) -> None:
    """Score backends against all accepted labels: precision, recall and F1 at IoU 0.5.

    \b
    Example:
      alscope pseudo compare --picture compare.png
      alscope pseudo compare --with threshold --with micro_sam:vit_b_em_organelles
    """
    from alcore.errors import AlcoreError
    from alcore.pseudo.compare import compare
    from alcore.run import QuietContext
    from daemon.cli.output import print_json, say, table
    from daemon.device import device, threads
    from daemon.errors import AlscopeError, UsageError
    from daemon.look import reading
    from daemon.store.label_keys import current_labels

    if picture is not None and not picture.absolute().parent.is_dir():
        raise UsageError(f"{picture.absolute().parent}: no such folder")
    settings = session.settings
    with reading(session.workspace.root) as db:
        labels = [session.workspace.artifacts.path(key) for key in current_labels(db)]
    candidates = _named(session, names) if names else _able(session)
    with tempfile.TemporaryDirectory() as folder:
        ctx = QuietContext(
            Path(folder) / "scratch",
            Path(folder) / "cache",
            device(settings.run),
            threads(settings.run),
            int(settings.run.ram_gb * 2**30),
        )
        try:
            done = compare(labels, candidates, ctx, picture)
        except AlcoreError as e:
            raise AlscopeError(str(e)) from e
    if as_json:
        print_json([asdict(c) for c in done])
        return
    rows = []
    for c in done:
        figures = ("precision", "recall", "f1", "panoptic", "dice")
        told = [f"{getattr(c.scores, f):.3f}" for f in figures] if c.scores else [""] * len(figures)
        rows.append([c.name, *told, f"{c.seconds:.1f}", c.error])
    table(
        ["backend", ">precision", ">recall", ">F1", ">PQ", ">Dice", ">seconds", "could not run"],
        rows,
        ("could not run",),
    )
    say(
        f"on {len(labels)} accepted labels"
        + (f"; {picture}: expert, then {', '.join(c.name for c in done)}" if picture else "")
    )


def _able(session: Session) -> list[Candidate]:
    """The threshold, whatever else can run, and the promoted model."""
    from alcore.pseudo.choice import PREFERENCE
    from alcore.pseudo.compare import Candidate
    from daemon.look import reading
    from daemon.pseudo_choice import device_of, situation
    from daemon.store.listing import models

    settings = session.settings
    now = situation(settings.pseudo, device_of(settings))
    found = [Candidate("threshold", "threshold")]
    for name in PREFERENCE:
        if not now.missing[name] and name in now.weights:
            found.append(_candidate(session, f"{name}:{now.weights[name]}"))
    with reading(session.workspace.root) as db:
        promoted = [(v, key) for v, (state, key) in models(db).items() if state == "promoted"]
    for version, key in promoted:
        found.append(Candidate(f"model {version}", "nnunet", {}, session.workspace.artifacts.path(key)))
    return found


def _named(session: Session, names: tuple[str, ...]) -> list[Candidate]:
    """Candidates as a person names them. Raises UsageError."""
    from alcore.pseudo import BACKENDS
    from daemon.errors import UsageError

    for name in names:
        if name.partition(":")[0] not in BACKENDS or name == "nnunet":
            known = ", ".join(n for n in BACKENDS if n != "nnunet")
            raise UsageError(
                f"no backend is called {name!r}; there are {known}, each with :weights where it needs some"
            )
    return [_candidate(session, name) for name in names]


def _candidate(session: Session, name: str) -> Candidate:
    from alcore.pseudo.compare import Candidate

    settings = session.settings.pseudo
    backend, _, weights = name.partition(":")
    options = dict(settings.options) if backend == settings.backend else {}
    if weights:
        options["model"] = weights
    if backend != "threshold" and settings.weights:
        options["weights_folder"] = settings.weights
    return Candidate(name, backend, options)
