"""What is worth an alarm, how alarms are put into words, and when they may be told again. Pure: time is an argument."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.wording import clean, duration

KINDS = ("novelty", "quality", "queue", "training", "disk", "watcher", "arrivals", "test")
"""novelty: a volume unlike all before it; quality: of intensity or focus unlike them, or damaged; queue: empty or full;
training: finished, promoted or not; disk: low; watcher: blind; arrivals: none although a run is declared."""

HOLD_S: Mapping[str, float] = {"queue": 300.0, "watcher": 60.0}
"""A condition of these kinds has to be true for so long: a queue is refilled, a share comes back."""
RECENT_S = 3600.0
"""What happened longer ago is not worth an alarm any more."""
LATE_S = 86400.0
"""An alarm that could not be told for so long is given up."""
MOST_TRIES = 6
STARTING_S = 300.0
"""A daemon that has just started may not have found yet what arrived while it was away."""
MOST_WORDS = 1000
"""Characters of a message."""


@dataclass(frozen=True)
class Alarm:
    """Something that a person should know now. subject: names the thing (with `kind`, for good); lasting: it is a condition,
    told once as long as it is true; else it happened once."""

    kind: str
    subject: str
    message: str
    lasting: bool = False


@dataclass(frozen=True)
class Expectation:
    """A declared run: files are expected at least every `every_s` seconds, from `since` until `until` (None: until revoked)."""

    since: float
    every_s: float
    until: float | None

    def holds(self, now: float) -> bool:
        """Is the run going on?"""
        return self.until is None or now < self.until


@dataclass
class Patience:
    """Lets conditions through that have been true for long enough. Remembers since when; forgets with the daemon."""

    _since: dict[tuple[str, str], float] = field(default_factory=dict)

    def held(self, found: Iterable[Alarm], now: float) -> list[Alarm]:
        """Those of the conditions that are true now that have been so for `HOLD_S` of their kind."""
        there = {(alarm.kind, alarm.subject): alarm for alarm in found}
        self._since = {key: min(self._since.get(key, now), now) for key in there}
        return [alarm for key, alarm in there.items() if now - self._since[key] >= HOLD_S.get(alarm.kind, 0.0)]


def queue_alarm(ready: int, in_hand: int, coming: int, depth: int, begun: bool, nothing: str) -> Alarm | None:
    """Is the expert's queue full and nobody begins, or empty?

    ready: patches that can be taken; in_hand: claimed, being checked or to be mended; coming: being prepared; begun: has
    anything ever been suggested; nothing: why there is none, in words.
    """
    if ready >= depth and not in_hand:
        text = f"{ready} patches wait for an expert and nobody has begun: `alscope annotate` opens the first"
        return Alarm("queue", "full", text, True)
    if begun and not (ready or in_hand or coming):
        return Alarm("queue", "empty", f"nothing waits for an expert: {nothing}", True)
    return None


def disk_alarm(free_gb: float, limit_gb: float, where: str) -> Alarm | None:
    """Is there little room on the disk of the workspace?"""
    if free_gb >= limit_gb:
        return None
    text = f"{where}: {free_gb:.1f} GB free, alarms.disk_gb = {limit_gb:g}: free some space before work has to stop"
    return Alarm("disk", "workspace", text, True)


def starting(started: float, now: float) -> bool:
    """Has the daemon just started?"""
    return now - started < STARTING_S


def arrivals_alarm(expected: Expectation | None, last: float | None, started: float, now: float) -> Alarm | None:
    """Has nothing arrived for too long although a run is declared? last: when a file was last new or growing."""
    if expected is None or not expected.holds(now) or starting(started, now):
        return None
    quiet = now - max(expected.since, last or 0.0)
    if quiet <= expected.every_s:
        return None
    text = (
        f"nothing has arrived for {duration(quiet)}, expected at least every {duration(expected.every_s)}: look at the "
        "microscope, its disk and the network (`alscope expect --end` when the run is over)"
    )
    return Alarm("arrivals", "run", text, True)


def again_after_s(attempts: int) -> float:
    """Seconds until a delivery that failed is tried again."""
    return float(min(3600.0, 15.0 * 4 ** max(0, attempts - 1)))


def told(alarms: Sequence[Alarm]) -> str:
    """One message for alarms that are told together. It never begins with a dash, and is one line without control characters."""
    first = alarms[0]
    more = f" (and {len(alarms) - 1} more: `alscope alarms`)" if len(alarms) > 1 else ""
    text = clean(f"alscope: {first.kind}: {first.message}")
    return text[: MOST_WORDS - len(more)] + more


def payload(alarms: Sequence[tuple[int, Alarm, float]], workspace: str, host: str) -> dict[str, Any]:
    """What a command reads as JSON and a webhook is sent: (id, alarm, when it was raised) each. `text` is for chat services."""
    return {
        "text": told([alarm for _, alarm, _ in alarms]),
        "host": host,
        "workspace": workspace,
        "alarms": [
            {"id": number, "kind": a.kind, "subject": a.subject, "message": clean(a.message), "raised_at": at}
            for number, a, at in alarms
        ],
    }


PLACES = ("message", "kind")
_PLACE = re.compile(r"\{(\w+)\}")


def filled(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words of a command with {message} and {kind} in them replaced, each word staying one argument."""
    return [_PLACE.sub(lambda found: values[found[1]], word) for word in words]


def unknown_place(words: Sequence[str]) -> str:
    """The first {...} in a command that stands for nothing; "" when there is none."""
    return next((found for word in words for found in _PLACE.findall(word) if found not in PLACES), "")
