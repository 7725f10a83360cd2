"""Two people's labels of one patch compared: real label files, figures by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.volumes.writers import write_labels_tiff

SHAPE = (4, 24, 24)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def ctx(tmp_path):
    return QuietContext(scratch=tmp_path / "scratch", cache=tmp_path / "cache")


def label(store: ArtifactStore, name: str, mask: np.ndarray, seen: np.ndarray | None = None) -> Input:
    """A label artifact as the stage `label` leaves it, as far as two of them are compared."""

    def fill(out: Path) -> dict:
        write_labels_tiff(out / "label.tif", mask, mask.shape, "uint32", None, {})
        if seen is not None:
            write_labels_tiff(out / "seen.tif", seen, seen.shape, "uint8", None, {})
        return {}

    store.create(f"label-{name}", "label", 2, {}, {}, fill)
    return Input(store.path(f"label-{name}"), f"label-{name}")


def boxes(*found: tuple[int, int, int]) -> np.ndarray:
    """Objects of 4 x 6 x width voxels at (y, x)."""
    mask = np.zeros(SHAPE, np.uint32)
    for number, (y, x, width) in enumerate(found, 1):
        mask[:, y : y + 6, x : x + width] = number
    return mask


def compared(store, ctx, a: Input, b: Input) -> dict:
    return execute("agreement", {"first": [a], "second": [b]}, {}, store, ctx).result


ANA = boxes((0, 0, 8), (8, 0, 8), (16, 0, 8))
BEN = boxes((0, 0, 8), (8, 1, 8), (16, 6, 8), (0, 16, 8))
"""The first alike; the second one voxel aside, IoU 7/9; the third hardly met, IoU 2/14; the fourth seen by one alone."""


def test_two_labels_by_hand(store, ctx):
    a, b = label(store, "ana", ANA), label(store, "ben", BEN)
    found = compared(store, ctx, a, b)
    assert found["scores"]["f1"] == pytest.approx(2 * 2 / (3 + 4))
    voxels = 4 * 6
    assert found["scores"]["dice"] == pytest.approx(2 * voxels * (8 + 7 + 2) / (voxels * 24 + voxels * 32))
    turned = compared(store, ctx, b, a)
    assert [turned["scores"][n] for n in ("f1", "dice")] == [found["scores"][n] for n in ("f1", "dice")]
    assert compared(store, ctx, a, a)["scores"]["f1"] == 1.0


def test_what_either_did_not_look_at_is_left_out(store, ctx):
    seen_a, seen_b = np.ones(SHAPE, np.uint8), np.ones(SHAPE, np.uint8)
    seen_a[:, 16:] = 0  # where the third lies
    seen_b[:, :, 16:] = 0  # and the fourth
    found = compared(store, ctx, label(store, "ana", ANA, seen_a), label(store, "ben", BEN, seen_b))
    assert (found["counts"]["n_true"], found["counts"]["n_predicted"], found["scores"]["f1"]) == (2, 2, 1.0)


def test_two_empty_labels_agree_and_shapes_that_differ_are_refused(store, ctx):
    empty = boxes()
    assert compared(store, ctx, label(store, "one", empty), label(store, "two", empty))["scores"]["dice"] == 1.0
    with pytest.raises(PermanentError, match="not of one patch"):
        compared(store, ctx, label(store, "ana", ANA), label(store, "cut", ANA[:2]))
