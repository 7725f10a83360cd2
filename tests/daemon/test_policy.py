"""The rules: rounds, suggestions, preemption."""

import pytest

from daemon.config import Encoder
from daemon.policy import backoff_s, suggestions_to_ask, to_preempt, wants_encoder


@pytest.mark.parametrize(
    ("waiting", "depth", "free", "ask"),
    [(0, 8, 100, 8), (4, 8, 100, 4), (5, 8, 100, 0), (0, 8, 3, 3), (0, 8, 0, 0), (0, 1, 9, 1)],
)
def test_the_queue_is_refilled_when_half_of_it_is_answered(waiting, depth, free, ask):
    assert suggestions_to_ask(waiting, depth, free) == ask


def test_an_encoder_is_trained_once_and_again_when_the_pool_has_doubled():
    e = Encoder(min_patches=4)
    assert not wants_encoder(3, 0, None, e)
    assert wants_encoder(4, 0, None, e)
    assert not wants_encoder(4, 1, None, e)  # more is just arriving
    assert wants_encoder(16, 1, None, e)  # but a stream that never ends must not hold it up for ever
    assert not wants_encoder(20, 0, 16, e)
    assert wants_encoder(32, 0, 16, e)


def test_the_least_urgent_preemptible_job_gives_way_and_only_to_more_urgent_work():
    preemptible = {"pretrain": True, "finetune": True, "predict": False}
    running = [(1, 35, "finetune"), (2, 30, "pretrain"), (3, 40, "predict")]
    assert to_preempt(running, 40, preemptible) == 2
    assert to_preempt(running, 30, preemptible) is None
    assert to_preempt([(3, 40, "predict")], 95, preemptible) is None


def test_waits_grow_and_are_bounded():
    waits = [backoff_s(n) for n in range(1, 9)]
    assert waits == sorted(waits)
    assert waits[0] <= 5
    assert waits[-1] == 600
