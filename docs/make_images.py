"""Makes the pictures of the README from a real demo: `make docs-images` (after `make demo`)."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from daemon.dashboard import render
from daemon.look import look

WIDTH, HEIGHT = 120, 36


def main(demo: Path, target: Path) -> int:
    """Draw the dashboard of a demo's workspace, and copy its first test picture and learning curve."""
    with open(target / "dashboard.txt", "w") as sink:
        console = Console(
            record=True, width=WIDTH, height=HEIGHT, file=sink, force_terminal=True, color_system="truecolor"
        )
        console.print(render(look(demo / "workspace", time.time()), WIDTH, HEIGHT), height=HEIGHT)
    (target / "dashboard.txt").unlink()
    svg = console.export_svg(title="alscope dashboard")
    (target / "dashboard.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))  # no network
    for name in ("test_01.png", "learning_curve.png"):
        shutil.copyfile(demo / "pictures" / name, target / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(__file__).parent / "images"))
