"""What people tell the daemon about the run at the microscope: that files are expected, or that none are any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.alarms import Expectation
from daemon.errors import UsageError
from daemon.wording import duration

if TYPE_CHECKING:
    from daemon.engine import Engine


def expect(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """A run is declared: {"every_s": seconds, "for_s": seconds or None}; or its end: {"end": True}."""
    if arguments.get("end"):
        if engine.store.alarms.expectation() is None:
            raise UsageError("no run is declared, so there is none to end")
        engine.store.alarms.expect(None)
        return "no files are expected any more"
    every, length = float(arguments["every_s"]), arguments.get("for_s")
    if not 0 < every < 1e9 or (length is not None and not 0 < float(length) < 1e9):
        raise UsageError("a length of time must be positive")
    until = None if length is None else now + float(length)
    engine.store.alarms.expect(Expectation(now, every, until))
    ends = "until `alscope expect --end`" if length is None else f"for {duration(float(length))}"
    return f"a file is expected at least every {duration(every)}, {ends}"


VERBS = {"expect": expect}
