"""Watches what a person does in the window: for the time they worked, and for the moment before it closes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, QObject

from alcore.annotate.activity import Activity

ACTIVE = frozenset(
    (
        QEvent.Type.MouseMove,
        QEvent.Type.MouseButtonPress,
        QEvent.Type.Wheel,
        QEvent.Type.KeyPress,
        QEvent.Type.TabletMove,
    )
)


class Watcher(QObject):
    """An event filter. closing: asked before the window closes, whether it may."""

    def __init__(self, window: Any, activity: Activity, closing: Callable[[], bool]) -> None:
        super().__init__(window)
        self._window, self._activity, self._closing = window, activity, closing
        self._pressed = -1

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
        """See Qt."""
        kind = event.type()
        if kind in ACTIVE:
            click = kind == QEvent.Type.MouseButtonPress and event.timestamp() != self._pressed
            if click:
                self._pressed = event.timestamp()  # it goes from widget to widget until one takes it, and counts once
            self._activity.seen(time.monotonic(), click)
        elif kind == QEvent.Type.Close and watched is self._window and not self._closing():
            event.ignore()
            return True
        return False


def watch(application: Any, window: Any, activity: Activity, closing: Callable[[], bool]) -> Watcher:
    """Begin to watch; ends with the window."""
    watcher = Watcher(window, activity, closing)
    application.installEventFilter(watcher)
    window.destroyed.connect(lambda: application.removeEventFilter(watcher))
    return watcher
