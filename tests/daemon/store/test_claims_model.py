"""Claims: random lives of a few suggestions in the hands of two people, against a model in plain dictionaries."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from daemon.commands_annotation import NotForYouError, TakenError
from daemon.errors import AlscopeError, IllegalTransitionError
from daemon.store.schema_claims import SKIP_REASONS
from tests.daemon.store.claim_desk import IDS, LEASE_S, USERS, accept, ask, filled, given, receive

PEOPLE, FEW = USERS[:2], IDS[:2]
"""Few of both, so that they meet."""


class Claims(RuleBasedStateMachine):
    """The oracle knows states, holders with what is left to them, and label files; it shares no code with the store."""

    @initialize()
    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        self.engine = filled(Path(self.folder.name), len(FEW))
        self.state = dict.fromkeys(FEW, "open")
        self.holder: dict[str, str] = {}
        self.left: dict[str, float] = {}
        self.lost: set[tuple[str, str]] = set()  # (user, suggestion) whose last claim ran out
        self.files: list[tuple[str, str, str]] = []  # (suggestion, author, state), as they came
        self.now = 10.0

    def teardown(self):
        if hasattr(self, "engine"):
            self.engine.store.close()
            self.folder.cleanup()

    def own(self, user: str, name: str) -> None:
        self.state[name], self.holder[name], self.left[name] = "claimed", user, LEASE_S
        self.lost.discard((user, name))

    def give(self, name: str) -> None:
        """Back to the queue: to be mended if its last label was rejected."""
        del self.holder[name], self.left[name]
        last = [state for s, _, state in self.files if s == name][-1:]
        self.state[name] = "rejected" if last == ["rejected"] else "open"

    def refused(self, error: type[AlscopeError], verb: str, **arguments: Any) -> None:
        with pytest.raises(error):
            ask(self.engine, verb, self.now, **arguments)

    @rule(user=st.sampled_from(PEOPLE), name=st.sampled_from(FEW), take_over=st.booleans())
    def claim(self, user, name, take_over):
        self.now += 1
        wish = {"user": user, "id": name, "take_over": take_over}
        holder = self.holder.get(name)
        if holder not in (None, user) and not take_over:
            self.refused(TakenError, "claim", **wish)
        elif holder is None and self.state[name] not in ("open", "rejected"):
            self.refused(NotForYouError, "claim", **wish)
        else:
            assert given(self.engine, user, id=name, take_over=take_over) == {"id": name}
            self.own(user, name)

    @rule(user=st.sampled_from(PEOPLE))
    def claim_next(self, user):
        self.now += 1
        mine = [s for s in FEW if self.holder.get(s) == user]
        mend = [s for s in FEW if self.state[s] == "rejected" and [a for n, a, _ in self.files if n == s][-1] == user]
        free = [s for s in FEW if self.state[s] == "open"]
        answer = given(self.engine, user)
        if not (mine or mend or free):
            assert answer["nothing"]
            return
        assert answer["id"] in (mine or mend[:1] or free[:1])
        self.own(user, answer["id"])

    @rule(user=st.sampled_from(PEOPLE), name=st.sampled_from(FEW))
    def renew(self, user, name):
        self.now += 1
        if self.holder.get(name) == user or (self.state[name] == "open" and (user, name) in self.lost):
            ask(self.engine, "renew", self.now, user=user, id=name)
            self.own(user, name)
        else:
            self.refused(AlscopeError, "renew", user=user, id=name)

    @rule(user=st.sampled_from(PEOPLE), name=st.sampled_from(FEW))
    def release(self, user, name):
        self.now += 1
        holder = self.holder.get(name)
        if holder not in (None, user):
            self.refused(TakenError, "release", user=user, id=name)
            return
        ask(self.engine, "release", self.now, user=user, id=name)
        if holder == user:
            self.give(name)
            self.lost.discard((user, name))

    @rule(step=st.sampled_from([0.0, 301.0, 599.0, 600.0]))
    def time_passes(self, step):
        self.now += step
        gone = {c.suggestion for c in self.engine.store.claims.pass_time(step, self.now)}
        self.left = {s: left - step for s, left in self.left.items()}
        over = {s for s, left in self.left.items() if left <= 0}
        assert gone == over
        for name in over:
            self.lost.add((self.holder[name], name))
            self.give(name)

    @rule(name=st.sampled_from(FEW), author=st.sampled_from([*PEOPLE, ""]))
    def submit(self, name, author):
        """Anybody's label counts, whoever has the patch."""
        self.now += 1
        if self.state[name] == "submitted":
            with pytest.raises(IllegalTransitionError):
                receive(self.engine, name, author, self.now)
            return
        receive(self.engine, name, author, self.now)
        self.files.append((name, author or self.holder.get(name, ""), "checking"))
        self.holder.pop(name, None)
        self.left.pop(name, None)
        self.state[name] = "submitted"

    @rule(name=st.sampled_from(FEW), good=st.booleans())
    def check(self, name, good):
        number = next((i for i, f in enumerate(self.files, 1) if f[0] == name and f[2] == "checking"), None)
        if number is None:
            return
        self.now += 1
        if good:
            accept(self.engine, number, self.now)
        else:
            (received,) = self.engine.store.labels.received("id = ?", [number])
            self.engine.store.labels.reject(received, "wrong", self.now)
        self.state[name] = "accepted" if good else "rejected"
        self.files[number - 1] = (*self.files[number - 1][:2], self.state[name])

    @rule(user=st.sampled_from(PEOPLE), name=st.sampled_from(FEW), kind=st.sampled_from(SKIP_REASONS))
    def skip(self, user, name, kind):
        self.now += 1
        wish = {"user": user, "id": name, "kind": kind}
        if self.holder.get(name, user) != user:
            self.refused(TakenError, "skip", **wish)
        elif self.state[name] not in ("open", "claimed", "rejected"):
            self.refused(NotForYouError, "skip", **wish)
        else:
            ask(self.engine, "skip", self.now, **wish)
            self.holder.pop(name, None)
            self.left.pop(name, None)
            self.state[name] = "skipped"

    @invariant()
    def agree(self):
        if not hasattr(self, "engine"):
            return
        db = self.engine.store.claims._db
        assert {r["id"]: r["state"] for r in db.query("SELECT id, state FROM suggestion")} == self.state
        held = list(db.query("SELECT suggestion_id, user, left_s FROM claim WHERE ended IS NULL"))
        assert {r["suggestion_id"]: r["user"] for r in held} == self.holder
        assert {r["suggestion_id"]: r["left_s"] for r in held} == pytest.approx(self.left)
        rows = db.query("SELECT suggestion_id, author, state FROM received ORDER BY id")
        assert [(r["suggestion_id"], r["author"], r["state"]) for r in rows] == self.files
        counting = {r["s"] for r in db.query(
            "SELECT r.suggestion_id AS s FROM label l JOIN received r ON r.id = l.received_id WHERE l.superseded_by IS NULL"
        )}  # fmt: skip
        assert counting == {s for s, _, state in self.files if state == "accepted"}


Claims.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestClaims = Claims.TestCase
