"""Training in real life: loss that is no number, memory and disk that run out, labels that say when to stop."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from alcore.errors import DiskFullError, PermanentError, TransientError
from alcore.nnunet import holdout, model, room, training
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.remedies import DivergedError, Remedies
from alcore.run import QuietContext
from tests.alcore.nnunet.nnunet_blobs import QUICK, case

TINY = PlanRequest("tiny")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def run(ctx: QuietContext, out: Path, mixture: training.Mixture, **changes: object) -> dict[str, object]:
    designed = training.design(TINY, mixture.cases, ctx)
    schedule = dataclasses.replace(QUICK, **changes)  # type: ignore[arg-type]
    return training.train(designed, mixture, schedule, 7, None, out, ctx, {"kind": "test"})


def failing(monkeypatch: pytest.MonkeyPatch, fail: dict[int, object], batches: list[int] | None = None) -> None:
    """Let the n-th training step of all do something else: raise, or answer with a loss."""
    from alcore.nnunet.trainer import Trainer, nnUNetTrainer

    original = nnUNetTrainer.train_step
    count = iter(range(1, 1000))

    def step(self: Trainer, batch: dict[str, object]) -> dict[str, object]:
        n = next(count)
        if batches is not None:
            batches.append(len(batch["data"]))  # type: ignore[arg-type]
        what = fail.get(n)
        if isinstance(what, BaseException):
            raise what
        found: dict[str, object] = original(self, batch)
        return found if what is None else {"loss": np.float32(what)}

    monkeypatch.setattr(nnUNetTrainer, "train_step", step)


def test_out_of_memory_goes_on_with_half_the_batch(
    ctx: QuietContext, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    failing(monkeypatch, {5: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")}, batches)
    result = run(ctx, out, training.Mixture([case(1), case(2)]), batch=4)
    assert batches == [4] * 5 + [2] * 3  # the first of two epochs of three steps was saved
    assert result["batch"] == 2
    assert result["notes"] == ["batch of 2: there was no memory for 4"]
    assert any("no memory for 4" in note for _, note in ctx.notes if note.startswith("epoch 2/2"))
    assert Remedies.load(ctx.scratch).batch == 2  # also after a kill


def test_out_of_memory_with_a_single_crop_is_said_and_over(
    ctx: QuietContext, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, dict.fromkeys(range(1, 9), RuntimeError("DefaultCPUAllocator: can't allocate memory")))
    with pytest.raises(PermanentError, match=r"single crop .* training.plan"):
        run(ctx, out, training.Mixture([case(1)]), batch=2)


def test_a_loss_that_is_no_number_costs_an_epoch_and_half_the_rate(
    ctx: QuietContext, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, {5: float("nan")})
    result = run(ctx, out, training.Mixture([case(1)]))
    rows = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows] == [1, 2]
    assert rows[1]["lr"] == pytest.approx(0.5 * QUICK.resolved("tiny").lr_at(5))
    assert result["notes"] == [
        "the training loss became nan in epoch 2: went on from the last checkpoint with half the learning rate"
    ]
    assert np.isfinite(result["loss"])


def test_a_loss_that_never_is_a_number_fails_with_words(
    ctx: QuietContext, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, dict.fromkeys(range(1, 99), float("inf")))
    with pytest.raises(PermanentError, match=r"became inf in epoch 1, also .* training.finetune_schedule"):
        run(ctx, out, training.Mixture([case(1)]))


def test_other_errors_are_no_lack_of_memory(ctx: QuietContext, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, {2: RuntimeError("a defect")})
    with pytest.raises(RuntimeError, match="a defect"):
        run(ctx, out, training.Mixture([case(1)]))
    words = "One or more background workers are no longer alive. Exiting."
    failing(monkeypatch, {2: RuntimeError(words)})
    with pytest.raises(TransientError, match="goes on from the last checkpoint"):
        run(ctx, out, training.Mixture([case(1)]))


def test_held_out_labels_end_it_and_the_best_state_is_kept(
    ctx: QuietContext, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alcore.nnunet.validation import Validation

    seen: list[dict[str, torch.Tensor]] = []
    told = iter([0.3, 0.6, 0.5, 0.55, 0.9, 0.9])

    def dice(self: Validation, network: torch.nn.Module, device: torch.device) -> float:
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return next(told)

    monkeypatch.setattr(Validation, "dice", dice)
    mixture = training.Mixture([case(1)], held_out=[case(2), case(3)])
    result = run(ctx, out, mixture, epochs=6, patience=2)
    assert (result["epochs"], result["best_epoch"], result["dice"]) == (4, 2, 0.6)
    assert result["n_held_out"] == 2
    assert "stopped after epoch 4 of 6: 2 held-out labels" in str(result["notes"])
    kept = model.load_weights(out)
    assert all(torch.equal(kept[k], seen[1][k]) for k in kept)


def test_no_crop_comes_from_a_held_out_label(ctx: QuietContext, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: set[str] = set()
    from alcore.nnunet.trainer import nnUNetTrainer

    original = nnUNetTrainer.train_step

    def step(self: object, batch: dict[str, object]) -> dict[str, object]:
        drawn.update(batch["keys"])  # type: ignore[arg-type]
        found: dict[str, object] = original(self, batch)
        return found

    monkeypatch.setattr(nnUNetTrainer, "train_step", step)
    held = [case(3), case(4)]
    result = run(ctx, out, training.Mixture([case(1), case(2)], held_out=held), epochs=3)
    assert drawn == {case(1).id, case(2).id}
    assert 0 <= float(str(result["dice"])) <= 1


def test_validation_counts_every_voxel_once(ctx: QuietContext) -> None:
    """Against the truth laid over the case itself: a network that answers with its input."""
    from alcore.nnunet import preprocessing
    from alcore.nnunet.binning import separated_foreground
    from alcore.nnunet.environment import nnunet_process
    from alcore.nnunet.validation import Validation

    class Threshold(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [torch.cat([torch.full_like(x, 0.7), x], 1)]

    cases = [case(s, shape=(8, 72, 90)) for s in (1, 2)]
    designed = training.design(PlanRequest("tiny", binning=(1, 1, 1)), cases, ctx)
    with nnunet_process(ctx.scratch, "cpu", 1):
        folder, _ = preprocessing.prepare(cases, designed, ctx.cache, ctx.progress)
    hits = total = 0
    for image, labels in (c.load() for c in cases):
        found, true = image[0] > 0.7, separated_foreground(labels) > 0
        hits += 2 * (found & true).sum()
        total += found.sum() + true.sum()
    for patch in ((8, 32, 48), (8, 128, 64)):
        told = Validation(folder, [c.id for c in cases], patch, None).dice(Threshold(), torch.device("cpu"))
        assert told == pytest.approx(hits / total, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "share", "held"), [(3, 0.15, 0), (13, 0.15, 0), (14, 0.15, 2), (40, 0.15, 6), (4, 0.5, 2), (20, 0, 0)]
)
def test_few_labels_all_train(n: int, share: float, held: int) -> None:
    labels = [case(i) for i in range(n)]
    train, out = holdout.split(labels, share)
    assert len(out) == held
    assert sorted(c.id for c in [*train, *out]) == sorted(c.id for c in labels)
    _, more_out = holdout.split([*labels, case(100)], share)
    assert not held or len({c.id for c in out} & {c.id for c in more_out}) >= held - 1


def test_no_room_on_the_disk_is_said_before_anything_is_trained(
    ctx: QuietContext, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=room.LEAST_FREE_BYTES + 1000))
    batches: list[int] = []
    failing(monkeypatch, {}, batches)
    with pytest.raises(DiskFullError, match=r"take .* are free; free some space"):
        run(ctx, out, training.Mixture([case(1)]))
    assert not batches


def test_no_room_for_the_prepared_patches_is_said_before_the_first_is_made(
    ctx: QuietContext, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [case(n) for n in range(1, 4)]
    image, _ = cases[0].load()
    free = room.LEAST_FREE_BYTES + 2 * image[0].size * (4 * len(image) + 2)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(DiskFullError, match=r"3 prepared training patches take .* are free; free some space"):
        run(ctx, out, training.Mixture(cases))
    assert not list(ctx.cache.rglob("case_*"))


def test_a_gpu_in_use_gets_a_smaller_batch_or_is_waited_for() -> None:
    gib = 2**30
    assert room.batch_for_gpu(8, 8 * gib, 80 * gib) == 8
    assert room.batch_for_gpu(8, 8 * gib, 5 * gib) == 4
    with pytest.raises(TransientError, match=r"GPU has 2.0 GiB free, this network was planned for 8.0 GiB"):
        room.batch_for_gpu(8, 8 * gib, 2 * gib)


def test_remedies_end(tmp_path: Path) -> None:
    found = Remedies()
    for _ in range(2):
        found = found.gentler(DivergedError("the training loss became nan in epoch 1"))
    found.save(tmp_path)
    assert Remedies.load(tmp_path) == found
    assert found.lr_factor == 0.25
    with pytest.raises(PermanentError):
        found.gentler(DivergedError("the training loss became nan in epoch 1"))
    (tmp_path / "remedies.json").write_text('{"batch"')
    assert Remedies.load(tmp_path) == Remedies()
