"""Advice when to stop: on simulated learning curves its interval holds the truth about as often as it says, and is of use."""

from __future__ import annotations

import random
import time

import pytest

from daemon.advice import LEAST_ROUNDS, LearningCurve, advise, expected_gain, f1, score_errors

CURVES = [(0.8, 0.8, 0.5), (0.7, 1.2, 1.0), (0.9, 0.5, 0.3), (0.6, 0.3, 2.0), (0.65, 0.0, 1.0)]
"""(a, b, c) of a - b n^-c: from far from its end to flat."""


def objects(rate: float, rng: random.Random, n: int = 20) -> dict[str, int]:
    matched = sum(rng.random() < rate for _ in range(n))
    return {"n_true": n, "n_predicted": n, "n_matched": matched}


def simulated(curve: tuple[float, float, float], n_rounds: int, rng: random.Random) -> list[LearningCurve]:
    """Rounds on 4, 8, 12... labels; held-out labels grow along, are easy or hard for all rounds, and trainings differ."""
    a, b, c = curve
    hard = [rng.gauss(0, 0.05) for _ in range(2 + 2 * n_rounds)]
    found = []
    for r in range(1, n_rounds + 1):
        n, shift = 4 * r, rng.gauss(0, 0.01)
        counts = {str(i): objects(a - b * n**-c + shift + hard[i], rng) for i in range(2 + 2 * r)}
        found.append(LearningCurve(n, len(counts), counts))
    return found


@pytest.mark.parametrize("n_rounds", [3, 6, 10])
def test_the_interval_holds_the_truth_as_often_as_it_says(n_rounds: int) -> None:
    rng = random.Random(n_rounds)
    held, widths = [], []
    for _ in range(30):
        for a, b, c in CURVES:
            rounds = simulated((a, b, c), n_rounds, rng)
            figures = advise(rounds, 8).figures
            assert figures is not None
            now, more = 4 * n_rounds, 8 * 4 * n_rounds / (4 * n_rounds + rounds[-1].n_gate)
            truth = b * (now**-c - (now + more) ** -c)
            gain, low, high = figures
            assert 0 <= low <= gain <= high <= 1
            held.append(low <= truth <= high)
            widths.append(high - low)
    assert sum(held) / len(held) >= 0.85
    assert sum(widths) / len(widths) < {3: 0.06, 6: 0.025, 10: 0.01}[n_rounds]


def test_a_curve_that_rises_promises_more_than_one_that_is_flat() -> None:
    n, errors = [4, 8, 12, 16, 20], [0.01] * 5
    rising = expected_gain(n, [0.3, 0.45, 0.53, 0.58, 0.61], errors, 6)
    flat = expected_gain(n, [0.6, 0.61, 0.6, 0.61, 0.605], errors, 6)
    falling = expected_gain(n, [0.61, 0.58, 0.53, 0.45, 0.3], errors, 6)
    assert rising[1] > 0.005 and rising[0] > 3 * flat[0]
    assert flat[1] < 0.002 and flat[2] < 0.03
    assert falling[0] < rising[0] and falling[1] < 0.002


def test_more_labels_promise_more_and_more_noise_a_wider_interval() -> None:
    n, scores = [4, 8, 12, 16], [0.3, 0.45, 0.53, 0.58]
    few, many = (expected_gain(n, scores, [0.01] * 4, k) for k in (2, 20))
    assert few[0] < many[0] and few[2] < many[2]
    sharp, vague = (expected_gain(n, scores, [e] * 4, 8) for e in (0.005, 0.1))
    assert vague[2] - vague[1] > sharp[2] - sharp[1]


def test_too_few_rounds_say_so() -> None:
    rng = random.Random(0)
    rounds = simulated(CURVES[0], LEAST_ROUNDS, rng)
    for some in ([], rounds[:2], [rounds[0], rounds[0], rounds[0]], [LearningCurve(4, 0, {}), *rounds[:2]]):
        advice = advise(some, 8)
        assert advice.figures is None and "too few rounds" in advice.words
    assert advise(rounds, 8).words.startswith("8 more patches: +0.")


def test_the_end_of_a_long_curve_is_told_to_be_the_end() -> None:
    same = {str(i): {"n_true": 50, "n_predicted": 50, "n_matched": 30} for i in range(20)}
    advice = advise([LearningCurve(4 * r, 20, same) for r in range(1, 16)], 8)
    assert "hardly worth the work" in advice.words


def test_what_all_rounds_share_is_no_error_of_their_difference() -> None:
    rng = random.Random(1)
    hard = {str(i): objects(0.2 + 0.6 * (i % 2), rng) for i in range(10)}
    alike = [LearningCurve(n, 10, hard) for n in (4, 8, 12)]
    assert max(score_errors(alike)) < 1e-12
    apart = [LearningCurve(n, 5, {k: c for k, c in hard.items() if int(k) % 3 == n % 3}) for n in (4, 8, 12)]
    assert min(score_errors(apart)) > 0.02
    assert f1(hard) == pytest.approx(sum(c["n_matched"] for c in hard.values()) / 200)
    assert f1({}) == 0


def test_many_rounds_take_no_time_that_anybody_waits_for() -> None:
    rounds = simulated(CURVES[0], 40, random.Random(2))
    began = time.process_time()
    advise(rounds, 8)
    assert time.process_time() - began < 3
