"""The verdict in words: figures with intervals, what stays, what is missing."""

from __future__ import annotations

import pytest

from daemon.verdict import UNGATED, judge


def evaluated(matched, common=None, volumes="aabbccdd"):
    """An evaluation: objects found of 20 true ones, and common voxels of 1000, by patch."""
    common = common or [40 * m for m in matched]
    rows = [
        {
            "label": f"label-{i:02d}",
            "volume": volumes[i % len(volumes)],
            "counts": {
                "n_true": 20,
                "n_predicted": 20,
                "n_matched": m,
                "sum_iou": 0.7 * m,
                "true_voxels": 1000,
                "predicted_voxels": 1000,
                "common_voxels": c,
            },
        }
        for i, (m, c) in enumerate(zip(matched, common, strict=True))
    ]
    n = len(matched)
    return {"scores": {"f1": sum(matched) / (20 * n), "dice": sum(common) / (1000 * n)}, "per_label": rows}


OLD = [10, 12, 9, 11, 10, 13, 8, 11]


def test_better_is_promoted_with_figures_and_intervals():
    verdict = judge(evaluated([m + 3 for m in OLD]), evaluated(OLD), "M_f-001", True, 3)
    assert verdict.promoted
    assert verdict.reason.startswith(
        "better: F1 0.68 against 0.53 of M_f-001, difference +0.15 (+0.15 to +0.15); Dice "
    )
    assert verdict.reason.endswith("on 8 held-out patches")


def test_worse_is_refused_and_so_is_the_same_f1_with_a_lower_dice():
    verdict = judge(evaluated([m - 3 for m in OLD]), evaluated(OLD), "M_f-001", True, 3)
    assert not verdict.promoted
    assert verdict.reason.startswith("worse: F1 0.38 against 0.53 of M_f-001, difference -0.15 ")
    assert not judge(evaluated(OLD, [300] * 8), evaluated(OLD, [350] * 8), "M_f-001", True, 3).promoted


def test_the_order_of_the_patches_does_not_matter():
    new = evaluated([12, 12, 9, 12, 11, 13, 9, 11])
    turned = {**new, "per_label": new["per_label"][::-1]}
    assert judge(new, evaluated(OLD), "M", True, 3) == judge(turned, evaluated(OLD), "M", True, 3)


def test_undecided_keeps_what_is_in_use_and_says_what_would_tell():
    mixed = evaluated([14, 7, 13, 8, 15, 9, 12, 8])
    verdict = judge(mixed, evaluated(OLD), "M_f-001", True, 3)
    assert not verdict.promoted
    assert verdict.reason.startswith("undecided, M_f-001 stays: F1 ")
    assert "would tell" in verdict.reason
    first = judge(mixed, evaluated(OLD), "M_p-001", False, 3)
    assert first.promoted
    assert "no model is in use yet" in first.reason
    assert not first.instead
    noisy = evaluated([9, 12, 8, 14, 7, 13, 9, 11])
    assert not judge(noisy, evaluated(OLD), "M_f-001", True, 3).promoted


def test_while_no_model_is_in_use_the_better_of_the_first_and_its_parent_comes_into_use():
    noisy = evaluated([9, 12, 8, 14, 7, 13, 9, 11])
    lower = judge(noisy, evaluated(OLD), "M_p-001", False, 3)
    assert (lower.promoted, lower.instead) == (False, "M_p-001")
    assert lower.reason.startswith("undecided, and lower, so M_p-001 comes into use: F1 ")
    worse = judge(evaluated([max(0, m - 5) for m in OLD]), evaluated(OLD), "M_p-001", False, 3)
    assert (worse.promoted, worse.instead) == (False, "M_p-001")
    assert worse.reason.startswith("worse, so M_p-001 comes into use: ")
    few = judge(evaluated([m - 1 for m in OLD[:2]]), evaluated(OLD[:2]), "M_p-001", False, 3)
    assert (few.promoted, few.instead) == (False, "M_p-001")
    assert few.reason.startswith("ungated (fewer than 3 held-out patches), and lower, so M_p-001 comes into use: ")
    better = judge(evaluated([m + 3 for m in OLD]), evaluated(OLD), "M_p-001", False, 3)
    assert (better.promoted, better.instead) == (True, "")


@pytest.mark.parametrize(
    ("gain", "promoted", "word"), [(2, True, "ungated"), (0, True, "ungated"), (-1, False, "lower")]
)
def test_few_held_out_patches_are_no_gate_and_that_is_said(gain, promoted, word):
    for n, least in ((1, 1), (2, 3), (4, 5)):
        verdict = judge(evaluated([m + gain for m in OLD[:n]]), evaluated(OLD[:n]), "M_f-001", True, least)
        assert verdict.promoted is promoted
        assert verdict.reason.startswith("ungated (fewer than ")
        assert word in verdict.reason


def test_without_a_model_or_a_gate_to_compare_with():
    first = judge(evaluated(OLD), None, "", False, 3)
    assert first.promoted
    assert first.reason == "first model: F1 0.53, Dice 0.42 on 8 held-out patches"
    assert UNGATED.promoted
    assert "ungated" in UNGATED.reason


def test_scores_on_other_patches_are_no_evidence():
    with pytest.raises(ValueError, match="same held-out patches"):
        judge(evaluated(OLD), evaluated(OLD[:5]), "M", True, 3)
