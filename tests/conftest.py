"""What every test may use: real data when it is at hand, and a watch for leaked threads and processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent

# Started in the background of a shell, a test run ignores SIGINT, and every process that it starts would inherit that:
# tests that interrupt one would then wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _data_folder() -> Path:
    """$ALSCOPE_DATA, or shared/data beside the checkout."""
    named = os.environ.get("ALSCOPE_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A function from a data set's name to its folder; the test is skipped, with the reason, where it is not at hand."""

    def find(name: str) -> Path:
        path = _data_folder() / name
        if not path.exists():
            pytest.skip(f"real data {name!r} is not at hand (set ALSCOPE_DATA to the folder that holds it)")
        return path

    return find


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """A test that leaves a non-daemon thread or a child process behind fails."""
    before = set(threading.enumerate())
    children_before = {c.pid for c in psutil.Process().children()}
    yield
    until = time.monotonic() + 5
    while time.monotonic() < until:
        threads = [t for t in set(threading.enumerate()) - before if t.is_alive() and not t.daemon]
        children = [c for c in psutil.Process().children() if c.pid not in children_before and _matters(c)]
        if not threads and not children:
            return
        time.sleep(0.05)
    assert not threads, f"threads left running: {threads}"
    assert not children, f"processes left running: {children}"


def _matters(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline())
    except psutil.Error:
        return False
