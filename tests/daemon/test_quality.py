"""Expected Dice from confidence: the interval holds new patches as often as it says, and nothing is predicted from nothing."""

from __future__ import annotations

import random

import pytest

from daemon.quality import LEAST_PATCHES, calibrate, student
from daemon.store.views import AdviceView, QualityView, VolumeQuality
from daemon.wording_quality import advice_words, expected_words, short_words, worst_words


def patches(n: int, rng: random.Random, slope: float = 1.0, noise: float = 0.05) -> list[tuple[float, float]]:
    confidences = [rng.uniform(0.6, 0.95) for _ in range(n)]
    return [(c, slope * (c - 0.2) + rng.gauss(0, noise)) for c in confidences]


@pytest.mark.parametrize("n", [6, 10, 30])
def test_the_interval_holds_new_patches_as_often_as_it_says(n: int) -> None:
    rng = random.Random(n)
    held = []
    while len(held) < 2000:
        found, why = calibrate(patches(n, rng))
        if found is None:
            assert "good from bad" in why
            continue
        for confidence, dice in patches(20, rng):
            expected = found.expected(confidence)
            assert expected.low <= expected.dice <= expected.high
            held.append(expected.low <= dice <= expected.high)
    assert 0.87 <= sum(held) / len(held) <= 0.94


def test_confidence_that_says_nothing_predicts_nothing() -> None:
    rng = random.Random(0)
    found = [calibrate(patches(12, rng, slope=0.0))[0] is not None for _ in range(400)]
    assert sum(found) / len(found) < 0.09  # one-sided 5 %
    assert calibrate(patches(12, rng, slope=-1.0))[0] is None
    few, why = calibrate(patches(LEAST_PATCHES - 1, rng))
    assert few is None and "5 held-out patches, 6 needed" in why
    assert "equally sure" in calibrate([(0.7, 0.1 * i) for i in range(8)])[1]


def test_beyond_the_held_out_patches_it_says_so_and_stays_a_share() -> None:
    found, _ = calibrate([(0.7 + 0.02 * i, 0.5 + 0.04 * i) for i in range(8)])
    assert found is not None
    assert found.expected(0.75).dice == pytest.approx(0.6)
    assert not found.expected(0.75).beyond
    far = found.expected(0.1)
    assert far.beyond and far.dice == far.low == 0
    assert found.expected(1.0).high == 1


def test_student_is_that_of_scipy() -> None:
    from scipy import stats

    for freedom in (4, 5, 8, 20, 200):
        assert student(freedom) == pytest.approx(stats.t.ppf(0.95, freedom), rel=0.01)


def test_words() -> None:
    sure = VolumeQuality("a.tif", "M", 0.8, 0.61, 0.48, 0.74, False)
    bare = VolumeQuality("b\x1b.tif", "M", 0.7, None, None, None, False)
    assert expected_words(sure) == "Dice about 0.61 (0.48 to 0.74)"
    assert short_words(sure) == "0.61 (0.48-0.74)" and short_words(bare) == "conf. 0.70"
    named, remark = worst_words(QualityView((bare, sure), 1, "too few"))
    assert named == "b\\x1b.tif: confidence 0.70; a.tif: Dice about 0.61 (0.48 to 0.74)"
    assert remark == "confidence only ranks: too few; nothing was found in 1 volume"
    advice = AdviceView(5, 8, 0.012, 0.0, 0.021, 35.2, "stored")
    assert advice_words(advice) == "8 more patches: +0.01 F1 (0.00 to 0.02), about 35 min"
    assert advice_words(AdviceView(5, 8, 0.001, 0.0, 0.004, None, "")).endswith("(0.00 to 0.00): hardly worth it")
    assert advice_words(AdviceView(2, 8, None, None, None, 35.0, "too few rounds")) == "too few rounds"
