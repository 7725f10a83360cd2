"""The job table against its invariants, and against an independent model of it."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from daemon.errors import IllegalTransitionError
from daemon.machine import JOB_TRANSITIONS
from daemon.store.rows import Wanted
from daemon.store.store import Store


def test_one_recipe_is_one_job(store, want):
    assert store.jobs.want(want(1), 1.0) is not None
    assert store.jobs.want(want(1), 2.0) is None
    assert store.jobs.want(want(2), 2.0) is not None


def test_a_job_that_has_not_begun_is_as_urgent_as_it_is_wanted_now(store, want):
    first, second = (store.jobs.want(want(n, 10), 1.0) for n in (1, 2))
    store.jobs.claim(second, "me", 2.0)
    assert [store.jobs.want(want(n, 30), 3.0) for n in (1, 2)] == [None, None]
    assert [store.jobs.get(job_id).priority for job_id in (first, second)] == [30, 10]


def test_the_most_urgent_is_first_then_the_oldest(store, want):
    for n, priority in enumerate([10, 30, 20, 30]):
        store.jobs.want(want(n, priority), 1.0)
    assert [j.params["n"] for j in store.jobs.ready(9, stages=["volume"])] == [1, 3, 2, 0]
    assert store.jobs.ready(9, stages=["label"]) == []


def test_a_claim_grows_the_fence_and_late_reports_are_ignored(store, want):
    job_id = store.jobs.want(want(), 1.0)
    first = store.jobs.claim(job_id, "me", 2.0)
    store.jobs.postponed(job_id, 3.0, "lost", "transient", 3.0, True)
    store.jobs.due(3.0)
    second = store.jobs.claim(job_id, "me", 4.0)
    assert (first.fence, second.fence, second.attempts) == (1, 2, 2)
    store.jobs.heartbeat(job_id, first.fence, 0.9, "from the dead", 5.0)
    store.jobs.heartbeat(job_id, second.fence, 0.2, "from the living", 6.0)
    row = next(store.jobs._db.query("SELECT progress, note FROM job"))
    assert row == {"progress": 0.2, "note": "from the living"}


def test_a_clock_that_was_set_back_makes_no_job_wait_for_it(store, want):
    ids = [store.jobs.want(want(n), 1.0) for n in range(2)]
    for job_id, at in zip(ids, (90_000.0, 300.0), strict=True):
        store.jobs.claim(job_id, "me", 2.0)
        store.jobs.postponed(job_id, at, "disk full", "disk_full", 3.0, False)
    assert store.jobs.due(4.0) == 1, "it was a day later when that was said"
    assert [store.jobs.get(job_id).state for job_id in ids] == ["ready", "waiting"]


def test_a_done_job_stays_done_and_says_its_story(store, want):
    job_id = store.jobs.want(want(), 1.0)
    store.jobs.claim(job_id, "me", 2.0)
    store.jobs.done(job_id, {"n_objects": 3}, 3.0)
    with pytest.raises(IllegalTransitionError, match="ready -> running"):
        store.jobs.claim(job_id, "me", 4.0)
    assert store.jobs.get(job_id).result == {"n_objects": 3}
    assert store.jobs.story(job_id)[-1].startswith("running -> done")


def test_recovery_takes_back_running_jobs_without_spending_an_attempt(store, want):
    ids = [store.jobs.want(want(n), 1.0) for n in range(3)]
    store.jobs.claim(ids[0], "dead daemon", 2.0)
    assert store.jobs.recover(3.0) == 1
    store.jobs.due(3.0)
    assert store.jobs.get(ids[0]).state == "ready"
    assert store.jobs.get(ids[0]).attempts == 0


def test_a_restart_gives_jobs_that_failed_in_passing_new_attempts_and_others_none(store, want):
    for n, kind in enumerate(["transient", "permanent"]):
        job_id = store.jobs.want(want(n), 1.0)
        store.jobs.claim(job_id, "me", 2.0)
        store.jobs.failed(job_id, "killed", kind, 3.0)
    store.jobs.recover(4.0)
    assert [(store.jobs.get(i).state, store.jobs.get(i).attempts) for i in (1, 2)] == [("ready", 0), ("failed", 1)]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE job SET state = 'running'",
        "UPDATE job SET state = 'resting'",
        "UPDATE job SET lease = 'me'",
        "UPDATE job SET progress = 1.5",
        "UPDATE job SET state = 'failed'",
        "UPDATE job SET state = 'done'",
    ],
)
def test_illegal_rows_cannot_be_stored(store, want, sql):
    store.jobs.want(want(), 1.0)
    with pytest.raises(sqlite3.IntegrityError):
        store.jobs._db.execute(sql)


def test_a_failed_transaction_leaves_nothing(store, want):
    def half() -> None:
        with store.transaction():
            store.jobs.want(want(1), 1.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert store.jobs.ready(9, stages=["label"]) == []


def test_readers_do_not_wait_for_the_writer(store, want, tmp_path):
    from daemon.store.report import snapshot

    store.jobs.want(want(1), 1.0)
    seen = []
    with store.transaction():
        store.jobs.want(want(2), 1.0)
        reader = threading.Thread(target=lambda: seen.append(snapshot(tmp_path, 2.0).jobs))
        reader.start()
        reader.join(2)
    assert seen == [{"ready": 1}]


class JobTable(RuleBasedStateMachine):
    """Random lives of jobs; the oracle is a dictionary of states."""

    @initialize()
    def open(self):
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name))
        self.states: dict[int, str] = {}
        self.now = 0.0

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    @rule(n=st.integers(0, 5))
    def want(self, n):
        self.now += 1
        made = self.store.jobs.want(Wanted("volume", f"v:{n}", {}, {"n": n}, n, "s"), self.now)
        if made is not None:
            assert made not in self.states
            self.states[made] = "ready"

    @rule(job=st.integers(1, 6), move=st.sampled_from(["running", "done", "waiting", "failed", "cancelled", "ready"]))
    def move(self, job, move):
        if job not in self.states:
            return
        self.now += 1
        jobs = self.store.jobs
        calls = {
            "running": lambda: jobs.claim(job, "me", self.now),
            "done": lambda: jobs.done(job, {}, self.now),
            "waiting": lambda: jobs.postponed(job, self.now, "later", "transient", self.now, True),
            "failed": lambda: jobs.failed(job, "broken", "permanent", self.now),
            "cancelled": lambda: jobs.cancel(job, "unwanted", self.now),
            "ready": lambda: jobs.retry(job, self.now),
        }
        if (self.states[job], move) in JOB_TRANSITIONS:
            calls[move]()
            self.states[job] = move
        else:
            with pytest.raises(IllegalTransitionError):
                calls[move]()

    @rule()
    def recover(self):
        self.now += 1
        self.store.jobs.recover(self.now)
        self.store.jobs.due(self.now)
        self.states = {j: "ready" if s in ("running", "waiting") else s for j, s in self.states.items()}

    @invariant()
    def agree(self):
        if hasattr(self, "store"):
            rows = {r["id"]: r["state"] for r in self.store.jobs._db.query("SELECT id, state FROM job")}
            assert rows == self.states


JobTable.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestJobTable = JobTable.TestCase
