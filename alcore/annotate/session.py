"""One patch under one person's hands: drafts, what counts as work, and the ways to end. Knows the viewer only as a `Canvas`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.annotate.activity import Activity
from alcore.annotate.canvas import AUTOMATIC, COMMITTED, CURRENT, Canvas
from alcore.annotate.draft_files import ASIDE
from alcore.annotate.drafts import Draft, read_draft, same_drawing, save_draft, write_labels
from alcore.annotate.order import LABEL, Order, Outcome
from alcore.annotate.others import merged
from alcore.annotate.patch import Patch, changed_voxels, counting

Labels = npt.NDArray[np.uint32]
Ask = Callable[[str, Sequence[str]], int]
"""(question, answers) -> number of the answer; the last one goes back to work."""
NOT_IN_THE_LABEL = "not in the label"
"""Name of the layer in which what other layers held comes back from a draft."""


class Session:
    """draft: what was kept of an earlier session, or None; of somebody else's the drawing is taken, not the time. close: closes
    the viewer, later."""

    def __init__(
        self, order: Order, patch: Patch, canvas: Canvas, draft: Draft | None, ask: Ask, close: Callable[[], None]
    ) -> None:
        self.order, self.patch, self.canvas = order, patch, canvas
        mine = draft if draft is not None and draft.user in ("", order.user) else None
        self.activity = Activity(order.idle_s, mine.active_s if mine else 0.0, mine.clicks if mine else 0)
        self.seen: tuple[int, int] | None = draft.seen if draft else None
        self.outcome: Outcome | None = None
        self._ask, self._close = ask, close
        self._began = time.monotonic()
        self._work = Path(order.work)
        self._has_draft = mine is not None
        self.set_apart = self._put_back(draft) if draft else []
        """What the draft held of layers that this viewer has not, each in a layer of its own now."""
        self._kept = self._drawing() if draft else Draft(patch.pseudo, None, order.user, 0.0)
        self.n_objects = _count(self._kept.labels[self.patch.inside])
        """Objects in the label when it was last kept, those in the margin alone left out."""

    # drafts

    def keep(self) -> bool:
        """Write a draft if anything was drawn, or said of what was looked at, since the last one; True when there is a draft now."""
        drawing = self._drawing()
        self.n_objects = _count(drawing.labels[self.patch.inside])
        if not same_drawing(drawing, self._kept):
            save_draft(self._work, drawing)
            self._kept, self._has_draft = drawing, True
        return self._has_draft

    def start_again(self) -> None:
        """Back to the pseudo-label, or to what was put aside when that was done before. Asks; what is drawn now is put aside."""
        folder = self._work / ASIDE
        aside = read_draft(folder, self.patch.shape)
        answers = ("Start again", *(("Take back what was put aside",) if aside else ()), "Back to work")
        question = f"Start again from the pseudo-label? What is drawn now is put aside, in {folder}."
        chosen = answers[self._ask(question, answers)]
        if chosen == "Back to work":
            return
        now = self._drawing()
        blank = Draft(self.patch.pseudo, None, now.user, now.saved_at, seen=now.seen, others=now.others)
        try:
            if not same_drawing(now, blank):
                save_draft(folder, now)
        except OSError as e:
            self._ask(f"{folder}: cannot be written ({e.strerror or e}); nothing was changed.", ("Go back",))
            return
        then = aside if aside is not None and chosen != "Start again" else blank
        self.canvas.put(COMMITTED, then.labels)
        for name in (CURRENT, AUTOMATIC):
            if self._drawn(name) is not None:
                self.canvas.put(name, _nothing(self.patch))
        self._put_back(replace(then, others=then.others if now.others is None else None))

    # ways to end

    def submit(self, goes_on: bool) -> None:
        """Hand in what is drawn. Asks about what is drawn and no part of the label, and about a label that holds nothing, or
        nothing but the pseudo-label."""
        for name in (AUTOMATIC, CURRENT):  # in this order: the automatic one must not take the place of what was drawn
            if self._drawn(name) is not None:
                question = f"{name} holds something that was not committed. It is no part of the label."
                answer = self._ask(question, ("Commit it and hand in", "Hand in without it", "Back to work"))
                if answer == 2:
                    return
                if answer == 0:
                    self.canvas.commit(name)
        for name in self.canvas.others.drawn():
            question = f'The layer "{name}" holds something. It is no part of the label.'
            answer = self._ask(question, ("Add it where the label is empty", "Leave it out", "Back to work"))
            if answer == 2:
                return
            if answer == 0:
                self.canvas.merge(name)
        label = counting(self._labels(), self.patch)
        if label.any():
            question = "Nothing was changed: the label is the pseudo-label as it was made, without any correction."
            if changed_voxels(label, self.patch) or self._ask(question, ("It is right as it is", "Back to work")) == 0:
                self._hand_in("submit", label, goes_on)
            return
        question = "There is no object in the label (what lies in the margin does not count)."
        if self._ask(question, ("There is really none here", "Back to work")) == 0:
            self._hand_in("empty", label, goes_on)

    def nothing_here(self, goes_on: bool) -> None:
        """Hand in an empty label on purpose. Asks when something was drawn."""
        label = counting(self._labels(), self.patch)
        n = _count(label)
        apart = [name for name in (AUTOMATIC, CURRENT) if self._drawn(name) is not None] + [*self.canvas.others.drawn()]
        question = f"{n} objects are in the label, some perhaps of the pseudo-label."
        if apart:
            question += f" More was drawn and is no part of it: {', '.join(apart)}."
        if (n == 0 and not apart) or self._ask(
            question, ("They are wrong: there is no object here", "Back to work")
        ) == 0:
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

    def _drawing(self) -> Draft:
        """All there is at this moment."""
        return Draft(
            self._labels(),
            self._drawn(CURRENT),
            self.order.user,
            time.time(),
            self.activity.active_s,
            self.activity.clicks,
            self.seen,
            self._drawn(AUTOMATIC),
            self._others(),
        )

    def _put_back(self, draft: Draft) -> list[str]:
        """Lay out what of a draft is no part of the label; returns what had to be set apart."""
        apart = []
        beside = {CURRENT: draft.uncommitted, AUTOMATIC: draft.automatic, NOT_IN_THE_LABEL: draft.others}
        for name, drawn in beside.items():
            if drawn is not None and name in self.canvas.layers:
                self.canvas.put(name, drawn)
            elif drawn is not None:
                self.canvas.others.show(name, drawn)
                apart.append(name)
        return apart

    def _others(self) -> Labels | None:
        """What all layers hold that are no part of the label, in one array: where they overlap, what the first one holds."""
        found = None
        for drawn in self.canvas.others.drawn().values():
            found = drawn if found is None else merged(found, drawn)
        return found

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
