"""Makes the pictures of dashboard and status from a real demo: `make docs-images` (after `make demo`).

The daemon is started on a copy of the demo's folder, so that the screens are of a daemon that runs.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, RenderableType

from daemon.dashboard import render
from daemon.errors import WorkspaceError
from daemon.look import look
from daemon.status import status
from daemon.store.views import Snapshot
from daemon.view import PAGES, View
from daemon.vitals import now as machine_now

OVERVIEWS = {"dashboard": (120, 36), "dashboard_80x24": (80, 24), "dashboard_200x60": (200, 60)}
PAGE_SIZE = (100, 28)
PICTURES = (
    "dashboard.svg",
    "dashboard_80x24.svg",
    "dashboard_200x60.svg",
    "dashboard_queue.svg",
    "dashboard_models.svg",
    "dashboard_problems.svg",
    "dashboard_events.svg",
    "dashboard_help.svg",
    "status.svg",
    "test_01.png",
    "learning_curve.png",
)
PATIENCE_S = 120.0
SETTLE_S = 6.0
"""A started daemon takes so long until it has looked around and does something."""


@contextlib.contextmanager
def daemon(folder: Path) -> Iterator[None]:
    """`alscope run` on a demo's folder."""
    with open(folder / "daemon.log", "ab") as log:
        command = [sys.executable, "-m", "daemon.cli.main", "--config", str(folder / "config.toml"), "run"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def seen(workspace: Path) -> Snapshot:
    """The workspace once a daemon runs on it and does something, or has nothing to do. Raises TimeoutError."""
    until, began = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < until:
        with contextlib.suppress(WorkspaceError):
            found = look(workspace, time.time())
            if found.daemon.state == "running":
                began = began or time.monotonic()
                busy = any(job.progress > 0.05 for job in found.running)
                if time.monotonic() - began > (SETTLE_S if busy else 3 * SETTLE_S):
                    return found
        time.sleep(0.1)
    raise TimeoutError(f"{workspace}: no daemon runs on it after {PATIENCE_S:.0f} s")


def draw(what: RenderableType, width: int, height: int, title: str, path: Path) -> None:
    """Write an SVG of what a terminal of this size shows."""
    console = Console(
        record=True, width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(what, height=height)
    svg = console.export_svg(title=title)
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))  # no network


def main(demo: Path, target: Path) -> int:
    """Draw every page of the dashboard, and the status; copy the demo's first test picture and its learning curve."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "alscope-demo"
        shutil.copytree(demo, folder)
        with daemon(folder):
            found, vitals = seen(folder / "workspace"), machine_now(folder / "workspace")
    for name, (width, height) in OVERVIEWS.items():
        view = View()
        draw(render(found, width, height, view, vitals), width, height, "alscope dashboard", target / f"{name}.svg")
    width, height = PAGE_SIZE
    for page in PAGES[1:]:
        picture = render(found, width, height, View(page=page), vitals)
        draw(picture, width, height, "alscope dashboard", target / f"dashboard_{page}.svg")
    helped = render(found, width, height, View(help=True), vitals)
    draw(helped, width, height, "alscope dashboard", target / "dashboard_help.svg")
    lines = status(found, Path("workspace"), 100)
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(line)
    svg = console.export_svg(title="alscope status")
    (target / "status.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))
    for name in ("test_01.png", "learning_curve.png"):
        shutil.copyfile(demo / "pictures" / name, target / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(__file__).parent / "images"))
