"""The rules: promotion, rounds, suggestions, preemption."""

import pytest

from daemon.config import Encoder
from daemon.policy import backoff_s, judge, suggestions_to_ask, to_preempt, wants_encoder


def s(f1, dice=0.5):
    return {"f1": f1, "dice": dice}


def test_a_worse_model_is_never_promoted():
    assert not judge(s(0.4), s(0.5), "M_f-001", 5, 3).promoted
    assert not judge(s(0.4), s(0.5), "M_f-001", 1, 3).promoted
    assert not judge(s(0.5, 0.6), s(0.5, 0.7), "M_f-001", 5, 3).promoted


def test_a_better_model_is_promoted_and_both_scores_are_named():
    verdict = judge(s(0.6), s(0.5), "M_f-001", 5, 3)
    assert verdict.promoted
    assert "0.600" in verdict.reason
    assert "0.500" in verdict.reason
    assert "M_f-001" in verdict.reason
    assert "ungated" not in verdict.reason


def test_few_or_no_held_out_patches_is_said():
    assert "ungated" in judge(s(0.6), s(0.5), "M_p-001", 2, 3).reason
    verdict = judge(None, None, "", 0, 3)
    assert verdict.promoted
    assert "ungated" in verdict.reason


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
