"""Labels of which only a part was looked at: what is learned from them, what is ignored, and what stays the same for the others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from alcore.arrays import normalise
from alcore.errors import PermanentError
from alcore.nnunet import model, sources, training
from alcore.nnunet.case import Case
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.targets import Border, target, with_ignore
from alcore.run import QuietContext
from alcore.stage import Input
from alcore.volumes.writers import write_image_tiff, write_labels_tiff
from tests.alcore.nnunet.nnunet_blobs import QUICK, SPACING, blobs, case
from tests.alcore.nnunet.test_nnunet_training import dice, fresh

ONE = (1, 1, 1)
SEEN = np.zeros((8, 64, 64), bool)
SEEN[3:5] = True


def sparse(seed: int, garbage: int = 0) -> Case:
    """A case of which two slices were looked at; elsewhere the label holds `garbage`."""

    def load() -> tuple[np.ndarray, np.ndarray]:
        image, labels = blobs(seed)
        return image, np.where(SEEN, labels, garbage)

    return Case(f"sparse {seed} {garbage}", SPACING, load, lambda: SEEN)


def train(ctx: QuietContext, name: str, cases: list[Case], start: Path | None = None, **schedule: float) -> Path:
    out = ctx.scratch.parent / name
    out.mkdir()
    designed = model.load_design(start) if start else training.design(PlanRequest("tiny", ONE), [case(1), case(2)], ctx)
    length = dataclasses.replace(QUICK, **schedule)  # type: ignore[arg-type]
    training.train(designed, training.Mixture(cases), length, 7, start, out, ctx, {})
    return out


@pytest.mark.parametrize("border", [None, Border(1.0, True)])
def test_what_was_not_looked_at_is_ignored_and_makes_no_border(border: Border | None) -> None:
    labels = np.zeros((2, 8, 8), np.uint32)
    labels[:, :, :5], labels[:, :, 5:] = 1, 2
    seen = np.ones(labels.shape, bool)
    seen[1], seen[0, :, 4:] = False, False
    found = target(labels, seen, ONE, border, (4.0, 1.0, 1.0))
    ignore = 2 if border is None else 3
    assert (found[~seen] == ignore).all()
    assert (found[seen] == 1).all()  # the other object begins where nobody looked
    whole = target(labels, None, ONE, border, (4.0, 1.0, 1.0))
    assert (whole[:, :, 4:6] == (0 if border is None else 2)).all()


def test_a_bin_that_was_looked_at_in_part_is_ignored() -> None:
    labels = np.ones((1, 4, 4), np.uint32)
    seen = np.ones(labels.shape, bool)
    seen[0, 0, 0] = False
    assert target(labels, seen, (1, 2, 2), None, (1.0, 1.0, 1.0)).tolist() == [[[2, 1], [1, 1]]]


def test_what_is_painted_where_nobody_looked_changes_nothing(ctx: QuietContext) -> None:
    clean, painted = (
        weights(train(fresh(ctx, name), name, [sparse(1, garbage), case(2)]))
        for name, garbage in (("clean", 0), ("painted", 9))
    )
    assert all(torch.equal(clean[k], painted[k]) for k in clean)


def test_two_slices_teach_what_background_elsewhere_would_unteach(ctx: QuietContext) -> None:
    cases = [sparse(s) for s in (1, 2, 3)]
    learned = dice(train(ctx, "ignored", cases, epochs=4, iterations=12, lr=1e-2), ctx, seed=9)
    blind = [dataclasses.replace(c, key=f"{c.key} as background", seen=None) for c in cases]
    unlearned = dice(train(fresh(ctx, "b"), "background", blind, epochs=4, iterations=12, lr=1e-2), ctx, seed=9)
    assert learned > 0.6
    assert unlearned < learned - 0.2


def test_a_sparse_label_joins_a_model_of_whole_ones_and_the_cache_stays(ctx: QuietContext) -> None:
    start = train(ctx, "pretrained", [case(1), case(2)])
    declared = json.loads((start / "dataset.json").read_text())["labels"]
    assert declared == {"background": 0, "object": 1, "ignore": 2}
    assert model.load_design(start).n_classes == 2
    tuned = train(fresh(ctx, "t"), "tuned", [case(1), sparse(5)], start)
    shapes = [{k: v.shape for k, v in weights(folder).items()} for folder in (start, tuned)]
    assert shapes[0] == shapes[1]
    assert model.load_design(tuned) == dataclasses.replace(
        model.load_design(start), min_voxels=model.load_design(tuned).min_voxels
    )
    folders = list((ctx.cache / "nnunet").glob("cases-*"))
    assert len(folders) == 1 and len(list(folders[0].glob("*_seg.b2nd"))) == 3


def test_a_case_without_any_object_in_what_was_looked_at_trains(ctx: QuietContext) -> None:
    empty = dataclasses.replace(sparse(1), load=lambda: (blobs(1)[0], np.zeros(SEEN.shape, np.uint32)), key="empty")
    folder = train(ctx, "out", [empty, case(2)])
    assert all(torch.isfinite(v).all() for v in weights(folder).values())


def test_a_model_from_before_the_ignore_label_takes_sparse_labels_too() -> None:
    before = {"labels": {"background": 0, "object": 1}, "channel_names": {"0": "nonorm"}}
    assert with_ignore(before, True)["labels"] == {"background": 0, "object": 1, "ignore": 2}
    assert with_ignore(with_ignore(before, True), False) == before


@pytest.mark.parametrize("name", ["whole", "sparse", "wrong"])
def test_label_artifacts_say_what_was_looked_at(tmp_path: Path, name: str) -> None:
    image, labels = blobs(1)
    stats = normalise.measure(image, np.random.default_rng(0))
    write_image_tiff(tmp_path / "image.tif", image, SPACING)
    write_labels_tiff(tmp_path / "label.tif", labels, labels.shape, "uint32", SPACING)
    about = {"box": {"start": [0, 0, 0], "shape": [8, 64, 64]}, "voxel_um": SPACING, "stats": [vars(s) for s in stats]}
    (tmp_path / "label.json").write_text(json.dumps(about))
    seen = SEEN if name == "sparse" else SEEN[:, :9]
    if name != "whole":
        write_labels_tiff(tmp_path / "seen.tif", seen.astype(np.uint8), seen.shape, "uint8", SPACING)
    (made,) = sources.label_cases([Input(tmp_path, "key")])
    if name == "wrong":
        with pytest.raises(PermanentError, match=r"seen.tif: shape \(8, 9, 64\)"):
            made.load()
        return
    _, instances = made.load()
    assert (instances == (labels if name == "whole" else np.where(SEEN, labels, 0))).all()
    if name == "whole":
        assert made.seen is None and sources.label_ignored(tmp_path) is None
    else:
        assert made.seen is not None and (made.seen() == SEEN).all()
        assert (sources.label_ignored(tmp_path) == ~SEEN).all()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return model.load_weights(folder)


def test_the_loss_of_what_was_looked_at_is_that_without_an_ignore_label(ctx: QuietContext) -> None:
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    def loss(ignore: int | None, output: torch.Tensor, labels: torch.Tensor) -> float:
        dice_terms = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
        made = DC_and_CE_loss(dice_terms, {}, 1, 1, ignore, MemoryEfficientSoftDiceLoss)
        return float(made(output, labels))

    with nnunet_process(ctx.scratch, "cpu", 1):
        rng = torch.Generator().manual_seed(0)
        output = torch.randn((2, 2, 4, 8, 8), generator=rng)
        labels = torch.randint(0, 2, (2, 1, 4, 8, 8), generator=rng)
        assert loss(2, output, labels) == pytest.approx(loss(None, output, labels), abs=1e-6)
        partly = labels.clone()
        partly[:, :, 2:] = 2
        assert loss(2, output, partly) == pytest.approx(loss(None, output[:, :, :2], labels[:, :, :2]), abs=1e-6)
