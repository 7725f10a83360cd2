"""`alscope queue minutes`: the ledger of what labels and skipped patches took, and what it bought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from daemon.cli.output import print_json, say, table
from daemon.cli.session import Session
from daemon.effort import Effort, fit
from daemon.look import reading
from daemon.store import ledger
from daemon.store.ledger import Skip, Spent
from daemon.store.repeat_listing import agreement
from daemon.wording_work import minutes


def show(session: Session, as_json: bool) -> None:
    """Print it, or its JSON."""
    with reading(session.workspace.root) as db:
        found, skips = ledger.entries(db), ledger.skips(db)
        bought, people = ledger.bought(db, found), agreement(db)
    selection = session.settings.selection
    effort = fit(ledger.timed(found), Effort(selection.minutes_base, selection.minutes_per_object))
    by_user, by_day = ledger.by(found, "user"), ledger.by(found, "day")
    if as_json:
        print_json(
            {
                "labels": [asdict(e) for e in found],
                "skips": [asdict(s) for s in skips],
                "users": {name: asdict(s) for name, s in by_user.items()},
                "days": {name: asdict(s) for name, s in by_day.items()},
                "rounds": [asdict(b) for b in bought],
                "expected": asdict(effort),
                "agreement": asdict(people),
            }
        )
        return
    if not found and not skips:
        say("no label was accepted yet; `alscope queue` shows what to label")
        return
    for heading, groups in (("by", by_user), ("day", by_day)):
        rows = [[name or "(nobody said)", *_sums(spent)] for name, spent in groups.items()]
        if rows:
            table([heading, ">labels", ">minutes", ">min each", ">objects", ">clicks", ">voxels changed"], rows)
    if skips:
        rows = [[name or "(nobody said)", *_sums_of_skips(of)] for name, of in _by_user(skips).items()]
        table(["skipped by", ">patches", ">minutes", "why"], rows)
    if bought:
        rows = [[str(b.round), *_sums(b.spent)[:3], _gain(b.f1), _gain(b.dice)] for b in bought]
        table([">round", ">new labels", ">minutes", ">min each", ">F1 gained", ">Dice gained"], rows)
    whence = f"fitted to {effort.n} labels" if effort.n else "as config.toml says, until more labels have times"
    say(
        (
            f"a patch is expected to take {effort.base:.1f} min and {effort.per_object:.2f} min per object: {whence}",
            "dim",
        )
    )
    if people.words():
        say(people.words())


def _sums(spent: Spent) -> list[str]:
    """labels, minutes, minutes each, objects, clicks, voxels; empty where no tool told."""
    known = spent.timed > 0
    of = "" if spent.timed == spent.labels else f" ({spent.timed} timed)"
    return [
        f"{spent.labels}{of if known else ''}",
        minutes(spent.minutes) if known else "",
        f"{spent.minutes / spent.timed:.1f}" if known else "",
        str(spent.objects),
        str(spent.clicks) if known else "",
        str(spent.changed_voxels) if known else "",
    ]


def _by_user(skips: Sequence[Skip]) -> dict[str, list[Skip]]:
    groups: dict[str, list[Skip]] = {}
    for skip in skips:
        groups.setdefault(skip.user, []).append(skip)
    return groups


def _sums_of_skips(skips: Sequence[Skip]) -> list[str]:
    """patches, minutes, reasons; no minutes where no tool told."""
    timed = [s.minutes for s in skips if s.minutes is not None]
    kinds = Counter(s.kind for s in skips)
    of = f" ({len(timed)} timed)" if 0 < len(timed) < len(skips) else ""
    return [
        f"{len(skips)}{of}",
        minutes(sum(timed)) if timed else "",
        ", ".join(f"{kind} {n}" for kind, n in kinds.most_common()),
    ]


def _gain(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
