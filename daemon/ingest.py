"""The scan that finds every acquisition, and the settling that waits until it is whole. In a thread of its own; only reports."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alcore.fileset import Fingerprint, fingerprint_of
from daemon.arrival import Arriving, Gone, Identified, Known, Reachable, Settled
from daemon.leases import any_open_for_writing
from daemon.sets import Sets
from daemon.settle import Answer, Settling, quiet_needed, settle
from daemon.walk import (
    INBOX,
    Folder,
    Found,
    change_times_s,
    is_marked,
    missing_members,
    newest_files,
    walk,
)

log = logging.getLogger("alscope.ingest")

TICK_S = 0.5
"""How often candidates (not the whole folder) are looked at while there are any."""
SHARE = 0.1
"""At most this share of the time is spent looking: after a look that took 1 s, the next one is 10 s later."""
TIMED_SHARE = 0.0025
"""At most this share of a core is spent on scans that no event asked for: after one that took 0.2 s, the next is 80 s later."""
TIMED_AT_LEAST_S = 300.0
"""So often there is one, however long they take."""
REMIND_S = 2.0
"""A settled file that nobody has acknowledged is reported again, and a growing one as often."""
LEASES = 64
"""So many files of a fileset, the newest, are asked about writers."""


@dataclass
class _Candidate:
    """An acquisition that is waited for. due: when (monotonic) it is looked at next. told: what was reported, and when."""

    settling: Settling
    whole_folder: bool
    due: float = 0.0
    told: tuple[str, str] = ("", "")
    told_at: float = float("-inf")


@dataclass
class _FolderState:
    candidates: dict[bytes, _Candidate] = field(default_factory=dict)
    error: str | None = None
    blocked: dict[bytes, str] = field(default_factory=dict)


class Ingest(threading.Thread):
    """Scans the folders when woken (by an event, a timer or a person); between scans looks only at the candidates."""

    def __init__(
        self,
        folders: Sequence[Folder],
        report: Callable[[Any], None],
        known: Mapping[bytes, Known],
        identities: Mapping[Path, str] | None = None,
    ) -> None:
        super().__init__(name="ingest", daemon=True)
        self._folders = {folder: _FolderState() for folder in folders}
        self._report = report
        self._known = {path: _parsed(k.fingerprint) for path, k in known.items()}  # None: has to settle
        self._gone = {path for path, k in known.items() if k.gone}
        self._said: dict[
            bytes, str
        ] = {}  # the last word on it, unless acknowledged: its fingerprint when whole, else ""
        self._sets = Sets()
        self._identities = dict(identities or {})
        self._scanned = (float("-inf"), 0.0)  # when (monotonic) the last scan was, and the processor seconds it took
        self._lock = threading.RLock()
        self._woken = threading.Event()
        self._woken.set()  # the first scan needs no hint
        self._ended = threading.Event()
        for path, k in known.items():
            if k.members is not None:
                self._sets.gather(path, k.members)

    def wake(self) -> None:
        """Something may have happened: scan soon."""
        self._woken.set()

    def was_dear(self) -> bool:
        """Did the last scan take so much of a core, so lately, that one without a reason can wait?"""
        at, took_s = self._scanned
        return time.monotonic() - at < min(took_s / TIMED_SHARE, TIMED_AT_LEAST_S)

    def acknowledge(self, path: bytes, fingerprint: str) -> None:
        """This acquisition, as it is, needs no more settling."""
        with self._lock:
            if self._said.get(path, fingerprint) == fingerprint:  # else something else was said of it meanwhile
                self._known[path] = _parsed(fingerprint)
                self._said.pop(path, None)

    def forget(self, path: bytes) -> None:
        """Let the acquisition settle afresh, if it is there."""
        with self._lock:
            self._known[path] = None
        self.wake()

    def set_members(self, owner: bytes, members: tuple[str, ...] | None) -> None:
        """From now on the file `owner` stands for a set of files in its folder, or (None) for itself alone."""
        with self._lock:
            if members is None:
                if not self._sets.scatter(owner):
                    return
            else:
                for path in self._sets.gather(owner, members):
                    self._sets.scatter(path)
                    self._known.pop(path, None)
            self._known[owner] = None
            self._gone.discard(owner)  # the store takes it for there; the scan tells if it is not
        self.wake()

    def is_apart(self, path: bytes) -> bool:
        """Does another file stand for this one?"""
        return self._sets.is_apart(path)

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._woken.set()
        self.join()

    def run(self) -> None:
        """Until closed: look, report, wait."""
        not_before = 0.0
        while not self._ended.is_set():
            began, used = time.monotonic(), time.thread_time()
            hinted = self._woken.is_set() and began >= not_before
            if hinted:
                self._woken.clear()
            for folder, state in self._folders.items():
                try:
                    self._look(folder, state, hinted)
                except Exception:
                    log.exception("scan of %s failed; it is tried again", folder.path)
            now = time.monotonic()
            if hinted:
                self._scanned = now, time.thread_time() - used
                # a burst of events passes before the folder is walked again, and a large folder is walked less often
                not_before = now + max(0.1, (now - began) / SHARE)
            self._rest(now, not_before)

    def _rest(self, now: float, not_before: float) -> None:
        """Sleep until something is due, or until a hint comes, but not before the next scan may begin."""
        with self._lock:
            due = min((c.due for s in self._folders.values() for c in s.candidates.values()), default=None)
        if self._woken.is_set():
            due = not_before if due is None else min(due, not_before)
            self._ended.wait(max(0.0, due - now))
        elif due is None:
            self._woken.wait()
        else:
            self._woken.wait(max(0.0, due - now))

    def _look(self, folder: Folder, state: _FolderState, hinted: bool) -> None:
        if hinted:
            self._scan(folder, state)
        began = time.monotonic()
        due = [path for path, candidate in state.candidates.items() if candidate.due <= began]
        for path in due:
            before = time.monotonic()
            candidate = state.candidates[path]
            candidate.due = before + REMIND_S  # whatever happens in this look
            self._consider(folder, state, path, before)
            took = time.monotonic() - before
            candidate.due = max(candidate.due, before + took / SHARE)
        if len(due) > 100:  # very many at once: look at them less often
            pause = (time.monotonic() - began) / SHARE
            for path in due:
                if path in state.candidates:
                    candidate = state.candidates[path]
                    candidate.due = max(candidate.due, began + min(pause, 5.0))

    # the scan

    def _scan(self, folder: Folder, state: _FolderState) -> None:
        """Walk the whole folder: new and changed acquisitions become candidates, missing ones are reported."""
        root = os.fsencode(folder.path)
        blocked: dict[bytes, str] = {}
        try:
            identity = identity_of(root)
            seen = {f.path: f for f in walk(folder, self._sets, blocked.__setitem__)}
            error = ""
            if identity_of(root) != identity:  # mounted or unmounted meanwhile: this was half of each
                self.wake()
                return
        except OSError as e:
            identity, seen, error = "", {}, e.strerror or str(e)
        with self._lock:
            known = {p: f for p, f in self._known.items() if p.startswith(root + b"/") or p == root}
        there = known.keys() - self._gone
        before = self._identities.get(folder.path, identity)
        if not error and identity != before and 2 * len(seen.keys() & there) < len(there):
            error = "another folder is in its place, without most of what was in it: is its disk mounted?"
        self._tell_reachable(folder, state, error, blocked)
        if not error and self._identities.get(folder.path) != identity and folder.watch != INBOX:
            self._identities[folder.path] = identity
            self._report(Identified(folder.path, identity))
        self._compare(state, seen, known)
        if not error:
            self._miss(there - seen.keys(), blocked)

    def _compare(
        self, state: _FolderState, seen: Mapping[bytes, Found], known: Mapping[bytes, Fingerprint | None]
    ) -> None:
        """What is new or changed becomes a candidate, and stays one only while it is there."""
        standing = seen.keys() - state.candidates.keys() - self._gone
        settled = {path for path in standing if known.get(path) == seen[path].fingerprint}
        for path, found in seen.items():
            if path in settled and not self.is_apart(path):
                continue  # nearly all of them, at nearly every look
            with self._lock:
                if self.is_apart(path):
                    continue
                self._known.setdefault(path, None)
            if path in self._gone:
                self._gone.discard(path)
                self._report(Gone(path, False))
            if path in state.candidates:
                state.candidates[path].whole_folder = found.whole_folder  # a file may give way to a tree of its name
            elif known.get(path) != found.fingerprint:
                state.candidates[path] = _Candidate(Settling(found.fingerprint, time.monotonic()), found.whole_folder)
        for path in [p for p in state.candidates if p not in seen or self.is_apart(p)]:
            del state.candidates[path]

    def _miss(self, missing: Set[bytes], blocked: Mapping[bytes, str]) -> None:
        """Report what is not there any more; what lies where nobody can look may still be there."""
        hidden = tuple(path + b"/" for path in blocked)
        for path in missing:
            if path not in blocked and not path.startswith(hidden) and not self.is_apart(path):
                self._gone.add(path)
                self._report(Gone(path, True))

    def _tell_reachable(self, folder: Folder, state: _FolderState, error: str, blocked: Mapping[bytes, str]) -> None:
        if folder.watch == INBOX:
            return
        changed = error != state.error
        if changed:
            self._report(Reachable(folder.path, error))
            state.error = error
        if error:
            return  # nothing is known of the folders in it
        for path in state.blocked.keys() - blocked.keys():
            self._report(Reachable(Path(os.fsdecode(path)), ""))
        for path, why in blocked.items():
            if changed or state.blocked.get(path) != why:
                self._report(Reachable(Path(os.fsdecode(path)), why))
        state.blocked = dict(blocked)

    # the candidates

    def _consider(self, folder: Folder, state: _FolderState, path: bytes, now: float) -> None:
        """One look at a candidate."""
        candidate = state.candidates[path]
        with self._lock:
            members, known, apart = self._sets.members(path), self._known.get(path), self.is_apart(path)
        if apart:
            del state.candidates[path]
            return
        try:
            fingerprint = fingerprint_of(path, members)
        except OSError:
            fingerprint = None
        if fingerprint is None:
            self.wake()  # the scan tells what has become of it
            return
        if known == fingerprint:
            del state.candidates[path]
            return
        answer = self._settle(folder, candidate, path, members, fingerprint, now)
        candidate.settling = answer.state
        text, newest = fingerprint.to_text(), fingerprint.mtime_ns / 1e9
        quiet = now - answer.state.since
        candidate.due = now + min(TICK_S, max(0.01, answer.wait_s - quiet))
        if answer.whole:
            candidate.due = now + REMIND_S
            with self._lock:
                self._said[path] = text
            self._report(Settled(path, folder.watch, fingerprint.size, text, newest))
        elif candidate.told != (text, answer.why) and (
            _kind(candidate.told[1]) != _kind(answer.why) or now - candidate.told_at >= REMIND_S
        ):
            candidate.told, candidate.told_at = (text, answer.why), now
            since = time.time() - quiet
            with self._lock:
                self._said[path], self._known[path] = (
                    "",
                    None,
                )  # also if it becomes what it was: the store knows this now
            self._report(Arriving(path, folder.watch, fingerprint.size, text, newest, answer.why, since, answer.wait_s))

    def _settle(
        self,
        folder: Folder,
        candidate: _Candidate,
        path: bytes,
        members: tuple[str, ...] | None,
        fingerprint: Fingerprint,
        now: float,
    ) -> Answer:
        missing = missing_members(path, members) if members is not None else []
        marked = is_marked(path, members, folder)
        wait_s = quiet_needed(folder.settle_s, None, bool(missing), marked)
        answer = settle(candidate.settling, fingerprint, now, wait_s, None)
        may_grow = candidate.whole_folder or members is not None
        if answer.whole and may_grow and not missing and not marked:
            wait_s = quiet_needed(folder.settle_s, change_times_s(path, members), False, False)
            answer = settle(candidate.settling, fingerprint, now, wait_s, None)
        if answer.whole:
            writers = any_open_for_writing(newest_files(path, members, LEASES))
            answer = settle(candidate.settling, fingerprint, now, wait_s, writers)
        if missing and members is not None:
            names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            why = f"missing {len(missing)} of {len(members)} files: {names}"
            answer = Answer(answer.state, answer.whole, why, answer.wait_s)
        return answer


def identity_of(folder: bytes) -> str:
    """Which directory this is, the same after a remount or a reboot. Raises OSError."""
    return f"{os.stat(folder).st_ino}:{os.statvfs(folder).f_fsid}"


def _kind(why: str) -> str:
    """What sort of waiting it is: "growing,", "still", "missing", or "" while only the time has to pass."""
    return why.split(" ")[0] if why[:1].isalpha() else why[:1] and "-"


def _parsed(text: str) -> Fingerprint | None:
    return Fingerprint.from_json(json.loads(text)) if text else None
