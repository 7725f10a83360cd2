"""The transition tables: closed over their states, every state reachable, illegal moves told with the story."""

import pytest

from daemon.errors import IllegalTransitionError
from daemon.machine import JOB_STATES, JOB_TRANSITIONS, SUGGESTION_STATES, SUGGESTION_TRANSITIONS, check_transition


@pytest.mark.parametrize(
    ("states", "table", "first"),
    [(JOB_STATES, JOB_TRANSITIONS, "ready"), (SUGGESTION_STATES, SUGGESTION_TRANSITIONS, "open")],
)
def test_every_state_is_reachable_and_none_is_unknown(states, table, first):
    assert {s for pair in table for s in pair} <= set(states)
    reached, frontier = {first}, {first}
    while frontier:
        frontier = {b for a, b in table if a in frontier} - reached
        reached |= frontier
    assert reached == set(states)


def test_a_finished_job_never_runs_again():
    assert [pair for pair in JOB_TRANSITIONS if pair[0] == "done"] == [("done", "cancelled")]


def test_an_illegal_move_tells_the_story():
    with pytest.raises(
        IllegalTransitionError, match=r"job 7 cannot go from 'done' to 'running' \(new -> ready; ready -> done\)"
    ):
        check_transition("job 7", JOB_TRANSITIONS, "done", "running", ["new -> ready", "ready -> done"])
