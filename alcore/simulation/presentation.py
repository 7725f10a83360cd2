"""From the files of a run (results.csv, picks.csv, latent.npz, run.json) to its tables, pictures and page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alcore.artifact import write_atomic
from alcore.report.figures import drawing, save
from alcore.simulation import concerns, latent_map, learning_curve, paper, tables, told, verdicts
from alcore.simulation.arms import Arm, Curves, learners
from alcore.simulation.brief import brief_scores, brief_strategies
from alcore.simulation.folder import Written
from alcore.simulation.latent import read_latent, read_picks
from alcore.simulation.page import Page, Picture, Section, render
from alcore.simulation.results import read_results
from alcore.simulation.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Does choosing patches pay on this data?"
CORESET, RANDOM, ORACLE = "coreset", "random", "oracle"
FIGURES = {"f1": "F1", "dice": "Dice"}
"""Scores that areas and Tab. 2 are made of: as in the paper, and one that does not jump when an object is just matched."""


@dataclass(frozen=True)
class Shown:
    """What one learner's part of a run says. short: the tables that fit on a terminal. tables: all. warnings: of the run, to be
    read before the answer."""

    learner: str
    answer: str
    verdicts: tuple[str, ...]
    short: tuple[Table, ...]
    tables: tuple[Table, ...]
    warnings: tuple[str, ...] = ()


def present(out: Path, default: str, maps: bool = True) -> list[Shown]:
    """Write report.html, tables/ (markdown and CSV) and figures/ (PNG and SVG) into the folder of a run; returns what they say.

    default: the strategy that the daemon chooses by; where it was not played, the answer is on the paper's core-set. A run that is
    not finished is shown as far as it is. Equal files give equal bytes. The latent map is left out where latent.npz or picks.csv
    is missing, and without `maps`, which take longest. Raises PermanentError for files that are none.
    """
    rows = read_results(out / "results.csv")
    about = told.read_told(out / "run.json")
    asked = told.asked(about)
    files = _Files(out)
    warnings = (*told.concerns(about), *concerns.of_scores(rows, about))
    shown, sections = [], []
    for learner in learners(rows):
        section, said = _learner(Curves(rows, learner, asked), default, files)
        sections.append(section)
        shown.append(replace(said, warnings=warnings))
    drawn = _maps(out, default, files) if maps else []
    page = Page(TITLE, told.about(about), sections, drawn, told.played(about), about, warnings)
    write_atomic(out / "report.html", render(page).encode())
    files.clear()
    return shown


class _Files:
    """Tables and figures of a run: what is not written again, and an earlier one has written, goes."""

    def __init__(self, out: Path) -> None:
        self._written = Written(out)

    def table(self, table: Table) -> None:
        """As markdown and as CSV."""
        for suffix, text in (("md", table.markdown()), ("csv", table.csv())):
            write_atomic(self._written.place("tables", f"{table.name}.{suffix}"), text.encode())

    def figure(self, name: str, figure: Figure) -> bytes:
        """As PNG, which is returned, and as SVG."""
        png, svg = (self._written.place("figures", f"{name}.{suffix}") for suffix in ("png", "svg"))
        save(figure, svg.parent, name)
        return png.read_bytes()

    def clear(self) -> None:
        """Remove what was not written."""
        self._written.clear()


def all_tables(curves: Curves, default: str) -> tuple[list[Table], list[Table]]:
    """(those that everybody reads, the others): strategies, Tab. 2, Tab. 1 of the default and of the core-set; Dice, minutes,
    Tab. 1 of the others, and what the project set itself."""
    played = {arm.strategy for arm in curves.arms}
    baselines = [name for name in (RANDOM, CORESET, ORACLE) if name in played]
    best = {arm.strategy: arm for arm in curves.arms}  # pre-trained where that was played
    firsts = [best[name] for name in dict.fromkeys((default, CORESET)) if name in best]
    first = [tables.by_strategy(curves, "f1", FIGURES["f1"], baselines)]
    if CORESET in played or RANDOM in played:
        first.append(tables.table2(curves, "f1", FIGURES["f1"], CORESET, RANDOM))
    first += [tables.table1(curves, arm) for arm in firsts]
    more = [tables.by_strategy(curves, "dice", FIGURES["dice"], baselines)]
    if CORESET in played or RANDOM in played:
        more.append(tables.table2(curves, "dice", FIGURES["dice"], CORESET, RANDOM))
    more += [tables.table1(curves, arm) for arm in curves.arms if arm not in firsts]
    more.append(tables.by_minutes(curves))
    more.append(tables.target_table(paper.targets(curves, default, CORESET, ORACLE), curves.learner))
    return first, more


def _learner(curves: Curves, default: str, files: _Files) -> tuple[Section, Shown]:
    if not curves.arms:
        answer = "Whether choosing pays cannot be said yet: no strategy has been played."
        return Section(curves.learner, answer, (), (), None, ()), Shown(curves.learner, answer, (), (), ())
    first, more = all_tables(curves, default)
    for table in (*first, *more):
        files.table(table)
    played = {arm.strategy for arm in curves.arms}
    subject = default if default in played or CORESET not in played else CORESET
    answer = verdicts.headline(curves, subject, FIGURES["f1"])
    said = [
        verdict.sentence(curves.starts)
        for name in (RANDOM, CORESET, ORACLE)
        if name in played
        for verdict in verdicts.against(curves, name, "f1")
        if verdict.arm.strategy == subject or name == RANDOM
    ]
    baseline = RANDOM if RANDOM in played else min(played)
    figure = learning_curve.draw(curves, default, baseline, "f1", FIGURES["f1"])
    name = f"learning_curve_{curves.learner}"
    files.figure(name, figure)
    caption = learning_curve.caption(curves, baseline, FIGURES["f1"])
    picture = Picture(drawing(figure, name, f"Learning curves. {answer}"), "", caption)
    tiles = _tiles(curves, subject)
    section = Section(curves.learner, answer, tiles, said, picture, first, more)
    return section, Shown(curves.learner, answer, tuple(said), _short(curves, default), (*first, *more))


def _short(curves: Curves, default: str) -> tuple[Table, ...]:
    """Strategies, and Tab. 1 of the default (of the core-set where it was not played); notes stand under the last one."""
    best = {arm.strategy: arm for arm in curves.arms}
    found = [brief_strategies(curves, [name for name in (RANDOM, CORESET) if name in best])]
    found += [brief_scores(curves, best[name]) for name in (default, CORESET) if name in best][:1]
    return (*found[:-1], replace(found[-1], notes=tables.how_sure(curves)))


def _tiles(curves: Curves, default: str) -> list[tuple[str, str, str]]:
    """The few figures that stand on top."""
    start = max((arm.pretrained for arm in curves.arms), default=0)
    arm = Arm(default, start)
    if arm not in curves.arms:
        return []
    found = []
    for share in (1 / 16, 1 / 8):
        part = curves.of_all(arm, share, "f1") if share in curves.shares else None
        if part is not None:
            figure = tables.Entry(part, "per cent").text
            says = f"the paper on MitoEM: {100 * paper.OF_ALL[share]:.1f} %"
            found.append((f"F1 with {100 * share:g} % of the labels, share of all", figure, says))
    labels, minutes = tables.effort(curves, arm, 0.9, "f1")
    if labels is not None:
        spent = "" if minutes is None else f"{minutes.value.mean:.0f} min of the simulated expert"
        unit = " patches" if curves.n_pool else ""
        found.append(
            (
                "labels for 90 % of the F1 with all",
                f"{labels.value.mean:.0f}{unit}" if curves.n_pool else labels.text,
                spent,
            )
        )
    full = curves.mean(arm, 1.0, "f1") if 1.0 in curves.shares else None
    if full is not None:
        found.append(("F1 with all labels", tables.Entry(full).text, f"learner: {curves.learner}"))
    return found


def _maps(out: Path, default: str, files: _Files) -> list[Picture]:
    if not (out / "latent.npz").exists() or not (out / "picks.csv").exists():
        return []
    picks = read_picks(out / "picks.csv")
    found = []
    for number, latent in enumerate(read_latent(out / "latent.npz")):
        shown = latent_map.curves_shown(picks, latent.pool, list(dict.fromkeys((default, CORESET, RANDOM, ORACLE))))
        if not shown:
            continue
        (out / "cache").mkdir(exist_ok=True)
        figure, method = latent_map.draw(latent, picks, shown, default, out / "cache" / f"latent_places_{number}.npz")
        png = files.figure(f"latent_map_{number}", figure)
        caption = latent_map.caption(latent, shown, method)
        found.append(Picture(png, f"Latent map of {latent.pool}. {caption}", caption))
    return found
