"""Real nnU-Net on tiny data: what is cached, transferred, resumed, survived, and reproducible."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from alcore.errors import PermanentError, Preempted
from alcore.nnunet import model, training
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.plan import PlanRequest
from alcore.run import QuietContext, stage
from alcore.types import IntensityStats
from tests.alcore.nnunet.nnunet_blobs import QUICK, SPACING, blobs, case

TINY = PlanRequest("tiny")
AS_IT_IS = (IntensityStats(0.0, 1.0, -100.0, 100.0, -100.0, 100.0),)
"""Statistics that leave an already normalised image unchanged."""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return model.load_weights(folder)


def train(ctx: QuietContext, name: str, seeds: tuple[int, ...] = (1, 2), **kwargs: object) -> Path:
    out = ctx.scratch.parent / name
    out.mkdir()
    cases = [case(s) for s in seeds]
    designed = training.design(TINY, cases, ctx)
    schedule = dataclasses.replace(QUICK, **kwargs)  # type: ignore[arg-type]
    training.train(designed, training.Mixture(cases), schedule, 7, None, out, ctx, {"kind": "test"})
    return out


def fresh(ctx: QuietContext, name: str) -> QuietContext:
    scratch = ctx.scratch.parent / f"scratch-{name}"
    scratch.mkdir()
    return QuietContext(scratch, ctx.cache)


def dice(folder: Path, ctx: QuietContext, seed: int) -> float:
    from alcore.nnunet.prediction import ArrayVoxels, Predictor

    image, labels = blobs(seed)
    mask = np.zeros(labels.shape, bool)
    with nnunet_process(ctx.scratch, "cpu", 1):
        for box, part in Predictor(folder, "cpu").foreground(ArrayVoxels(image), AS_IT_IS, SPACING):
            mask[box.slices] = part
    return float(2 * (mask & (labels > 0)).sum() / (mask.sum() + (labels > 0).sum()))


class Stopper(QuietContext):
    """Asks to stop in the middle of the second epoch."""

    asked = 0

    def should_stop(self) -> bool:
        self.asked += sum("epoch" in note for _, note in self.notes) >= 1
        return self.asked > 1


def test_it_learns_and_a_new_run_starts_where_the_model_stood(ctx: QuietContext) -> None:
    first = train(ctx, "first", epochs=4, iterations=10, lr=1e-2)
    learned = dice(first, ctx, seed=9)
    assert learned > 0.6
    second = ctx.scratch.parent / "second"
    second.mkdir()
    still = dataclasses.replace(QUICK, epochs=1, iterations=1, lr=1e-9)
    mixture = training.Mixture([case(3)])
    result = training.train(model.load_design(first), mixture, still, 0, first, second, fresh(ctx, "b"), {})
    assert dice(second, ctx, seed=9) == pytest.approx(learned, abs=0.01)
    assert result["n_preprocessed"] == 1
    assert any("seg_layers" in name for name in weights(second))
    assert model.load_design(second).min_voxels > 0


def test_only_new_cases_are_preprocessed(ctx: QuietContext) -> None:
    from alcore.nnunet import preprocessing

    cases = [case(s) for s in (1, 2, 3)]
    designed = training.design(TINY, cases[:2], ctx)
    loads: list[str] = []

    def counting(c: training.Case) -> training.Case:
        return dataclasses.replace(c, load=lambda: (loads.append(c.key), c.load())[1])

    def prepare(some: list[training.Case]) -> list[str]:
        with nnunet_process(ctx.scratch, "cpu", 1):
            folder, new = preprocessing.prepare(
                [counting(c) for c in some],
                designed,
                ctx.cache,
                ctx.progress,
            )
        assert not [p for p in folder.parent.iterdir() if p.name.startswith(".")]
        return new

    assert len(prepare(cases[:2])) == 2
    loads.clear()
    assert prepare(cases) == [cases[2].id]
    assert loads == [cases[2].key]


def test_two_runs_with_one_seed_are_identical_and_print_nothing(
    ctx: QuietContext, capfd: pytest.CaptureFixture[str]
) -> None:
    a, b = train(ctx, "a"), train(fresh(ctx, "b"), "b")
    wa, wb = weights(a), weights(b)
    assert all(torch.equal(wa[k], wb[k]) for k in wa)
    assert (a / "training.jsonl").read_text() == (b / "training.jsonl").read_text()
    assert capfd.readouterr().out == ""


def test_a_stopped_run_continues_at_its_epoch_and_rate(ctx: QuietContext) -> None:
    stopper = Stopper(ctx.scratch, ctx.cache)
    with pytest.raises(Preempted, match="epoch 1 of 3"):
        train(stopper, "stopped", epochs=3)
    for name in ("pretrain", "finetune"):  # where the daemon looks whether a worker that was lost had got further
        assert (ctx.scratch / stage(name).checkpoint).is_file()
    resumed = train(ctx, "resumed", epochs=3)
    whole = train(fresh(ctx, "whole"), "whole", epochs=3)
    notes = [note for _, note in ctx.notes if "epoch" in note]
    assert notes[0].startswith("epoch 2/3")
    rows, expected = (
        [json.loads(line) for line in (f / "training.jsonl").read_text().splitlines()] for f in (resumed, whole)
    )
    assert [r["epoch"] for r in rows] == [1, 2, 3]
    assert rows == expected
    resumed_weights, whole_weights = weights(resumed), weights(whole)
    assert all(torch.equal(resumed_weights[k], whole_weights[k]) for k in whole_weights)


def test_a_damaged_checkpoint_costs_one_save_and_no_run(ctx: QuietContext) -> None:
    from alcore.nnunet.checkpoint import Checkpoints

    train(ctx, "whole", epochs=3)
    saved = Checkpoints(ctx.scratch / "checkpoints")
    size = saved.latest.stat().st_size
    with open(saved.latest, "r+b") as f:
        f.truncate(size // 2)
    ctx.notes.clear()
    train(ctx, "again", epochs=3)
    assert next(n for _, n in ctx.notes if "epoch" in n).startswith("epoch 3/3")
    for path in (saved.latest, saved.previous):
        path.write_bytes(b"PK\x03\x04 nothing")
    assert saved.load(torch.device("cpu")) is None


def test_a_kill_between_any_two_steps_of_a_save_leaves_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from alcore.nnunet.checkpoint import Checkpoints

    class Killed(BaseException):
        pass

    cpu = torch.device("cpu")
    replace = os.replace
    for steps in range(3):
        saved = Checkpoints(tmp_path / str(steps))
        saved.save({"n": 1})
        left = [steps]

        def dying(a: Path, b: Path, left: list[int] = left) -> None:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            replace(a, b)

        monkeypatch.setattr(os, "replace", dying)
        if steps < 2:
            with pytest.raises(Killed):
                saved.save({"n": 2})
        else:
            saved.save({"n": 2})
        monkeypatch.undo()
        state = saved.load(cpu)
        assert state is not None
        assert state["n"] == (2 if steps == 2 else 1)
        saved.save({"n": 3})
        assert saved.load(cpu) == {"n": 3}


def test_no_object_anywhere_is_permanent_and_one_empty_patch_is_legal(ctx: QuietContext) -> None:
    with pytest.raises(PermanentError, match="pseudo-labelling options"):
        training.design(TINY, [case(1, n=0), case(2, n=0)], ctx)
    cases = [case(1), case(2, n=0)]
    designed = training.design(TINY, cases, ctx)
    out = ctx.scratch.parent / "out"
    out.mkdir()
    result = training.train(designed, training.Mixture(cases), QUICK, 0, None, out, ctx, {})
    assert np.isfinite(result["ema_dice"])


def test_epochs_without_any_object_keep_the_running_dice_finite(ctx: QuietContext) -> None:
    designed = training.design(TINY, [case(1)], ctx)
    out = ctx.scratch.parent / "out"
    out.mkdir()
    result = training.train(designed, training.Mixture([case(4, n=0)]), QUICK, 0, None, out, ctx, {})
    assert np.isfinite(result["ema_dice"])


@pytest.mark.parametrize(("labels", "pseudo", "share"), [(2, 10, 0.25), (8, 2, 0.25), (3, 3, 0.5), (4, 0, 0.5)])
def test_a_mixture_draws_its_share(labels: int, pseudo: int, share: float) -> None:
    mixture = training.Mixture([case(i) for i in range(labels)], [case(100 + i) for i in range(pseudo)], share)
    drawn = mixture.drawn_ids()
    others = {c.id for c in mixture.rehearsal}
    assert {c.id for c in mixture.all} == set(drawn)
    assert sum(i in others for i in drawn) / len(drawn) == pytest.approx(share if pseudo else 0, abs=0.06)


@pytest.mark.parametrize("shape", [(8, 64, 64), (1, 64, 64)])
def test_nnunets_own_plan_is_made_for_volumes_and_single_planes(ctx: QuietContext, shape: tuple[int, int, int]) -> None:
    cases = [case(s, shape=shape) for s in (1, 2)]
    designed = training.design(PlanRequest("default"), cases, ctx)
    assert designed.configuration == ("2d" if shape[0] == 1 else "3d_fullres")
    assert designed.binning == (1, 1, 1)
    assert designed.summary()["features"][0] == 32


def test_single_planes_train_and_predict(ctx: QuietContext) -> None:
    from alcore.nnunet.prediction import ArrayVoxels, Predictor

    cases = [case(s, shape=(1, 64, 64)) for s in (1, 2)]
    designed = training.design(TINY, cases, ctx)
    assert designed.configuration == "2d"
    out = ctx.scratch.parent / "out"
    out.mkdir()
    training.train(designed, training.Mixture(cases), QUICK, 0, None, out, ctx, {})
    image, _ = blobs(5, (1, 100, 70))
    with nnunet_process(ctx.scratch, "cpu", 1):
        parts = list(Predictor(out, "cpu").foreground(ArrayVoxels(image), AS_IT_IS, SPACING))
    assert sum(box.voxels for box, _ in parts) == 100 * 70


def test_unknown_voxel_sizes_train_and_absurd_ones_are_refused(ctx: QuietContext) -> None:
    unknown, known = (dataclasses.replace(case(s), voxel_um=v) for s, v in ((1, None), (2, (0.04, 0.01, 0.01))))
    far = dataclasses.replace(case(3), voxel_um=(0.4, 0.01, 0.01))
    assert training.design(TINY, [unknown], ctx).voxel_um is None
    designed = training.design(TINY, [unknown, known], ctx)
    assert designed.voxel_um == (0.04, 0.01, 0.01)
    out = ctx.scratch.parent / "out"
    out.mkdir()
    training.train(designed, training.Mixture([unknown, known]), QUICK, 0, None, out, ctx, {})
    with pytest.raises(PermanentError, match="voxel size"):
        training.train(designed, training.Mixture([known, far]), QUICK, 0, None, out, ctx, {})


def test_nnunets_own_plan_trains_with_nnunets_optimizer(ctx: QuietContext) -> None:
    designed = training.design(PlanRequest("default"), [case(1)], ctx)
    out = ctx.scratch.parent / "out"
    out.mkdir()
    once = dataclasses.replace(QUICK, epochs=1, iterations=1)
    result = training.train(designed, training.Mixture([case(1)]), once, 0, None, out, ctx, {})
    assert np.isfinite(result["loss"])
    assert json.loads((out / "model.json").read_text())["schedule"]["optimizer"] == "sgd"
    assert 0 <= dice(out, ctx, seed=2) <= 1
