"""Opens a window as `python -m alcore.annotate` does, and plays a person in it: `python driver.py SCENARIO ORDER`.

With "-" as order it waits for one, as a spare window does. What the person saw goes into seen.json in the working folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HARD_LIMIT_S = 240
"""Many times what it takes: the machine may be busy with other tests."""
STEP_MS = 30


def without_opengl() -> None:
    """Let layers be made under QT_QPA_PLATFORM=offscreen, which has no OpenGL: nothing is drawn then, all else works."""
    import napari._qt.qt_viewer  # noqa: F401 - loads the modules that are looked through
    from napari._vispy.utils import gl

    constants = {"get_gl_extensions": lambda: "GL_ARB_texture_float", "get_max_texture_sizes": lambda: (2048, 2048)}
    modules = [m for name, m in list(sys.modules.items()) if name.startswith("napari._vispy")]
    for name, constant in constants.items():
        for module in [gl, *modules]:
            if hasattr(module, name):
                setattr(module, name, constant)


class Person:
    """Hands in the window. A scenario is a generator: what comes after a yield happens when Qt has done what came before."""

    def __init__(self, window: Any) -> None:
        self.window, self.seen = window, {}
        self.viewer, self.dock, self.session, self.state = (
            window.viewer,
            window.dock,
            window.session,
            window.canvas.state,
        )

    def layer(self, name: str = "committed_objects") -> Any:
        return self.viewer.layers[name]

    def key(self, key: Any, modifier: Any = None) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        self.activate()
        canvas = self.viewer.window._qt_viewer.canvas.native
        QTest.keyClick(canvas, key, modifier or Qt.KeyboardModifier.NoModifier)

    def activate(self) -> None:
        """Shortcuts need an active window, and without a window manager nobody else sees to it, after a question neither."""
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        for _ in range(100):
            if QApplication.activeWindow() is not None:
                return
            self.window.qt.activateWindow()
            QTest.qWait(50)
        raise AssertionError("the window does not become active")

    def click(self, button: Any) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def answers(self, *texts: str) -> None:
        """The next questions will get these answers, each when it is there."""
        from qtpy.QtCore import QTimer
        from qtpy.QtWidgets import QApplication

        left = list(texts)

        def answer() -> None:
            box = QApplication.activeModalWidget()
            if box is None:
                QTimer.singleShot(50, answer)
                return
            self.seen.setdefault("questions", []).append(box.text())
            text = left.pop(0)
            self.click(next(b for b in box.buttons() if b.text().replace("&", "") == text))
            if left:
                QTimer.singleShot(50, answer)

        QTimer.singleShot(50, answer)


def play(window: Any, scenario: Any) -> None:
    """Let the person do one step after the other, beginning when the window is there."""
    from qtpy.QtCore import QTimer

    person = Person(window)
    steps: Iterator[Any] = scenario(person)

    def note() -> None:
        (Path(window.order.work) / "seen.json").write_text(json.dumps(person.seen, default=int))

    def step() -> None:
        try:
            wait_ms = next(steps)
            note()
            QTimer.singleShot(int(wait_ms or STEP_MS), step)
        except StopIteration:
            note()
        except BaseException as e:
            person.seen["error"] = f"{type(e).__name__}: {e}"
            note()
            os._exit(9)

    QTimer.singleShot(100, step)


def main(name: str, order: str, *more: str) -> int:
    """One window, one scenario; killed when it takes too long."""
    signal.alarm(HARD_LIMIT_S)
    sys.path.insert(0, str(ROOT))
    os.environ["NAPARI_CONFIG"] = ""
    import pytest

    from alcore.annotate import __main__ as program
    from alcore.annotate import window as room
    from alcore.annotate.order import read_order
    from tests.annotate import scenarios

    if order != "-" and read_order(Path(order)).weights is not None:
        from tests.alcore.pseudo import tiny_sam

        tiny_sam.register(pytest.MonkeyPatch())
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        without_opengl()

    class Played(room.Window):
        def run(self) -> None:
            play(self, getattr(scenarios, name))
            super().run()

    room.Window = Played  # type: ignore[misc]
    return program.main([order, *more])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
