"""Claims: random lives of a few suggestions in the hands of three people, against a model in plain dictionaries."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from daemon.commands_annotation import VERBS, NotForYouError, TakenError
from daemon.errors import AlscopeError, IllegalTransitionError
from daemon.store.rows import Picked
from daemon.store.schema_claims import SKIP_REASONS, TAKEN_BACK
from daemon.store.store import Store
from daemon.workspace import Workspace
from tests.daemon.sightings import settled

USERS = ("ana", "ben", "cleo")
IDS = ("s00001", "s00002", "s00003")
LEASE_S = 600.0
INFO = {"shape": [1, 8, 64, 64], "dtype": "uint8", "voxel_um": None, "voxel_source": "unknown", "stats": []}


def filled(root: Path, n: int = len(IDS)) -> Any:
    """What the verbs need of an engine, with n published suggestions of one volume."""
    workspace = Workspace(root)
    workspace.make()
    store = Store(root)
    store.sources.settled(settled(b"/in/a.tif", "x"), 1.0)
    (source,) = store.sources.to_read(True)
    store.learning.add_artifact("volume-1", "volume", 1, 0.1, 1.0)
    patches = [{"start": [0, 0, 16 * i], "shape": [8, 64, 16]} for i in range(n)]
    volume = {"info": INFO | {"sha256": "aa"}, "patches": patches, "notes": [], "part": "", "folder": "", "read": {}}
    (made,) = store.volumes.ingest(source.id, "x", "volume-1", {"volumes": [volume], "refused": []}, 1.0)
    for name in store.annotation.suggest([Picked(made, i, 0.5, "far") for i in range(n)], 1.0):
        store.learning.add_artifact(f"package-{name}", "package", 1, 0.1, 1.0)
        store.annotation.packaged(name, f"package-{name}")
        store.annotation.set_published(name, True)
    said = SimpleNamespace(annotation=SimpleNamespace(lease_min=LEASE_S / 60))
    return SimpleNamespace(store=store, workspace=workspace, settings=said)


@pytest.fixture
def engine(tmp_path):
    made = filled(tmp_path)
    yield made
    made.store.close()


def ask(engine: Any, verb: str, now: float = 5.0, **arguments: Any) -> str:
    return VERBS[verb](engine, arguments, now)


def given(engine: Any, user: str, **more: Any) -> Any:
    return json.loads(ask(engine, "claim", user=user, **more))


def receive(engine: Any, suggestion: str, author: str, now: float = 6.0) -> int:
    asked = engine.store.annotation.suggestion(suggestion)
    return engine.store.labels.receive(asked, b"/ws/inbox/x.tif", "sha", {"user": author} if author else {}, now)


def accept(engine: Any, number: int, now: float = 7.0) -> None:
    (received,) = engine.store.labels.received("id = ?", [number])
    engine.store.learning.add_artifact(f"label-{number}", "label", 1, 0.1, now)
    engine.store.labels.accept(received, f"label-{number}", "train", 3, [], now)


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
            self.refused(IllegalTransitionError, "skip", **wish)
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


def test_taking_over_tells_who_lost_and_keeps_both_labels(engine):
    given(engine, "ana", id="s00001")
    with pytest.raises(TakenError, match=r"ana has s00001, for about 10 more min .*--take-over"):
        given(engine, "ben", id="s00001")
    given(engine, "ben", id="s00001", take_over=True)
    with pytest.raises(TakenError, match=r"ben has s00001.*your label is kept as well"):
        ask(engine, "renew", user="ana", id="s00001")
    mine = engine.store.claims.latest_of("s00001", "ana")
    assert (mine.ended, mine.ended_by) == ("taken over", "ben")
    accept(engine, receive(engine, "s00001", "ana"))
    accept(engine, receive(engine, "s00001", "ben"))
    rows = list(engine.store.labels._db.query("SELECT author, superseded_by FROM label ORDER BY id"))
    assert rows == [{"author": "ana", "superseded_by": 2}, {"author": "ben", "superseded_by": None}]
    events = [r["message"] for r in engine.store.state._db.query("SELECT message FROM event WHERE kind = 'claim'")]
    assert events == ["ben took s00001 over from ana; a label that ana still saves is kept as well"]


def test_a_label_that_does_not_say_by_whom_is_by_the_one_who_has_the_patch(engine):
    given(engine, "ana", id="s00001")
    number = receive(engine, "s00001", "")
    assert engine.store.labels.received("id = ?", [number])[0].author == "ana"
    ended = engine.store.claims.latest_of("s00001", "ana")
    assert (ended.ended, ended.ended_by) == ("answered", "ana")


def test_a_patch_whose_label_lies_in_the_inbox_is_not_given_out(engine):
    (engine.workspace.inbox / "s00001.tif").write_bytes(b"being saved")
    given(engine, "ana", id="s00002")
    assert given(engine, "ben") == {"id": "s00003"}
    (engine.workspace.inbox / "s00002.nrrd").write_bytes(b"done")
    assert "nothing" in given(engine, "ana")  # what she has is answered, the rest is taken
    with pytest.raises(NotForYouError, match="just being checked"):
        given(engine, "cleo", id="s00001")


@pytest.mark.parametrize(
    ("before", "says"),
    [
        (lambda e: None, ""),
        (lambda e: [given(e, "ben", id=s) for s in IDS], "3 patches are in the hands"),
        (lambda e: [receive(e, s, "ben") for s in IDS], "3 patches are just being checked"),
        (lambda e: [e.store.annotation.set_published(s, False) for s in IDS], "3 patches are being prepared for you"),
    ],
    ids=["ready", "claimed", "checked", "prepared"],
)
def test_nothing_to_give_is_said_in_friendly_words(engine, before, says):
    engine.store.jobs.want(embedded(), 2.0)
    engine.store.jobs.claim(1, "me", 2.0)
    engine.store.jobs.done(1, {}, 3.0)
    before(engine)
    answer = given(engine, "ana")
    assert ("nothing" in answer) == bool(says)
    assert says in answer.get("nothing", "")


def embedded() -> Any:
    from daemon.store.rows import Wanted

    return Wanted("embedding", "volume:1", {}, {}, 50, "spec", 1)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO claim (suggestion_id, user, since, left_s) VALUES ('s00002', 'ben', 1, 1)",  # which is open
        "INSERT INTO claim (suggestion_id, user, since, left_s) VALUES ('s00001', 'ben', 1, 1)",  # which ana has
        "UPDATE suggestion SET state = 'open' WHERE id = 's00001'",  # while ana has it
        "UPDATE claim SET user = ''",
        "UPDATE claim SET left_s = -1",
        "UPDATE claim SET ended = 'forgotten', ended_at = 1",
        "UPDATE claim SET ended = 'released'",  # without when
        "UPDATE suggestion SET skip_kind = 'artefact' WHERE id = 's00002'",  # which nobody skipped
        "UPDATE suggestion SET state = 'skipped', skip_kind = 'ugly' WHERE id = 's00002'",
        "INSERT INTO suggestion (id, patch_id, rank, reason, state, created_at, changed_at) VALUES ('s9', 1, 9, '', 'open', 1, 1)",
        "INSERT INTO suggestion (id, patch_id, rank, reason, state, created_at, changed_at, repeat_of)"
        " VALUES ('s9', 2, 9, '', 'open', 1, 1, 's00001')",  # of another patch
        "INSERT INTO agreement (first, second, counts, f1, dice, at) VALUES ('a', 'volume-1', '{}', 1.2, 1, 1)",
    ],
)
def test_rows_that_mean_nothing_cannot_be_stored(engine, sql):
    given(engine, "ana", id="s00001")
    with pytest.raises(sqlite3.IntegrityError):
        engine.store.claims._db.conn.execute(sql)


def test_a_suggestion_that_was_taken_back_may_come_again_under_its_name(engine):
    annotation = engine.store.annotation
    annotation.take_back("s00002", "others teach more", 4.0)
    volume = annotation.suggestion("s00002").patch.volume_id
    assert engine.store.selection.covered() == {volume: [0, 2]}
    assert (engine.store.selection.n_made(), engine.store.selection.skipped(*SKIP_REASONS)) == (2, {})
    annotation.set_published("s00002", False)
    assert annotation.suggest([Picked(volume, 1, 0.9, "far now", why={"minutes": 2.0})], 5.0, "level") == ["s00002"]
    again = annotation.suggestion("s00002")
    assert (again.state, again.rank, again.reason, again.package) == ("open", 4, "far now", None)
    assert annotation.suggest([Picked(volume, 1, 0.9, "far now")], 6.0) == []
    (row,) = annotation._db.query("SELECT skip_kind, level FROM suggestion WHERE id = 's00002'")
    assert row == {"skip_kind": "", "level": "level"}
    assert TAKEN_BACK not in SKIP_REASONS


def test_a_claimed_suggestion_is_never_taken_back(engine):
    given(engine, "ana", id="s00001")
    volume = engine.store.annotation.suggestion("s00001").patch.volume_id
    assert engine.store.annotation.open_id(volume, 0) is None
    assert engine.store.selection.waiting("level") == {volume: [1, 2]}
    engine.store.selection.considered(volume, [1], "level")
    assert engine.store.selection.waiting("level") == {volume: [2]}


@pytest.mark.parametrize("how", ["released", "expired"])
def test_a_rejected_label_is_still_to_be_mended_after_somebody_had_a_look(engine, how):
    number = receive(engine, "s00002", "ana")
    (received,) = engine.store.labels.received("id = ?", [number])
    engine.store.labels.reject(received, "wrong shape", 7.0)
    assert given(engine, "ben") == {"id": "s00001"}  # not his to mend
    assert given(engine, "ana") == {"id": "s00002"}
    if how == "released":
        ask(engine, "release", user="ana", id="s00002")
    else:
        engine.store.claims.pass_time(LEASE_S, 8.0)
    (row,) = engine.store.claims._db.query("SELECT state, note FROM suggestion WHERE id = 's00002'")
    assert row == {"state": "rejected", "note": "wrong shape"}
