"""One annotation window for `benchmarks.annotate`: as `python -m alcore.annotate`, with a Segment Anything of one layer, and closed
as soon as it can be used. With PROMPT in the environment it prompts once before, and notes the seconds."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main(arguments: list[str]) -> int:
    """See the module. Exit code of the window."""
    os.environ["NAPARI_CONFIG"] = ""
    from alcore.annotate import __main__ as program
    from alcore.annotate import window as room
    from alcore.annotate.order import read_order

    if arguments[0] != "-" and read_order(Path(arguments[0])).weights is not None:
        import pytest

        from tests.alcore.pseudo import tiny_sam

        tiny_sam.register(pytest.MonkeyPatch())

    class Brief(room.Window):
        def run(self) -> None:
            from qtpy.QtCore import QTimer

            QTimer.singleShot(300, lambda: _finish(self))
            super().run()

    room.Window = Brief  # type: ignore[misc]
    return program.main(arguments)


def _finish(window: object) -> None:
    import numpy as np
    from qtpy.QtCore import QTimer

    viewer, state = window.viewer, window.canvas.state  # type: ignore[attr-defined]
    if os.environ.get("PROMPT"):
        viewer.layers["point_prompts"].data = np.array([[viewer.dims.current_step[0], 40.0, 40.0]])
        began = time.monotonic()
        state.widgets["segment"](viewer)
        took = time.monotonic() - began
        if not viewer.layers["current_object"].data.any():
            os._exit(1)  # a prompt that drew nothing measured nothing
        (Path(window.order.work) / "prompt.json").write_text(json.dumps(took))  # type: ignore[attr-defined]
    QTimer.singleShot(0, viewer.close)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
