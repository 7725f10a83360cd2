"""`python -m alcore.annotate ORDER`: one window. With "-": load the libraries, then wait for the path of the order on stdin; a
line "sam" before it has those of Segment Anything loaded, too. Then stdin is the lifeline: when it ends, whoever waits for the
window is gone, and the window closes with its draft kept."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

BAD_ORDER = 3


def main(arguments: list[str]) -> int:
    """Exit code 0 when the window was closed in whatever way; 3 with one line on stderr when it could not be opened."""
    import psutil

    from alcore.annotate.order import WITH_SAM, read_order
    from alcore.annotate.window import Window, load_libraries, load_own
    from alcore.errors import AlcoreError

    started = psutil.Process().create_time()
    os.environ.setdefault("QT_API", "pyside6")
    os.environ.setdefault("TQDM_DISABLE", "1")
    began = time.time()
    waited = arguments[:1] == ["-"]
    if waited:
        load_libraries(False)
        load_own()
        line = sys.stdin.readline().strip()
        if line == WITH_SAM:
            load_libraries(True)
            line = sys.stdin.readline().strip()
        if not line:
            return 0  # it was not needed
        arguments = [line]
        started = began = _asked_at(Path(line))
    try:
        order = read_order(Path(arguments[0]))
        load_libraries(order.weights is not None)
        loaded = time.time()
        load_own()
        imported = time.time()
        window = Window(order, sys.stdin.fileno() if waited else None)
    except AlcoreError as e:
        print(f"alscope annotate: {e}", file=sys.stderr)  # noqa: T201
        return BAD_ORDER
    window.opened |= {
        "python_s": round(max(0.0, began - started), 3),
        "libraries_s": round(loaded - began, 3),
        "own_s": round(window.opened["own_s"] + imported - loaded, 3),
    }
    window.run()
    return 0


def _asked_at(order: Path) -> float:
    """When an order was written: whoever wrote it waits from then on."""
    try:
        return min(time.time(), order.stat().st_mtime)
    except OSError:
        return time.time()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
