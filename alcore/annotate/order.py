"""What a window is told before it opens, and what it says when it closes: two small files, so that no crash takes both sides."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alcore.artifact import write_atomic
from alcore.errors import PermanentError

ORDER, OPENED, OUTCOME, LABEL, WORD = "order.json", "opened.json", "outcome.json", "label.tif", "word.txt"
"""Names in the folder of a session, which is also that of its draft. OPENED: seconds of each step until the window could be used,
written when it can. WORD: a line for the person who sits there, written by whoever waits for the window."""

WITH_SAM = "sam"
"""Said on stdin to a window that waits for its order: load what Segment Anything needs, too."""


@dataclass(frozen=True)
class Weights:
    """A Segment Anything model: its name for people, the checkpoint, and the decoder where it is a file of its own."""

    name: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """One patch for one person.

    folder: that of the suggestion (image.tif, pseudo_label.tif, suggestion.json, nearest_1.png, ...). work: for draft, label
    and outcome, this person's alone. drafts: folders that hold a draft to go on from, best first; only `work` is written to.
    weights: None opens plain napari, and why_plain says why and what to do. embeddings: folder in which embeddings of this
    patch may lie (see `alcore.annotate.embeddings`), "" for none. device: "cpu" or "cuda".

    facts, progress, news: for people: (heading, text), and lines. reasons: kinds of reasons to skip. goes_on: the next patch
    follows a skip, too. autosave_s: between two drafts. idle_s: a longer pause is none of the work.
    """

    suggestion: str
    folder: str
    work: str
    user: str = ""
    weights: Weights | None = None
    why_plain: str = ""
    embeddings: str = ""
    device: str = "cpu"
    facts: tuple[tuple[str, str], ...] = ()
    progress: tuple[str, ...] = ()
    news: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    goes_on: bool = True
    autosave_s: float = 60.0
    idle_s: float = 30.0
    drafts: tuple[str, ...] = ()

    def save(self) -> Path:
        """Write it into its working folder, which is made where it is missing; returns the file."""
        path = Path(self.work) / ORDER
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(asdict(self), indent=1).encode(errors="surrogateescape"))
        return path


def read_order(path: Path) -> Order:
    """Inverse of `Order.save`. Raises PermanentError naming the file."""
    try:
        value = json.loads(path.read_text(errors="surrogateescape"))
        weights = value.pop("weights")
        return Order(
            **value
            | {
                "weights": None if weights is None else Weights(weights["name"], tuple(weights["files"])),
                "facts": tuple((str(h), str(t)) for h, t in value["facts"]),
                "progress": tuple(value["progress"]),
                "news": tuple(value["news"]),
                "reasons": tuple(value["reasons"]),
                "drafts": tuple(value["drafts"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise PermanentError(f"{path}: not an order for an annotation window ({e})") from e


@dataclass(frozen=True)
class Outcome:
    """How a session ended.

    answer: "submit" (the label lies in the working folder), "empty" (so does it, and holds nothing on purpose), "skip" or
    "closed". goes_on: the person wants the next patch. draft: unfinished work was kept. seen: slices (first, last) of the
    patch that were looked at, None = all. work: active_s, clicks, changed_voxels, open_s. tool: what drew it.
    """

    answer: str
    goes_on: bool = False
    reason_kind: str = ""
    reason: str = ""
    draft: bool = False
    seen: tuple[int, int] | None = None
    work: dict[str, float] = field(default_factory=dict)
    tool: str = ""

    def save(self, work: Path) -> None:
        """Write it, whole or not at all."""
        write_atomic(work / OUTCOME, json.dumps(asdict(self), indent=1).encode())


def read_outcome(work: Path) -> Outcome | None:
    """What the window said, or None when it ended without a word."""
    try:
        value: dict[str, Any] = json.loads((work / OUTCOME).read_text())
        seen = value["seen"]
        return Outcome(**value | {"seen": None if seen is None else (int(seen[0]), int(seen[1]))})
    except (OSError, ValueError, KeyError, TypeError):
        return None
