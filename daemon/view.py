"""What of a Snapshot is on the screen, and what a key changes: pages, place, order, filter. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from daemon.store.views import Event, Problem, QueueItem, RoundView, Snapshot
from daemon.wording_problems import problem_state
from daemon.wording_state import ALARMING

PAGES = ("overview", "queue", "models", "problems", "events")
TURNS = {"tab": 1, "right": 1, "left": -1}
SCROLLS = {"down": 1, "j": 1, "up": -1, "k": -1, "page down": 10, "page up": -10}
FAR = 1 << 30

SORTS: Mapping[str, tuple[str, ...]] = {
    "queue": ("rank", "novelty", "minutes", "volume"),
    "models": ("newest", "best"),
    "problems": ("most wrong", "newest"),
    "events": ("newest", "oldest"),
}
FILTERS: Mapping[str, tuple[str, ...]] = {
    "queue": ("all", "open", "claimed", "to mend", "random"),
    "models": ("all", "promoted"),
    "problems": ("all", "wrong", "worth a look"),
    "events": ("all", "alarms", "volumes", "labels", "models"),
}
EVENT_KINDS: Mapping[str, tuple[str, ...]] = {
    "alarms": ALARMING,
    "volumes": ("volume", "quality", "set aside", "folder", "hint", "novelty", "pseudo"),
    "labels": ("label", "queue", "qc", "claim"),
    "models": ("model", "round", "encoder", "control", "advice", "predict"),
}


@dataclass(frozen=True)
class View:
    """place: the line that is looked at, the first is 0. message: a word to the person, in place of the keys; keys: are any
    listened to? stale_s: age of the snapshot. sorts, filters: by page, which of its orders and filters; none means the first."""

    page: str = "overview"
    place: int = 0
    help: bool = False
    message: str = ""
    keys: bool = True
    stale_s: float = 0.0
    sorts: Mapping[str, int] = field(default_factory=dict)
    filters: Mapping[str, int] = field(default_factory=dict)

    @property
    def list(self) -> str:
        """The list that sorting and filtering speak of: on the overview that is the queue."""
        return "queue" if self.page == "overview" else self.page

    def after(self, key: str) -> View:
        """The view after a key was pressed."""
        if key == "?":
            return replace(self, help=not self.help)
        if key.isdecimal() and 0 < int(key) <= len(PAGES):
            return self._turned_to(int(key) - 1)
        if key in TURNS:
            return self._turned_to(PAGES.index(self.page) + TURNS[key])
        if key in SCROLLS:
            return replace(self, place=max(0, self.place + SCROLLS[key]))
        if key in ("g", "home"):
            return replace(self, place=0)
        if key in ("G", "end of list"):
            return replace(self, place=FAR)
        if key == "s":
            return replace(self, sorts=_turned(self.sorts, self.list, SORTS), place=0, help=False)
        if key == "f":
            return replace(self, filters=_turned(self.filters, self.list, FILTERS), place=0, help=False)
        return replace(self, help=False) if key == "escape" else self

    def _turned_to(self, number: int) -> View:
        return replace(self, page=PAGES[number % len(PAGES)], place=0, help=False)

    def sort(self, of: str) -> str:
        """The order that a list is in."""
        return SORTS[of][self.sorts.get(of, 0)]

    def filter(self, of: str) -> str:
        """What a list is limited to."""
        return FILTERS[of][self.filters.get(of, 0)]

    def keys_of(self, of: str) -> str:
        """What the keys of a list do, and how it is now."""
        return f"s by {self.sort(of)}  f {self.filter(of)}" if self.keys else ""

    def within(self, snapshot: Snapshot) -> View:
        """The same with the place no farther down than the list is long."""
        of = self.list
        n = len(LISTS[of](snapshot, self)) if of in LISTS else 0
        return replace(self, place=min(self.place, max(0, n - 1)))


START = View()


def _turned(now: Mapping[str, int], of: str, choices: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {**now, of: (now.get(of, 0) + 1) % len(choices[of])}


def queue(snapshot: Snapshot, view: View) -> list[QueueItem]:
    """The queue, filtered and in order."""
    only, by = view.filter("queue"), view.sort("queue")
    keep = {
        "all": lambda q: True,
        "open": lambda q: q.state == "open",
        "claimed": lambda q: q.state == "claimed",
        "to mend": lambda q: q.state == "rejected",
        "random": lambda q: q.arm == "control",
    }[only]
    found = [item for item in snapshot.queue if keep(item)]
    order = {
        "rank": lambda q: q.rank,
        "novelty": lambda q: -(math.inf if q.distance is None else q.distance),
        "minutes": lambda q: math.inf if q.minutes is None else q.minutes,
        "volume": lambda q: (q.volume, q.start),
    }[by]
    return sorted(found, key=order)


def rounds(snapshot: Snapshot, view: View) -> list[RoundView]:
    """The rounds, filtered and in order."""
    found = [r for r in snapshot.rounds[::-1] if view.filter("models") == "all" or r.promoted]
    if view.sort("models") == "best":
        found.sort(key=lambda r: -float(r.scores["f1"]) if r.scores else math.inf)
    return found


def problems(snapshot: Snapshot, view: View) -> list[Problem]:
    """The problems, filtered and in order."""
    only = {"all": ("fail", "warn"), "wrong": ("fail",), "worth a look": ("warn",)}[view.filter("problems")]
    found = [p for p in snapshot.problems if problem_state(p) in only]
    return sorted(found, key=lambda p: -p.since) if view.sort("problems") == "newest" else found


def events(snapshot: Snapshot, view: View) -> list[Event]:
    """The events, filtered and in order."""
    kinds = EVENT_KINDS.get(view.filter("events"))
    found = [e for e in snapshot.events if kinds is None or e.kind in kinds]
    return found[::-1] if view.sort("events") == "oldest" else found


LISTS: Mapping[str, Any] = {"queue": queue, "models": rounds, "problems": problems, "events": events}


def window(n: int, rows: int, place: int) -> slice:
    """Which of `n` lines are shown where `rows` fit, so that line `place` is among them, in the middle where possible."""
    first = max(0, min(place - rows // 2, n - rows))
    return slice(first, first + max(0, rows))
