"""`alscope dashboard`: a live full-screen view of Snapshots. It only reads; ending it in any way harms nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.text import Text

from daemon import panels
from daemon.errors import WorkspaceError
from daemon.look import before_the_first_run, look
from daemon.status import summary
from daemon.store.views import Snapshot
from daemon.vitals import Vitals, VitalsReader
from daemon.wording import clean, clock, duration

PAGES = ("overview", "queue", "models", "problems", "events")
TURNS = {"tab": 1, "right": 1, "left": -1}
SCROLLS = {"down": 1, "j": 1, "up": -1, "k": -1, "page down": 10, "page up": -10}
WIDE = 120
"""From this width on the overview has two columns."""


@dataclass(frozen=True)
class View:
    """What of a Snapshot is shown. message: a word to the person, in place of the keys; keys: are any listened to?"""

    page: str = "overview"
    scroll: int = 0
    help: bool = False
    message: str = ""
    keys: bool = True
    stale_s: float = 0.0

    def after(self, key: str) -> View:
        """The view after a key was pressed."""
        if key == "?":
            return replace(self, help=not self.help)
        if key.isdecimal() and 0 < int(key) <= len(PAGES):
            return self._turned_to(int(key) - 1)
        if key in TURNS:
            return self._turned_to(PAGES.index(self.page) + TURNS[key])
        if key in SCROLLS:
            return replace(self, scroll=max(0, self.scroll + SCROLLS[key]))
        return replace(self, help=False) if key == "escape" else self

    def _turned_to(self, number: int) -> View:
        return replace(self, page=PAGES[number % len(PAGES)], scroll=0, help=False)


def render(
    snapshot: Snapshot, width: int, height: int, view: View = View(), vitals: Vitals | None = None
) -> RenderableType:
    """One frame of exactly `height` rows."""
    root = Layout()
    body = max(1, height - 5)
    root.split_column(
        Layout(panels.header(snapshot, vitals, view.stale_s), size=2),
        Layout(panels.strip(snapshot), size=2),
        Layout(_body(snapshot, width, body, view), size=body),
        Layout(_keys(view, "resume" if snapshot.daemon.state == "paused" else "pause"), size=1),
    )
    return root


def _body(snapshot: Snapshot, width: int, height: int, view: View) -> RenderableType:
    if view.help:
        return panels.help_page()
    if view.page == "queue":
        return panels.queue(snapshot, height, width, view.scroll)
    if view.page == "models":
        return panels.models(snapshot, height, view.scroll)
    if view.page == "problems":
        return panels.problems(snapshot, height, view.scroll, whole=True)
    if view.page == "events":
        return panels.events(snapshot, height, view.scroll)
    return _overview(snapshot, width, height)


def _overview(snapshot: Snapshot, width: int, height: int) -> RenderableType:
    jobs = 1 + max(1, min(2 * len(snapshot.running), 8))
    queue = 2 + max(1, len(snapshot.queue))
    models = 5 + len(snapshot.rounds)
    problems = 1 + max(1, len(snapshot.problems))
    events = 1 + len(snapshot.events)
    if width < WIDE:
        rows = share(height, [(2, min(jobs, 5)), (3, queue), (3, models), (2, problems), (2, events)])
        return Group(*_drawn(snapshot, width, rows))
    half = (width - 3) // 2
    left = share(height, [(2, jobs), (3, queue), (2, events)])
    right = share(height, [(3, models), (2, problems)])
    columns = Layout()
    columns.split_row(Layout(name="left", size=half), Layout(Text(" "), size=3), Layout(name="right"))
    now, queued, happened = left
    parts = _drawn(snapshot, half, [now, queued, right[0], right[1], happened])
    columns["left"].split_column(
        Layout(parts[0], size=now), Layout(parts[1], size=queued), Layout(parts[4], size=happened)
    )
    columns["right"].split_column(Layout(parts[2], size=right[0]), Layout(parts[3], size=right[1]))
    return columns


def _drawn(snapshot: Snapshot, width: int, rows: list[int]) -> list[RenderableType]:
    """The five panels of the overview in the given numbers of rows."""
    return [
        panels.running(snapshot, rows[0], width),
        panels.queue(snapshot, rows[1], width),
        panels.models(snapshot, rows[2]),
        panels.problems(snapshot, rows[3], whole=width >= WIDE // 2 and rows[3] > 10),
        panels.events(snapshot, rows[4]),
    ]


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


def _keys(view: View, p_does: str) -> Text:
    if view.message:
        return Text(clean(view.message), "reverse", no_wrap=True, overflow="ellipsis")
    if not view.keys:
        return Text("Ctrl-C ends it", "dim")
    parts: list[str | tuple[str, str]] = []
    for number, page in enumerate(PAGES, 1):
        parts.append((f" {number} {page} ", "reverse" if page == view.page and not view.help else "dim"))
    parts += ["  ", ("p", "bold"), f" {p_does}  ", ("?", "bold"), " help  ", ("q", "bold"), " quit"]
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


class LiveView:
    """Draws the workspace at every `refresh`, full-screen; where stdout is no terminal, one line when something changed.

    with LiveView(workspace) as view:
        view.refresh()

    keys: whether the caller listens to keys and passes them to `view` (see daemon.cli.dashboard).
    """

    def __init__(
        self,
        workspace: Path,
        keys: bool = False,
        console: Console | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._workspace = workspace
        self._console = console or Console(highlight=False, emoji=False, markup=False)
        self.now = now
        self._live: Live | None = None
        self._vitals: VitalsReader | None = None
        self._told = ""
        self.snapshot = before_the_first_run(now())
        self.view = View(keys=keys)

    @property
    def full_screen(self) -> bool:
        """Is there a terminal to draw on?"""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def __enter__(self) -> LiveView:
        if self.full_screen:
            self._vitals = VitalsReader(self._workspace)
            self._live = Live(console=self._console, screen=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._vitals is not None:
            self._vitals.close()
        if self._live is not None:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._console.clear()  # tmux leaves rows of a screen that was resized in its history
                self._live.stop()

    def refresh(self, message: str = "") -> None:
        """Look again and draw. message: a word to the person. An unreadable database leaves the last picture, and says so."""
        now = self.now()
        problem = ""
        try:
            self.snapshot = look(self._workspace, now)
        except WorkspaceError as e:
            problem = f"{e}; shown as of {duration(now - self.snapshot.at)} ago"
        self.view = replace(self.view, message=message or problem, stale_s=now - self.snapshot.at)
        self.draw()

    def draw(self) -> None:
        """Draw the last look again (after a key)."""
        if self._live is None:
            self._tell()
            return
        vitals = self._vitals.read() if self._vitals is not None else None
        width, height = self._console.size
        self._live.update(render(self.snapshot, width, height, self.view, vitals), refresh=True)

    def _tell(self) -> None:
        told = " | ".join(part for part in (summary(self.snapshot), clean(self.view.message)) if part)
        if told != self._told:
            self._told = told
            sys.stdout.write(f"{clock(self.now(), self.now())}  {told}\n")
            sys.stdout.flush()
