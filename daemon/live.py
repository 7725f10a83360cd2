"""The live view: looks at the workspace again and again and draws it on the whole screen. It only reads."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live

from daemon.dashboard import render
from daemon.errors import WorkspaceError
from daemon.look import Looker, before_the_first_run
from daemon.view import View
from daemon.vitals import Vitals, VitalsReader
from daemon.wording import clean, clock, duration
from daemon.wording_state import summary

VITALS_EVERY_S = 1.0


class LiveView:
    """Draws the workspace at every `refresh`, full-screen; where stdout is no terminal, one line when something changed.

    with LiveView(workspace) as view:
        view.refresh()

    keys: whether the caller listens to keys and passes them to `press` (see daemon.cli.dashboard).
    """

    def __init__(
        self,
        workspace: Path,
        keys: bool = False,
        console: Console | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._workspace = workspace
        self._looker = Looker(workspace)
        self._console = console or Console(highlight=False, emoji=False, markup=False)
        self.now = now
        self._live: Live | None = None
        self._reader: VitalsReader | None = None
        self._vitals: tuple[float, Vitals | None] = (float("-inf"), None)
        self._told = ""
        self._looked = False
        self.snapshot = before_the_first_run(now())
        self.view = View(keys=keys)

    @property
    def full_screen(self) -> bool:
        """Is there a terminal to draw on?"""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def __enter__(self) -> LiveView:
        if self.full_screen:
            self._reader = VitalsReader(self._workspace)
            self._live = Live(console=self._console, screen=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.close()
        self._looker.close()
        if self._live is not None:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._console.clear()  # tmux leaves rows of a screen that was resized in its history
                self._live.stop()

    def refresh(self, message: str = "") -> None:
        """Look again and draw. message: a word to the person. An unreadable database leaves the last picture, and says so."""
        now = self.now()
        problem = ""
        try:
            self.snapshot = self._looker.look(now)
            self._looked = True
        except WorkspaceError as e:
            shown = f"; shown as of {duration(now - self.snapshot.at)} ago" if self._looked else ""
            problem = f"{e}{shown}"
        stale = now - self.snapshot.at if self._looked else 0.0
        self.view = replace(self.view, message=message or problem, stale_s=stale)
        self.draw()

    def press(self, key: str) -> None:
        """A key that changes what is shown."""
        self.view = self.view.within(self.snapshot).after(key)

    def draw(self) -> None:
        """Draw the last look again (after a key)."""
        if self._live is None:
            self._tell()
            return
        width, height = self._console.size
        self._live.update(render(self.snapshot, width, height, self.view, self._machine()), refresh=True)

    def _machine(self) -> Vitals | None:
        """The machine as it was a second ago at most: the load since a moment ago says nothing."""
        read_at, vitals = self._vitals
        if self._reader is not None and time.monotonic() - read_at >= VITALS_EVERY_S:
            vitals = self._reader.read()
            self._vitals = (time.monotonic(), vitals)
        return vitals

    def _tell(self) -> None:
        told = " | ".join(part for part in (summary(self.snapshot), clean(self.view.message)) if part)
        if told != self._told:
            self._told = told
            sys.stdout.write(f"{clock(self.now(), self.now())}  {told}\n")
            sys.stdout.flush()
