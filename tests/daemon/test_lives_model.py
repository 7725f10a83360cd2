"""Random lives of a workspace: machine, store, planner and engine as they are, against an account of its own (`lives_oracle`)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from daemon.executors.port import Finished
from tests.daemon.lives_turns import Turns

NAMES = ("a.tif", "b.tif", "c.tif")
PEOPLE = ("ana", "ben")
NUMBER = st.integers(0, 11)
AGAIN = ("pseudo", "traits", "embedding", "package", "predict")
PASSING = {"transient": "transient", "lost": "transient", "disk_full": "disk_full"}


class Lives(Turns, RuleBasedStateMachine):
    """What may happen: to workers, to the daemon, in the watched folder, by people."""

    @initialize(turns=st.integers(3, 6))
    def begin(self, turns: int) -> None:
        self.prepare()
        self.drop(NAMES[0], False, False)
        self.work(turns)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                if self.sound:
                    self.to_rest()
            finally:
                self.close()

    # the daemon and its workers

    @rule(turns=st.integers(1, 6))
    def work(self, turns: int) -> None:
        """Everybody works, and nothing happens to them."""
        for _ in range(turns):
            self.everybody_works()

    @rule(
        number=NUMBER, how=st.sampled_from([*PASSING, "preempted", "permanent"]), step=st.sampled_from([0.0, -86400.0])
    )
    def fail(self, number: int, how: str, step: float) -> None:
        """A job ends without a result, and perhaps the clock is set back while it waits for its next try."""
        order = self.held(number)
        if order is None:
            return
        del self.world.executor.held[order.job_id]
        outcome = how if how in ("lost", "preempted") else "failed"
        self.hear(order, Finished(order.job_id, order.fence, outcome, f"it was {how}", PASSING.get(how, how)))
        self.world.now += step
        self.turn()

    @rule(number=NUMBER)
    def finish_unheard(self, number: int) -> None:
        """A worker is done, and its word is still on the way."""
        order = self.held(number)
        if order is not None:
            said = self.world.executor.work(order)
            self.late.append((order, said))
            self.account.made |= {order.key} if said.outcome == "done" else set()
            self.turn()

    @precondition(lambda self: self.late)
    @rule(number=NUMBER)
    def hear_late(self, number: int) -> None:
        self.hear(*self.late.pop(number % len(self.late)))
        self.turn()

    @precondition(lambda self: self.former)
    @rule(number=NUMBER, outcome=st.sampled_from(["done", "failed", "preempted"]))
    def hear_a_former_worker(self, number: int, outcome: str) -> None:
        """A worker that was given up reports: nothing follows from it."""
        known = self.account.jobs.known
        again = [o for o in self.former if known[o.job_id].state == "running" and known[o.job_id].fence > o.fence]
        orders = again or self.former  # better one whose job another worker is at
        order = orders[-1 - number % len(orders)]
        said = Finished(order.job_id, order.fence, outcome, "too late", "permanent" if outcome == "failed" else "")
        self.account.ends(order, said)
        self.world.engine.handle(said)
        self.turn()

    @rule()
    def restart(self) -> None:
        """kill -9, and another daemon: what was in memory is gone, workers and their last words too."""
        self.former += [*self.world.executor.held.values(), *(order for order, _ in self.late)]
        self.late.clear()
        self.account.jobs.restart()
        self.world.restart()
        self.turn()

    @rule(step=st.sampled_from([-86400.0, -60.0, 60.0, 86400.0]))
    def set_the_clock(self, step: float) -> None:
        self.world.now += step
        self.turn()

    # the microscope

    @rule(name=st.sampled_from(NAMES), bad=st.sampled_from([False] * 4 + [True]), growing=st.booleans())
    def drop(self, name: str, bad: bool, growing: bool) -> None:
        """A new file, or another content under the name of one."""
        self.put(name, self.content(bad))
        (self.world.growing.add if growing else self.world.growing.discard)(name)
        self.turn()

    @rule(name=st.sampled_from(NAMES))
    def write_again_while_it_is_read(self, name: str) -> None:
        """It was read as it was, and is another one by the time at which that is heard."""
        self.drop(name, False, False)
        reading = [o for o in self.world.executor.held.values() if o.stage == "volume"]
        for order in [o for o in reading if o.inputs["source"][0].path.name == name][-1:]:
            said = self.world.executor.work(order)
            self.drop(name, False, False)
            self.hear(order, said)
            self.turn()

    @rule(one=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def copy(self, one: str, other: str) -> None:
        if one in self.account.files:
            self.put(other, self.account.files[one])
            self.turn()

    @rule(number=NUMBER)
    def take_away(self, number: int) -> None:
        """A file is moved out of the folder."""
        if self.account.files:
            name = sorted(self.account.files)[number % len(self.account.files)]
            del self.account.files[name]
            self.away[name] = (self.world.folder / name).rename(self.root / "away" / name)
            self.world.growing.discard(name)
            self.turn()

    @precondition(lambda self: self.away)
    @rule(number=NUMBER)
    def put_back(self, number: int) -> None:
        """It comes back as it was."""
        name = sorted(self.away)[number % len(self.away)]
        self.away.pop(name).rename(self.world.folder / name)
        self.account.files[name] = (self.world.folder / name).read_bytes()
        self.turn()

    @rule()
    def all_are_written(self) -> None:
        self.world.growing.clear()
        self.turn()

    # people

    @rule(number=NUMBER, bad=st.sampled_from([False, False, True]))
    def label(self, number: int, bad: bool) -> None:
        """Of any patch that was ever shown: also a better one, or one for a patch that was skipped."""
        mend = self.some(number, "rejected") if number % 2 else None
        name = mend or self.some(number, "open", "claimed", "submitted", "accepted", "rejected")
        if name is not None and (self.account.asked[name].shown or self.account.asked[name].labels):
            self.save(name, bad)
            self.turn()

    @rule()
    def label_all(self) -> None:
        for name, asked in self.account.asked.items():
            if asked.state in ("open", "claimed", "rejected") and asked.shown:
                self.save(name, False)
        self.turn()
        self.work(3)

    @rule(number=NUMBER)
    def undo(self, number: int) -> None:
        name = self.some(number, "accepted", "submitted", "rejected", "skipped")
        if name is not None:
            self.command(self.account.asked[name].undo(), "undo-label", id=name)

    @rule(number=NUMBER, user=st.sampled_from(PEOPLE), verb=st.sampled_from(["claim", "release", "skip"]))
    def take(self, number: int, user: str, verb: str) -> None:
        name = self.some(number, "open", "claimed", "rejected", "accepted")
        if name is not None:
            more = {"kind": "other"} if verb == "skip" else {}
            self.command(getattr(self.account.asked[name], verb)(user), verb, id=name, user=user, **more)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.account.paused = paused
        self.command(True, "pause" if paused else "resume")

    @rule()
    def train(self) -> None:
        """Whether that can be done is not the oracle's business; what the round has is."""
        self.account.trained = True
        self.world.ask("train")
        self.turn()

    @rule()
    def roll_back(self) -> None:
        self.command(self.account.rounds.roll_back(), "rollback")

    @rule(number=NUMBER)
    def promote(self, number: int) -> None:
        models = [r["version"] for r in self.world.sql("SELECT version FROM model WHERE state <> 'candidate'")]
        if models:
            version = models[number % len(models)]
            wanted = self.account.rounds.uses[-1:] != [version]
            if wanted:
                self.account.rounds.takes_over(version)
            self.command(wanted, "promote", version=version, reason="by hand")

    @rule(number=NUMBER)
    def retry(self, number: int) -> None:
        known = self.account.jobs.known
        asked = self.account.jobs.retried  # and not begun yet, as in a pause
        failed = [n for n, job in known.items() if job.state == "failed" and job.stage in AGAIN and n not in asked]
        if failed:
            job_id = failed[number % len(failed)]
            self.account.jobs.retried.add(job_id)
            self.command(True, "retry", id=job_id)


def lives(examples: int, steps: int, **more: Any) -> None:
    """So many lives of so many steps."""
    some = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )
    run_state_machine_as_test(Lives, settings=some)


def test_whatever_happens_the_account_and_the_workspace_agree():
    lives(8, 30)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_same_in_many_lives():
    lives(300, 60)
