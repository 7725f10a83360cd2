"""How leases on patches run out: by the time that the daemon itself lived through, whatever the clock on the wall does."""

from __future__ import annotations

from daemon.store.store import Store

MOST_STEP_S = 30.0
"""The daemon looks every few seconds: a step of the clock that is longer was a jump of it, a sleep of the machine, or a daemon
that was not running, and takes no more than this from anybody's lease. A clock that is set back takes nothing."""
WRITE_EVERY_S = 5.0


class ClaimClock:
    """Takes lived time off the leases, and gives back what nobody renewed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: float | None = None
        self._owed = 0.0

    def tick(self, now: float) -> bool:
        """Call often; returns True when somebody's lease was given back. now: seconds since the epoch."""
        self._owed += lived_s(self._last, now)
        self._last = now
        if self._owed < WRITE_EVERY_S:
            return False
        step, self._owed = self._owed, 0.0
        if not self._store.claims.any_held():
            return False
        ended = self._store.claims.pass_time(step, now)
        for claim in ended:
            text = f"{claim.user} has not been heard of: {claim.suggestion} is back in the queue"
            self._store.state.event("claim", text, now)
        return bool(ended)


def lived_s(last: float | None, now: float) -> float:
    """Seconds that surely passed for people between two looks at the clock, never negative, at most `MOST_STEP_S`."""
    return 0.0 if last is None else min(max(now - last, 0.0), MOST_STEP_S)
