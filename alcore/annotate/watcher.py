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
    """An event filter that lets everything pass."""

    def __init__(self, window: Any, activity: Activity, closing: Callable[[], None]) -> None:
        super().__init__(window)
        self._window, self._activity, self._closing = window, activity, closing

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
        """See Qt."""
        kind = event.type()
        if kind in ACTIVE:
            # a press goes from widget to widget until one takes it; windows get it first, and once
            click = kind == QEvent.Type.MouseButtonPress and watched.isWindowType()
            self._activity.seen(time.monotonic(), click)
        elif kind == QEvent.Type.Close and watched is self._window:
            self._closing()
        return False


def watch(application: Any, window: Any, activity: Activity, closing: Callable[[], None]) -> Watcher:
    """Begin to watch; ends with the window."""
    watcher = Watcher(window, activity, closing)
    application.installEventFilter(watcher)
    window.destroyed.connect(lambda: application.removeEventFilter(watcher))
    return watcher
