"""What is kept of a model that was trained on: all of it without labels, little with many, and what held-out labels say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alcore.nnunet import blending, model, training
from alcore.nnunet.plan import PlanRequest
from alcore.run import QuietContext
from tests.alcore.nnunet.nnunet_blobs import QUICK, case


@given(st.integers(0, 10_000))
def test_more_labels_go_farther_and_never_beyond(n: int) -> None:
    assert 0 <= blending.share_of(n) < blending.share_of(n + 1) < 1


def test_weights_lie_between() -> None:
    old = {"a": torch.tensor([0.0, 4.0]), "steps": torch.tensor(3)}
    new = {"a": torch.tensor([1.0, 0.0]), "steps": torch.tensor(9)}
    found = blending.between(old, new, 0.25)
    assert found["a"].tolist() == [0.25, 3.0]
    assert found["steps"] == 9
    assert blending.between(old, new, 1.0)["a"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("scores", "share"), [([0.1, 0.3, 0.2, 0.2], 0.5), ([0.5, 0.5, 0.5, 0.5], 1.0)])
def test_held_out_labels_choose_and_equals_go_farthest(scores: list[float], share: float) -> None:
    by_weight = dict(zip(blending.SHARES, scores, strict=True))
    found = blending.best_share(
        {"a": torch.tensor([0.0])}, {"a": torch.tensor([1.0])}, lambda weights: by_weight[float(weights["a"])]
    )
    assert found == (share, max(scores))


def trained(ctx: QuietContext, name: str, start: Path | None, **mixture: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(result, weights) of a short training."""
    out = ctx.scratch / f"{name}-out"
    out.mkdir(parents=True)
    made = training.Mixture([case(1), case(2)], **mixture)
    designed = model.load_design(start) if start else training.design(PlanRequest("tiny"), made.cases, ctx)
    inside = QuietContext(ctx.scratch / name, ctx.cache)
    inside.scratch.mkdir()
    schedule = dataclasses.replace(QUICK, epochs=2, iterations=2)
    result = training.train(designed, made, schedule, 3, start, out, inside, {"kind": "test"})
    return result, model.load_weights(out)


def test_a_fine_tuned_model_keeps_part_of_where_it_began(ctx: QuietContext, monkeypatch: pytest.MonkeyPatch) -> None:
    result, old = trained(ctx, "start", None)
    assert "share" not in result
    start = ctx.scratch / "start-out"
    about = json.loads((start / "model.json").read_text())
    (start / "model.json").write_text(json.dumps({**about, "min_voxels": 4000}))
    result, kept = trained(ctx, "kept", start)
    assert result["share"] == 0.2  # two labels, and a model that weighs like eight
    with monkeypatch.context() as patched:
        patched.setattr(blending, "WORTH", 0)
        result, new = trained(ctx, "new", start)
    assert result["share"] == 1
    assert any(not torch.equal(old[name], new[name]) for name in new)
    least = [model.load_design(ctx.scratch / f"{name}-out").min_voxels for name in ("start", "kept", "new")]
    assert least[1] == round(0.8 * least[0] + 0.2 * least[2])
    for name, weight in kept.items():
        assert torch.allclose(weight, 0.8 * old[name] + 0.2 * new[name], atol=1e-6), name


def test_held_out_labels_say_how_much_of_it(ctx: QuietContext, monkeypatch: pytest.MonkeyPatch) -> None:
    from alcore.nnunet.validation import Validation

    _, old = trained(ctx, "start", None)
    name = next(iter(old))

    def dice(_: Validation, network: torch.nn.Module, __: torch.device) -> float:
        """The nearer to the start the better."""
        return 1 / (1 + float((network.state_dict()[name] - old[name]).abs().sum()))

    monkeypatch.setattr(Validation, "dice", dice)
    result, kept = trained(ctx, "kept", ctx.scratch / "start-out", held_out=[case(3), case(4)])
    assert result["share"] == 0.25
    assert not torch.equal(kept[name], old[name])
