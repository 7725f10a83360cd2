"""How long somebody really worked: time between things done, as far as they follow one another closely. No clock of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Activity:
    """idle_s: a longer pause is none of the work. Times are seconds of one monotonic clock.

    active_s and clicks go on from what an earlier session on the same draft had.
    """

    idle_s: float
    active_s: float = 0.0
    clicks: int = 0
    _last: float | None = None

    def seen(self, now: float, click: bool = False) -> None:
        """Somebody moved the mouse, pressed a key, or (click) a button."""
        if self._last is not None and 0 <= now - self._last <= self.idle_s:
            self.active_s += now - self._last
        self._last = now
        self.clicks += int(click)
