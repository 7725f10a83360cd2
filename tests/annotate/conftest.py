"""A screen to open windows on, and windows in processes of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alcore.annotate.order import Order, Outcome, Weights, read_outcome

DRIVER = Path(__file__).parent / "driver.py"
PACKAGES = (
    "xvfb libegl1 libgl1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 "
    "libxcb-shape0 libxcb-randr0 libxcb-xkb1 libdbus-1-3 libfontconfig1 libgl1-mesa-dri"
)
PROBE = "from PySide6.QtWidgets import QApplication; QApplication([])"


@pytest.fixture(scope="session")
def screen() -> Iterator[dict[str, str]]:
    """The environment of windows: on a virtual screen where there is Xvfb, else without one."""
    if any(importlib.util.find_spec(name) is None for name in ("napari", "PySide6")):
        pytest.skip('napari or PySide6 is not installed: make, or pip install ".[annotate]"')
    base = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    base |= {"LIBGL_ALWAYS_SOFTWARE": "1", "OMP_NUM_THREADS": "1"}
    server = _server() if shutil.which("Xvfb") else None
    try:
        chosen = base | ({"DISPLAY": server[1]} if server else {"QT_QPA_PLATFORM": "offscreen"})
        probe = subprocess.run([sys.executable, "-c", PROBE], env=chosen, capture_output=True, text=True, timeout=60)
        if probe.returncode:
            why = (probe.stderr.strip().splitlines() or ["it crashes"])[-1]
            pytest.skip(f"Qt cannot open a window here ({why}); on Debian: apt-get install {PACKAGES}")
        yield chosen
    finally:
        if server:
            server[0].terminate()
            server[0].wait()


def _server() -> tuple[subprocess.Popen[bytes], str] | None:
    """A virtual screen, and its name."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    if not number:
        server.wait()
        return None
    return server, f":{number}"


@dataclass(frozen=True)
class Played:
    """How a window ended. seen: what the scenario noted. log: what it printed."""

    code: int
    outcome: Outcome | None
    seen: dict[str, Any]
    log: str


@pytest.fixture
def play(screen: dict[str, str]) -> Callable[[Order, str], Played]:
    """A function (order, scenario) -> how it ended."""

    def run(order: Order, scenario: str) -> Played:
        work = Path(order.work)
        work.mkdir(parents=True, exist_ok=True)
        (work / "seen.json").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, str(DRIVER), scenario, str(order.save())],
            env=screen,
            capture_output=True,
            text=True,
            timeout=250,
        )
        seen = json.loads((work / "seen.json").read_text()) if (work / "seen.json").is_file() else {}
        assert "error" not in seen, seen["error"] + done.stderr[-2000:]
        return Played(done.returncode, read_outcome(work), seen, done.stdout + done.stderr)

    return run


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """A Segment Anything of one layer with random weights."""
    from alcore.pseudo import packages
    from tests.alcore.pseudo import tiny_sam

    if absent := packages.missing("micro_sam"):
        pytest.skip(f"{', '.join(absent)} not installed: {packages.INSTALL['micro_sam']}")
    patch = pytest.MonkeyPatch()
    tiny_sam.register(patch)
    files = tiny_sam.save_checkpoints(tmp_path_factory.mktemp("weights"))
    patch.undo()
    return Weights("vit_b_lm", (str(files["plain"]), str(files["decoder"])))
