"""One patch under one person's hands: drafts, what counts as work, and the ways to end. Knows the viewer only as a `Canvas`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.annotate.activity import Activity
from alcore.annotate.canvas import AUTOMATIC, COMMITTED, CURRENT, Canvas
from alcore.annotate.drafts import Draft, save_draft, write_labels
from alcore.annotate.order import LABEL, Order, Outcome
from alcore.annotate.patch import Patch, changed_voxels, counting

Labels = npt.NDArray[np.uint32]
Ask = Callable[[str, Sequence[str]], int]
"""(question, answers) -> number of the answer; the last one goes back to work."""


class Session:
    """draft: what was kept of an earlier session, or None. close: closes the viewer, later."""

    def __init__(
        self, order: Order, patch: Patch, canvas: Canvas, draft: Draft | None, ask: Ask, close: Callable[[], None]
    ) -> None:
        self.order, self.patch, self.canvas = order, patch, canvas
        self.activity = Activity(order.idle_s, draft.active_s if draft else 0.0, draft.clicks if draft else 0)
        self.seen: tuple[int, int] | None = draft.seen if draft else None
        self.outcome: Outcome | None = None
        self._ask, self._close = ask, close
        self._began = time.monotonic()
        self._work = Path(order.work)
        self._kept = (draft.labels if draft else patch.pseudo, draft.uncommitted if draft else None)
        self._has_draft = draft is not None
        self.n_objects = _count(self._kept[0][self.patch.inside])
        """Objects in the label when it was last kept, those in the margin alone left out."""
        if draft is not None and draft.uncommitted is not None and canvas.state is not None:
            canvas.put(CURRENT, draft.uncommitted)

    # drafts

    def keep(self) -> bool:
        """Write a draft if anything was drawn since the last one; True when there is a draft now."""
        labels, uncommitted = self._labels(), self._drawn(CURRENT)
        self.n_objects = _count(labels[self.patch.inside])
        if not (np.array_equal(labels, self._kept[0]) and _same(uncommitted, self._kept[1])):
            about = (self.order.user, time.time(), self.activity.active_s, self.activity.clicks, self.seen)
            save_draft(self._work, Draft(labels, uncommitted, *about))
            self._kept, self._has_draft = (labels, uncommitted), True
        return self._has_draft

    def start_again(self) -> None:
        """Back to the pseudo-label; the draft stays on the disk until something new is drawn."""
        self.canvas.put(COMMITTED, self.patch.pseudo)

    # ways to end

    def submit(self, goes_on: bool) -> None:
        """Hand in what is drawn. Asks about what was not committed, and about a label that holds nothing."""
        for name in (CURRENT, AUTOMATIC):
            if self._drawn(name) is not None:
                question = f"{name} holds something that was not committed. It is no part of the label."
                answer = self._ask(question, ("Commit it and hand in", "Hand in without it", "Back to work"))
                if answer == 2:
                    return
                if answer == 0:
                    self.canvas.commit(name)
        label = counting(self._labels(), self.patch)
        if label.any():
            self._hand_in("submit", label, goes_on)
            return
        question = "There is no object in the label (what lies in the margin does not count)."
        if self._ask(question, ("There is really none here", "Back to work")) == 0:
            self._hand_in("empty", label, goes_on)

    def nothing_here(self, goes_on: bool) -> None:
        """Hand in an empty label on purpose. Asks when something was drawn."""
        label = counting(self._labels(), self.patch)
        n = _count(label)
        question = f"{n} objects are in the label, some perhaps of the pseudo-label."
        if n == 0 or self._ask(question, ("They are wrong: there is no object here", "Back to work")) == 0:
            self._hand_in("empty", np.zeros_like(label), goes_on)

    def skip(self, reason_kind: str, reason: str) -> None:
        """No answer to this patch; what was drawn is kept."""
        self._end(Outcome("skip", self.order.goes_on, reason_kind, reason))

    def closing(self) -> bool:
        """The window is about to close, whoever asked for it: the last moment at which its layers hold anything. False when it
        had better stay open: nothing could be written, and the person wants to see to that first."""
        if self.outcome is not None or self._end(Outcome("closed")):
            return True
        return self._ask("Close all the same?", ("Close, and lose what was drawn since then", "Back to work")) == 0

    def _hand_in(self, answer: str, label: Labels, goes_on: bool) -> None:
        self._end(Outcome(answer, goes_on), label)

    def _end(self, outcome: Outcome, label: Labels | None = None) -> bool:
        """Write everything, then close. False when the disk would not take it: the window stays open."""
        try:
            if label is not None:
                about = {"suggestion": self.order.suggestion, "user": self.order.user, "tool": self.tool}
                write_labels(self._work / LABEL, label, about)
            self._write(outcome)
        except OSError as e:
            self.outcome = None
            self._ask(
                f"{self._work}: cannot be written ({e.strerror or e}). Make some room, and try again.", ("Go back",)
            )
            return False
        if outcome.answer != "closed":
            self._close()
        return True

    def _write(self, outcome: Outcome) -> None:
        draft = self.keep()
        work = {
            "active_s": round(self.activity.active_s, 1),
            "clicks": self.activity.clicks,
            "changed_voxels": changed_voxels(
                self._labels() if outcome.answer != "empty" else _nothing(self.patch), self.patch
            ),
            "open_s": round(time.monotonic() - self._began, 1),
        }
        self.outcome = Outcome(
            outcome.answer,
            outcome.goes_on,
            outcome.reason_kind,
            outcome.reason,
            draft,
            self.seen_of_patch(),
            work,
            self.tool,
        )
        self.outcome.save(self._work)

    # what is drawn

    @property
    def tool(self) -> str:
        """What drew it, for the record."""
        weights = self.order.weights
        return f"alscope annotate, micro_sam {weights.name}" if weights else "alscope annotate, napari"

    def seen_of_patch(self) -> tuple[int, int] | None:
        """Slices that were looked at, counted in the patch without its margin; None = all."""
        inside = self.patch.inside[0]
        if self.seen is None:
            return None
        first, last = (min(max(z, inside.start), inside.stop - 1) - inside.start for z in sorted(self.seen))
        return None if (first, last) == (0, inside.stop - inside.start - 1) else (first, last)

    def _labels(self) -> Labels:
        return self.canvas.layer(COMMITTED)

    def _drawn(self, name: str) -> Labels | None:
        found = self.canvas.layer(name) if name in self.canvas.layers else None
        return found if found is not None and found.any() else None


def _count(labels: Labels) -> int:
    """Objects in a label."""
    ids = np.unique(labels)
    return len(ids) - int(bool(len(ids)) and ids[0] == 0)


def _nothing(patch: Patch) -> Labels:
    return np.zeros(patch.shape, np.uint32)


def _same(a: Labels | None, b: Labels | None) -> bool:
    return (a is None) == (b is None) and (a is None or b is None or np.array_equal(a, b))
