"""One frame of the dashboard: a pure function from a Snapshot to exactly as many lines as the screen has."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.text import Text

from daemon import panels
from daemon.columns import beside, filled, fitted
from daemon.panels_models import models
from daemon.panels_news import events, problems
from daemon.panels_queue import queue
from daemon.store.views import Snapshot
from daemon.view import START, View
from daemon.vitals import Vitals

WIDE = 120
"""From this width on the overview has two columns."""
GAP = 3

Page = Callable[[Snapshot, int, int, View, bool], list[Text]]
PAGE: dict[str, Page] = {"queue": queue, "models": models, "problems": problems, "events": events}


def render(
    snapshot: Snapshot, width: int, height: int, view: View = START, vitals: Vitals | None = None
) -> RenderableType:
    """One frame of exactly `height` lines of `width` cells."""
    view = view.within(snapshot)
    top = [
        *panels.header(snapshot, vitals, view, width),
        *panels.strip(snapshot, width),
        *panels.alarm(snapshot, width),
    ]
    top = top[: max(0, height - 1)]
    rows = max(0, height - 1 - len(top))
    bottom = panels.keys(view, "resume" if snapshot.daemon.state == "paused" else "pause")
    lines = [*top, *filled(_body(snapshot, width, rows, view), rows), bottom][-height:]
    return Group(*(fitted(line, width) for line in lines))


def _body(snapshot: Snapshot, width: int, height: int, view: View) -> list[Text]:
    if view.help:
        return panels.help_page()
    if view.page in PAGE:
        return PAGE[view.page](snapshot, height, width, view, True)
    return _overview(snapshot, width, height, view)


def _overview(snapshot: Snapshot, width: int, height: int, view: View) -> list[Text]:
    jobs = panels.jobs(snapshot, width)[: max(0, height // 6)]
    height -= len(jobs)
    wants = {
        "queue": (3, 2 + max(1, len(snapshot.queue))),
        "models": (4, 10 + len(snapshot.rounds)),
        "problems": (2, 1 + max(1, len(snapshot.problems))),
        "events": (2, 1 + len(snapshot.events)),
    }
    if width < WIDE:
        shares = dict(zip(wants, share(height, list(wants.values())), strict=True))
        drawn = [
            line
            for name in wants
            for line in filled(PAGE[name](snapshot, shares[name], width, view, False), shares[name])
        ]
        return [*jobs, *drawn]
    half = (width - GAP) // 2
    left, right = ("queue", "events"), ("models", "problems")
    columns = []
    for names, cells in ((left, half), (right, width - GAP - half)):
        shares = dict(zip(names, share(height, [wants[name] for name in names]), strict=True))
        column: list[Text] = []
        for name in names:
            column += filled(_wide(name, snapshot, shares[name], cells, view), shares[name])
        columns.append(column)
    return [*jobs, *beside(columns[0], columns[1], half, GAP)]


def _wide(name: str, snapshot: Snapshot, rows: int, width: int, view: View) -> list[Text]:
    """A panel of the overview where there is room: problems in full, if they are not too many."""
    if name == "problems":
        whole = problems(snapshot, rows + 1, width, View(keys=False), True)
        if len(whole) <= rows:
            return whole
    return PAGE[name](snapshot, rows, width, view, False)


def share(height: int, wants: list[tuple[int, int]]) -> list[int]:
    """Divide `height` rows among panels that each need a least and want a most: one row in turn; the last takes the rest."""
    rows = [least for least, _ in wants]
    left = height - sum(rows)
    while left > 0:
        hungry = [i for i, (_, most) in enumerate(wants) if rows[i] < most]
        if not hungry:
            rows[-1] += left
            break
        for i in hungry[:left]:
            rows[i] += 1
        left -= len(hungry[:left])
    return rows


def once(snapshot: Snapshot, width: int, height: int, vitals: Vitals | None) -> list[Text]:
    """The overview on paper: without keys, as long as it needs to be, up to `height` lines."""
    view = View(keys=False)
    lines = [*panels.header(snapshot, vitals, view, width), *panels.strip(snapshot, width)]
    lines += panels.alarm(snapshot, width)
    lines += _overview(snapshot, width, max(12, height - len(lines)), view)
    found = [fitted(line, width) for line in lines]
    for line in found:
        line.rstrip()
    while found and not found[-1].plain:
        found.pop()
    return found
