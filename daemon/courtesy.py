"""When heavy work gives way to the microscope: while files grow, but never for ever. A pure decision over a clock."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVE_S = 15.0
"""A file that has not changed for so long does not grow any more."""
TURN_S = 120.0
"""Once heavy work goes on, it is not stopped again for so long: each stop costs it a start."""


@dataclass
class Courtesy:
    """Since when heavy work gives way, and until when it does not have to, in seconds of one clock."""

    since: float | None = None
    turn_until: float = float("-inf")

    def gives_way(self, growing: bool, most_s: float, now: float) -> bool:
        """Look again. growing: did the microscope write within `ACTIVE_S`? most_s: after so long heavy work has its turn all the same.

        A clock that is set back ends the wait, and the turn.
        """
        if self.since is None:
            if growing and not now < self.turn_until <= now + TURN_S:
                self.since = now
        elif not growing or not 0 <= now - self.since < most_s:
            self.since, self.turn_until = None, now + TURN_S
        return self.since is not None
