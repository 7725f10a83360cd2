"""A simulated expert: looks into the queue, draws the truth of a patch, saves it into the inbox. Knows folders only."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

POLL_S = 0.3


@dataclass
class Expert:
    """Answers suggestions from known truth.

    truth: volume file name -> (Z, Y, X) instances. think_s: seconds for one patch. may_answer: is it time to work?
    save_s: seconds over which the file grows in the inbox, plane by plane, as some tools save; None saves as fast as can
    be, 0 moves a finished file there. forgets: probability of leaving an instance out, decided by `rng`.
    `answered` are the suggestions done; `error` says what went wrong, if anything did.
    """

    truth: Mapping[str, np.ndarray[Any, Any]]
    workspace: Path
    think_s: float
    may_answer: Callable[[], bool]
    save_s: float | None = None
    forgets: float = 0.0
    rng: np.random.Generator | None = None
    answered: list[str] = field(default_factory=list)
    error: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for a forgetful expert without a random generator."""
        if self.forgets and self.rng is None:
            raise ValueError("an expert who forgets instances needs a random generator (rng)")

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        while not stop.wait(POLL_S):
            try:
                if self.may_answer() and (folder := self._next()) is not None:
                    self._answer(folder, stop)
            except (OSError, ValueError, KeyError) as e:
                self.error = f"the simulated expert cannot go on: {type(e).__name__}: {e}"
                return

    def _next(self) -> Path | None:
        """The oldest suggestion that has not been answered."""
        queue = self.workspace / "queue"
        if not queue.is_dir():
            return None
        waiting = sorted(p for p in queue.iterdir() if not p.name.startswith(".") and p.name not in self.answered)
        return waiting[0] if waiting else None

    def _answer(self, folder: Path, stop: threading.Event) -> None:
        import numpy as np

        asked = json.loads((folder / "suggestion.json").read_text())
        box = tuple(slice(a, a + n) for a, n in zip(asked["box"]["start"], asked["box"]["shape"], strict=True))
        drawn = np.ascontiguousarray(self.truth[asked["volume_name"]][box]).astype(np.uint16)
        if self.rng is not None and self.forgets:
            ids = np.unique(drawn[drawn > 0])
            drawn[np.isin(drawn, ids[self.rng.random(len(ids)) < self.forgets])] = 0
        if stop.wait(self.think_s):
            return
        inbox = self.workspace / "inbox"
        if not drawn.any():  # "there is nothing here" has to be said, an empty mask alone could be a mistake
            note = self.workspace / "commands" / f".label-{folder.name}.tmp"
            note.write_text(json.dumps({"empty": True, "user": "simulated expert"}))
            os.replace(note, self.workspace / "commands" / f"label-{folder.name}.note")
        if self._save(drawn, inbox / f"{folder.name}.tif", stop):
            self.answered.append(folder.name)

    def _save(self, drawn: np.ndarray[Any, Any], path: Path, stop: threading.Event) -> bool:
        """Save the mask the way this expert's tool does; False when stopped before it was whole."""
        import tifffile

        if self.save_s is None:
            tifffile.imwrite(path, drawn, compression="zlib", photometric="minisblack")
            return True
        if self.save_s == 0:
            whole = self.workspace / f".{path.name}.partial"
            tifffile.imwrite(whole, drawn, compression="zlib", photometric="minisblack")
            os.replace(whole, path)
            return True
        with tifffile.TiffWriter(path) as tif:
            for plane in drawn:
                tif.write(plane, compression="zlib", photometric="minisblack", metadata=None)
                if stop.wait(self.save_s / len(drawn)):
                    return False
        return True
