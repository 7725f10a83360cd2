"""When heavy work gives way to the microscope: while files grow, but never for ever. A pure decision over a clock."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVE_S = 15.0
"""A file that has not changed for so long does not grow any more."""
FRESH_S = 3.0
"""An acquisition that is seen for the first time is taken for growing if it was changed so lately."""
TURN_S = 120.0
"""Heavy work that has its turn although files grow is not held up again for so long; nor, where it was stopped, after they
have ended: each stop costs it a start."""


@dataclass
class Courtesy:
    """Since when heavy work gives way, and until when it does not have to, in seconds of one clock."""

    since: float | None = None
    turn_until: float = float("-inf")

    def gives_way(self, growing: bool, most_s: float, now: float, costly: bool = True) -> bool:
        """Look again. growing: did the microscope write within `ACTIVE_S`? most_s: after so long heavy work has its turn all the same.
        costly: does giving way end what runs?

        A clock that is set back ends the wait, and the turn.
        """
        if self.since is None:
            if growing and not now < self.turn_until <= now + TURN_S:
                self.since = now
        elif not growing or not 0 <= now - self.since < most_s:
            self.since, self.turn_until = None, now + (TURN_S if growing or costly else 0.0)
        return self.since is not None
