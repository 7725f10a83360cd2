"""The model that this process loaded last: a warm worker keeps it from volume to volume."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

_lock = threading.Lock()
_kept: list[tuple[Hashable, Any]] = []


def warm(key: Hashable, load: Callable[[], Any]) -> Any:
    """The model for `key`, loaded at the first call; the one before is let go first, so that two never share a device."""
    with _lock:
        if _kept and _kept[0][0] == key:
            return _kept[0][1]
        _kept.clear()
        model = load()
        _kept.append((key, model))
        return model


def forget() -> None:
    """Let the model go."""
    with _lock:
        _kept.clear()
