"""A model of pictures that needs no weights and no torch: bright blobs. Its objects do not depend on the window."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from alcore.pseudo.planes import Found, Picture


class CheapModel:
    """See `PlaneModel`. Counts the pictures that it was shown."""

    name = "cheap"
    version = 1

    def __init__(self, window_px: int = 1024, seconds: float = 0.0) -> None:
        self.window_px, self.shown, self._seconds = window_px, 0, seconds

    def segment(self, picture: Picture) -> Found:
        """Connected pixels above a half; as sure as they are bright."""
        self.shown += 1
        ids, n = ndimage.label(picture[..., 0] > 0.5)
        bright = ndimage.mean(picture[..., 0], ids, np.arange(1, n + 1)) if n else np.zeros(0)
        return Found(ids.astype(np.uint32), np.asarray(bright, np.float32))

    def smaller(self) -> str | None:
        """It cannot."""
        return None

    def seconds(self, height: int, width: int) -> float:
        """What it was told to say."""
        return self._seconds

    def record(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {"model": "cheap"}
