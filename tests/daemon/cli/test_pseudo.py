"""`alscope pseudo compare` on labels of a workspace."""

from __future__ import annotations

import numpy as np
import pytest

from tests.alcore.pseudo.test_compare import label_artifact


@pytest.fixture
def labelled(scene):
    """One accepted label with bright squares."""
    scene.volume("a.tif")
    (suggestion,) = scene.suggest(1)
    scene.answer(suggestion)
    image = np.random.default_rng(0).normal(60, 8, (8, 64, 64))
    truth = np.zeros(image.shape, np.uint16)
    for n, (y, x) in enumerate([(6, 6), (6, 40), (40, 20)], 1):
        truth[:, y : y + 14, x : x + 14] = n
    image[truth > 0] += 100
    path = scene.workspace.artifacts.path(f"label-{suggestion}")
    label_artifact(path, image.clip(0, 255).astype(np.uint8), truth)
    return scene


def test_a_table_and_a_picture(labelled, alscope, tmp_path):
    (row,) = alscope("pseudo", "compare", "--with", "threshold", "--json").data
    assert row["name"] == "threshold" and row["scores"]["f1"] > 0.6 and row["n_patches"] == 1
    done = alscope("pseudo", "compare", "--with", "threshold", "--picture", str(tmp_path / "c.png"))
    assert done.code == 0 and "on 1 accepted labels" in done.out and (tmp_path / "c.png").stat().st_size > 100


def test_what_is_wrong_is_said(scene, alscope, tmp_path):
    none = alscope("pseudo", "compare", "--with", "threshold")
    assert none.code == 1 and "no accepted label to compare with yet" in none.err
    unknown = alscope("pseudo", "compare", "--with", "magic")
    assert unknown.code == 64 and "no backend is called 'magic'" in unknown.err
    nowhere = alscope("pseudo", "compare", "--picture", str(tmp_path / "no" / "c.png"))
    assert nowhere.code == 64 and "no such folder" in nowhere.err
