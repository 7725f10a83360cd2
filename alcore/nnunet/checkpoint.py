"""Checkpoints that survive a kill at any moment: written aside, renamed, the previous one kept. Imports torch."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from alcore.artifact import fsync_dir


class Checkpoints:
    """The two newest checkpoints of one job, in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.latest = folder / "latest.pt"
        self.previous = folder / "previous.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Make `state` the newest checkpoint; the one before stays as a fall-back."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tmp = self.folder / "next.pt"
        with open(tmp, "wb") as f:
            torch.save(state, f)
            f.flush()
            os.fsync(f.fileno())
        if self.latest.exists():
            os.replace(self.latest, self.previous)
        os.replace(tmp, self.latest)
        fsync_dir(self.folder)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The newest state that can be read completely, or None. A damaged file is passed over."""
        for path in (self.latest, self.previous):
            try:
                state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile):
                continue
            return state
        return None
