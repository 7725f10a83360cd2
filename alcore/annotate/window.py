"""Opens the window of one order, and sees to it that whatever ends it, what was drawn is on the disk first."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

from alcore.annotate.drafts import first_draft
from alcore.annotate.order import OPENED, OUTCOME, WORD, Order
from alcore.annotate.patch import read_patch
from alcore.artifact import write_atomic

SIZE_PX, DOCK_PX = (1400, 900), 460
TICK_MS = 1000


def load_libraries(with_sam: bool) -> None:
    """Import what takes its time, so that a window that waits for its order opens quickly."""
    from napari import Viewer  # noqa: F401
    from napari.window import Window  # noqa: F401

    if with_sam:
        import micro_sam.sam_annotator  # noqa: F401


def load_own() -> None:
    """Import what of this package a window is made of."""
    import alcore.annotate.canvas
    import alcore.annotate.dock
    import alcore.annotate.sam
    import alcore.annotate.traps
    import alcore.annotate.watcher
    import alcore.volumes.labels
    import alcore.volumes.writers  # noqa: F401


class Window:
    """The viewer of one order with its dock. `run` returns when it is closed. lifeline: file descriptor at which nothing comes any
    more but its end, when the process that waits for this window is gone; None where nobody waits."""

    def __init__(self, order: Order, lifeline: int | None = None) -> None:
        from alcore.annotate.canvas import open_canvas
        from alcore.annotate.dock import Dock, ask_person
        from alcore.annotate.session import Session
        from alcore.annotate.traps import LayerGuard

        began = time.monotonic()
        self.order, self._work = order, Path(order.work)
        self._work.mkdir(parents=True, exist_ok=True)
        for name in (OUTCOME, OPENED, WORD):
            (self._work / name).unlink(missing_ok=True)  # of an earlier session
        patch = read_patch(Path(order.folder))
        draft = first_draft((self._work, *map(Path, order.drafts)), patch.shape)
        self.canvas, words = open_canvas(order, patch, draft.labels if draft else patch.pseudo, self._say)
        self.viewer = self.canvas.viewer
        self.qt: Any = self.viewer.window._qt_window
        self.session = Session(order, patch, self.canvas, draft, ask_person(self.qt), self._close_later)
        self.dock: Dock | None = Dock(self.session, draft, words)
        self._guard = LayerGuard(self.viewer, self.canvas.layers)
        self._arrange()
        shown = self._show()
        self._listen()
        if lifeline is not None:
            self._hang_on(lifeline)
        whole, theirs = time.monotonic() - began, self.canvas.library_s
        self.opened = {
            "annotator_s": round(theirs, 3),
            "shown_s": round(shown, 3),
            "own_s": round(whole - theirs - shown, 3),
        }

    def run(self) -> None:
        """Until it is closed."""
        import napari
        from qtpy.QtCore import QTimer

        QTimer.singleShot(0, lambda: write_atomic(self._work / OPENED, json.dumps(self.opened).encode()))
        napari.run()

    def _arrange(self) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtWidgets import QDockWidget

        self.viewer.title = f"alscope annotate {self.order.suggestion}"
        annotators = self.qt.findChildren(QDockWidget)
        ours = self.viewer.window.add_dock_widget(self.dock, name="alscope", area="right")
        _unclosable(ours)
        self._docks = [ours]
        for other in annotators:
            if self._is_annotators(other):
                _unclosable(other)
                other.titleBarWidget().title.setText("microSAM")
                self.qt.splitDockWidget(ours, other, Qt.Orientation.Vertical)
                self._docks.append(other)
        if self.canvas.state is not None:
            self.viewer.layers["point_prompts"].mode = "add"
        else:
            layer = self.viewer.layers["committed_objects"]
            layer.selected_label = int(layer.data.max()) + 1
            layer.mode = "paint"

    def _show(self) -> float:
        """Bring it onto the screen, all of it drawn once; returns the seconds that napari took to."""
        from qtpy.QtCore import QEventLoop, Qt, QTimer
        from qtpy.QtWidgets import QApplication

        began = time.monotonic()
        self.viewer.show()
        self.qt.resize(*SIZE_PX)  # now, as napari shows it as large as the last one was
        self.qt.resizeDocks(self._docks[:1], [DOCK_PX], Qt.Orientation.Horizontal)
        heights = [1, 2][: len(self._docks)]  # ours is as high as it has to be, which is more than its share
        self.qt.resizeDocks(self._docks, heights, Qt.Orientation.Vertical)
        QTimer.singleShot(0, self.viewer.reset_view)
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
        return time.monotonic() - began

    def _is_annotators(self, dock: Any) -> bool:
        annotator = None if self.canvas.state is None else self.canvas.state.annotator
        return annotator is not None and dock.isAncestorOf(annotator)

    def _listen(self) -> None:
        from qtpy.QtCore import Qt, QTimer
        from qtpy.QtGui import QKeySequence, QShortcut
        from qtpy.QtWidgets import QApplication

        from alcore.annotate.watcher import watch

        for keys in ("Ctrl+Return", "Ctrl+Enter"):
            shortcut = QShortcut(QKeySequence(keys), self.qt)
            shortcut.setContext(Qt.ShortcutContext.ApplicationShortcut)
            shortcut.activated.connect(lambda: self.session.submit(True))
        self._filter = watch(QApplication.instance(), self.qt, self.session.activity, self._closing)
        self._tick, self._autosave = QTimer(self.qt), QTimer(self.qt)
        self._tick.timeout.connect(self._look)
        self._tick.start(TICK_MS)
        self._autosave.timeout.connect(self._keep)
        self._autosave.start(max(1, int(1000 * self.order.autosave_s)))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._close_later())  # Python hears of it at the next tick

    def _hang_on(self, lifeline: int) -> None:
        from qtpy.QtCore import QSocketNotifier

        self._notifier = QSocketNotifier(lifeline, QSocketNotifier.Type.Read, self.qt)

        def gone() -> None:
            self._notifier.setEnabled(False)  # the end stays there to be read
            self._close_later()

        self._notifier.activated.connect(gone)

    def _look(self) -> None:
        """Once a second: has the process that waits for us something to say?"""
        with contextlib.suppress(OSError):
            self._said = (self._work / WORD).read_text()
        if self.dock is not None:
            self.dock.tell(self._said)

    _said = ""

    def _keep(self) -> None:
        try:
            if self.session.keep():
                self._said = f"draft kept {time.strftime('%H:%M')}"
        except OSError as e:
            self._said = f"DRAFT NOT KEPT: {e.strerror or e}"
            self._say(self._said)

    def _say(self, words: str) -> None:
        """Something to know now, even while the window is busy."""
        from qtpy.QtCore import QEventLoop
        from qtpy.QtWidgets import QApplication

        dock = getattr(self, "dock", None)
        if dock is not None:
            dock.sam.setText(words)
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)

    def _closing(self) -> bool:
        """Called before the viewer takes its layers apart; may it?"""
        if not self.session.closing():
            return False
        self._tick.stop()
        self._autosave.stop()
        self._guard.end()
        return True

    def _close_later(self) -> None:
        """Close the window as its button does: `viewer.close` would empty the layers first."""
        from qtpy.QtCore import QTimer

        QTimer.singleShot(0, self.qt.close)


def _unclosable(dock: Any) -> None:
    """Closed, it would take its buttons with it for good; hiding it stays possible."""
    button = getattr(dock.titleBarWidget(), "close_button", None)
    if button is not None:
        button.hide()
