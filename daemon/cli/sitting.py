"""One person at the annotation window: patch after patch is claimed, opened, and handed in or given back."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alcore.annotate.draft_files import DraftInUseError, Stamp, drafts_of, forget_unchanged, one_window, own_folder
from alcore.annotate.order import LABEL, WORD, Order, Outcome
from alcore.annotate.weights import INSTALL, missing_window
from daemon.cli import claiming, inbox
from daemon.cli.output import say
from daemon.cli.queue import find
from daemon.cli.session import Session
from daemon.cli.window_process import PROGRAM, WindowProcess
from daemon.errors import AlscopeError, NotRunningError, WorkspaceError
from daemon.keys import ending_on_signals
from daemon.look import reading
from daemon.store.listing import newest_received
from daemon.workspace import read_holder

RENEW_S = 60.0
HOLDER_S = 5.0
VERDICT_S = 60.0
POLL_S = 0.2
REJECTED = 65


class NoWindowError(AlscopeError):
    """A window cannot be opened here."""


@dataclass(frozen=True)
class _HandedIn:
    suggestion: str
    before: int
    digest: str
    drafts: dict[Path, Stamp | None]


class Sitting:
    """user: "" = who is logged in. plain: without Segment Anything. program: command line that opens a window."""

    def __init__(self, session: Session, user: str, plain: bool, program: Sequence[str] = PROGRAM) -> None:
        self._session, self._user, self._plain = session, claiming.named(user or claiming.login()), plain
        self._drafts = session.workspace.drafts
        self._log = self._drafts / f"window-{os.getpid()}.log"
        self._window = WindowProcess(program, self._log)
        self._handed_in: list[_HandedIn] = []
        self._news: list[str] = []
        self._rejected = False
        self._renewed = self._asked = 0.0

    def run(self, suggestion_id: str | None, take_over: bool) -> int:
        """Until the person has had enough, or nothing waits. Raises AlscopeError when it cannot even begin."""
        self._can_open(suggestion_id)
        self._drafts.mkdir(exist_ok=True)
        try:
            with ending_on_signals():
                self._window.prepare(False)  # what follows here takes less time than its libraries
                self._prepare()
                try:
                    self._patches(suggestion_id, take_over)
                except (AlscopeError, OSError):
                    self._last_verdicts()  # what was handed in before is heard of all the same
                    raise
                self._last_verdicts()
        finally:
            self._window.close()
        self._log.unlink(missing_ok=True)
        return REJECTED if self._rejected else 0

    def _can_open(self, suggestion_id: str | None) -> None:
        if absent := missing_window():
            raise NoWindowError(f"the annotation window needs {', '.join(absent)}, not installed: {INSTALL}")
        screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
        if sys.platform.startswith("linux") and not screen:
            raise NoWindowError(
                "there is no screen here (DISPLAY is not set): sit at a machine that has one, or use `ssh -X`; labels from any "
                "other tool are taken, too (`alscope label add`)"
            )
        workspace = self._session.workspace
        if not workspace.commands.is_dir():
            raise WorkspaceError(f"{workspace.root}: no workspace here yet; start the daemon with `alscope run`")
        if suggestion_id is not None:
            find(self._session, suggestion_id)
        if read_holder(workspace.lock_file) is None:
            raise NotRunningError("the daemon is not running: start it with `alscope run`, it hands out the patches")

    def _prepare(self) -> None:
        """Say which window will open, and have the right libraries loaded."""
        if self._plain:
            return
        from daemon.cli.annotation_order import weights_of  # the whole configuration with it, while the window loads

        weights, why = weights_of(self._session)
        if weights is None:
            say((f"opening plain napari: {why}", "dim"))
        else:
            self._window.prepare(True)

    def _patches(self, suggestion_id: str | None, take_over: bool) -> None:
        wanted, first = suggestion_id, True
        while True:
            try:
                claimed = claiming.claim(self._session, wanted, self._user, take_over and first)
            except claiming.NothingWaitsError as e:
                say(str(e))
                return
            except NotRunningError:
                if first:
                    raise
                say("the daemon is not running any more: `alscope run`; what you handed in waits in the inbox")
                return
            self._hear(wait_s=0.0)
            if not self._work_on(claimed, goes_on=suggestion_id is None):
                return
            wanted, first = None, False

    def _work_on(self, claimed: str, goes_on: bool) -> bool:
        """Open a patch and act on what the person decided; True when they want another one. Raises NoWindowError, and leaves the
        claim to the other window, when this person has the patch open already."""
        try:
            with one_window(own_folder(self._drafts / claimed, self._user)):
                outcome = self._open(claimed, goes_on)
                return outcome is not None and self._settle(claimed, outcome)
        except DraftInUseError as e:
            raise NoWindowError(
                f"{claimed}: {self._user} has it open in another window; go on there, close it first, or name another patch"
            ) from e

    def _open(self, claimed: str, goes_on: bool) -> Outcome | None:
        """Let the person work on a patch that is theirs. However this ends, they have it no longer than they work on it."""
        from daemon.cli.annotation_order import order_for

        answered = False
        try:
            order = order_for(self._session, claimed, self._user, self._plain, goes_on, self._news)
            self._news = []
            self._renewed = self._asked = time.monotonic()
            outcome = self._window.run(order, goes_on, lambda open_s: self._meanwhile(order))
            answered = outcome is not None and outcome.answer in ("submit", "empty", "skip")
        finally:
            if not answered:
                claiming.release(self._session, claimed, self._user)
        if outcome is None:
            words = self._window.last_words()
            raise NoWindowError(
                f"{claimed}: the window ended without a word ({words}); its draft is kept, the patch is back in the queue, "
                f"and {self._log} may tell why"
            )
        return outcome

    def _meanwhile(self, order: Order) -> None:
        """Keep the claim alive, and say when somebody took it over."""
        now = time.monotonic()
        if now - self._renewed >= RENEW_S:
            self._renewed = now
            claiming.renew(self._session, order.suggestion, self._user)
        if now - self._asked >= HOLDER_S:
            self._asked = now
            held = claiming.holder(self._session, order.suggestion)
            if held is not None and held.user != self._user:
                text = f"{held.user} has taken this patch over; your label is kept as well when you hand it in"
                (Path(order.work) / WORD).write_text(text)

    def _settle(self, claimed: str, outcome: Outcome) -> bool:
        """What the person decided is told to the daemon; True when they want another patch."""
        if outcome.answer == "skip":
            return self._skip(claimed, outcome)
        if outcome.answer in ("submit", "empty"):
            return self._hand_in(claimed, outcome)
        kept = "; your draft is kept" if outcome.draft else ""
        say(f"{claimed}: closed without handing in{kept}, the patch is back in the queue")
        return outcome.goes_on

    def _skip(self, claimed: str, outcome: Outcome) -> bool:
        try:
            claiming.skip(self._session, claimed, self._user, outcome.reason_kind, outcome.reason, outcome.work)
        except NotRunningError as e:
            say(str(e))
            return False
        except AlscopeError as e:  # taken over, or answered elsewhere, in the meantime
            self._not_taken(claimed, "skipped", str(e), outcome)
            return outcome.goes_on
        say(f"{claimed}: skipped ({outcome.reason_kind})")
        return outcome.goes_on

    def _hand_in(self, claimed: str, outcome: Outcome) -> bool:
        work = own_folder(self._drafts / claimed, self._user)
        try:
            with reading(self._session.workspace.root) as db:
                before = newest_received(db)
            digest = inbox.put(self._session, work / LABEL, claimed, _note(self._user, outcome))
        except AlscopeError as e:  # another label of it waits there
            self._rejected = True
            self._not_taken(claimed, "handed in", str(e), outcome)
            return outcome.goes_on
        except BaseException:
            claiming.release(self._session, claimed, self._user)
            raise
        (work / LABEL).unlink(missing_ok=True)
        drafts = drafts_of(self._drafts / claimed, self._user)
        self._handed_in.append(_HandedIn(claimed, before, digest, drafts))
        minutes = outcome.work["active_s"] / 60
        say(f"{claimed}: handed in after {minutes:.1f} min of work")
        return outcome.goes_on

    def _not_taken(self, claimed: str, what: str, why: str, outcome: Outcome) -> None:
        """Say here and in the next window that an answer was not taken; other patches wait."""
        claiming.release(self._session, claimed, self._user)
        kept = "; your draft is kept" if outcome.draft else ""
        self._news.append(f"{claimed}: not {what} ({why}){kept}")
        say(self._news[-1])

    def _last_verdicts(self) -> None:
        self._hear(VERDICT_S)
        for left in self._handed_in:
            say(f"{left.suggestion}: not checked yet; it is kept, and `alscope label list` tells what became of it")

    def _hear(self, wait_s: float) -> None:
        """What became of the labels that were handed in, on the terminal and in the next window; a draft goes once its label
        was accepted."""
        until = time.monotonic() + wait_s
        while self._handed_in:
            for label in list(self._handed_in):
                found = inbox.verdict(self._session, label.suggestion, label.before, label.digest)
                if found is None:
                    continue
                state, words = found
                self._handed_in.remove(label)
                self._news.append(f"{label.suggestion}: {words}")
                say(self._news[-1])
                if state == "accepted":
                    forget_unchanged(label.drafts)
                else:
                    self._rejected = True
            if time.monotonic() >= until:
                return
            time.sleep(POLL_S)


def _note(user: str, outcome: Outcome) -> dict[str, Any]:
    """What is said with a label, see `daemon.commands.leave_label_note`."""
    note: dict[str, Any] = {
        "empty": outcome.answer == "empty",
        "user": user,
        "tool": outcome.tool,
        "work": outcome.work,
    }
    if outcome.seen is not None:
        note["seen"] = {"z": list(outcome.seen)}
    return note
