"""The arrays of a suggestion, the picture that Segment Anything sees, and which weights there are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alcore.annotate.canvas import veil
from alcore.annotate.patch import Patch, changed_voxels, counting, limits, picture, read_patch
from alcore.annotate.weights import NAMES, find_weights, known_model
from alcore.errors import PermanentError
from tests.annotate.patches import suggestion


def test_the_margin_does_not_count(tmp_path: Path) -> None:
    patch = read_patch(suggestion(tmp_path / "s00001", (3, 40, 50), margin=8, channels=2))
    assert patch.image.shape == (2, 3, 56, 66) and patch.pseudo.dtype == np.uint32
    assert (~patch.margin).sum() == 3 * 40 * 50 and not patch.margin[1, 8, 8] and patch.margin[1, 7, 8]
    drawn = patch.pseudo.copy()
    drawn[:, 0], drawn[0, 20, 20] = 99, 98
    assert changed_voxels(drawn, patch) == 1
    label = counting(drawn, patch)
    assert 98 in label and 99 not in label and drawn[0, 0, 0] == 99


def test_a_folder_without_margin_or_pseudo_label_opens(tmp_path: Path) -> None:
    folder = suggestion(tmp_path / "s00001", (3, 40, 50), margin=0)
    (folder / "pseudo_label.tif").unlink()
    about = json.loads((folder / "suggestion.json").read_text())
    del about["margin"]
    (folder / "suggestion.json").write_text(json.dumps(about))
    patch = read_patch(folder)
    assert not patch.margin.any() and not patch.pseudo.any()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = suggestion(tmp_path / "s00001", (3, 40, 50))
    about = json.loads((folder / "suggestion.json").read_text())
    (folder / "suggestion.json").write_text(json.dumps(about | {"box": {"start": [0, 0, 0], "shape": [3, 41, 50]}}))
    with pytest.raises(PermanentError, match="cannot be"):
        read_patch(folder)
    (folder / "suggestion.json").unlink()
    with pytest.raises(PermanentError, match="no suggestion's folder"):
        read_patch(folder)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int16])
def test_one_hot_pixel_does_not_blacken_the_picture(dtype: type) -> None:
    image = np.random.default_rng(0).uniform(10, 100, (1, 4, 50, 60)).astype(dtype)
    image[0, 1, 2, 3] = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1e9
    seen = picture(image)
    assert seen.dtype == np.uint8 and seen.shape == (4, 50, 60)
    assert 100 < np.median(seen) < 160 and seen.min() == 0 and seen[1, 2, 3] == 255


def test_a_constant_patch_is_a_picture() -> None:
    assert not picture(np.full((1, 2, 8, 8), 7, np.uint16)).any()


def test_weights_are_found_or_it_is_said_how_to_get_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "micro"))
    monkeypatch.setattr("alcore.annotate.weights.packages.missing", lambda name: [])
    assert find_weights("auto", tmp_path)[1].startswith("no weights of Segment Anything here: alscope models fetch")
    for name in ("vit_b_em_organelles", "vit_b_em_organelles_decoder"):
        (tmp_path / name).write_bytes(b"weights")
    found, why = find_weights("auto", tmp_path)
    assert found is not None and found.name == "vit_b_em_organelles" and len(found.files) == 2 and why == ""
    assert "alscope models fetch vit_b_lm" in find_weights("vit_b_lm", tmp_path)[1]
    assert find_weights("none", tmp_path) == (None, "annotation.model is none")
    own, _ = find_weights(str(tmp_path / "vit_b_em_organelles"), None)
    assert own is not None and own.files == (str(tmp_path / "vit_b_em_organelles"),)
    assert "no such file" in find_weights(str(tmp_path / "gone.pt"), None)[1]
    monkeypatch.setattr("alcore.annotate.weights.packages.missing", lambda name: ["micro_sam"])
    assert "micro_sam not installed: pip install" in find_weights("auto", tmp_path)[1]


def test_a_misspelt_model_is_known_by_what_there_is() -> None:
    assert [known_model(m) for m in ("auto", "none", "./mine.pt", *NAMES)] == [""] * (3 + len(NAMES))
    assert "vit_b_lm" in known_model("vit_b_ml")


@pytest.mark.parametrize("before_z", [0, 2])
def test_the_veil_covers_the_margin_and_draws_a_line_around_the_patch_alone(before_z: int) -> None:
    shape = (4, 12, 14)
    inside = (slice(before_z, 4), slice(3, 9), slice(0, 10))
    patch = Patch(np.zeros((1, *shape), np.uint8), np.zeros(shape, np.uint32), inside, {})
    seen = veil(patch)
    assert seen.ndim == (3 if before_z else 2)
    shown = np.broadcast_to(seen, shape)
    assert np.array_equal(shown > 0, patch.margin)
    line = np.zeros(shape[1:], bool)
    line[2:10, 0:11] = True
    line[3:9, 0:10] = False
    assert all(np.array_equal(plane == 2, line) for plane in shown)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "int16", "float32"])
def test_a_picture_is_the_same_however_it_is_computed(dtype: str) -> None:
    image = np.random.default_rng(0).integers(0, 250, (1, 2, 40, 40)).astype(dtype)
    low, high = limits(image[0])
    scaled = (np.clip(image[0].astype(np.float64), low, high) - low) * (255 / (high - low))
    assert np.abs(picture(image).astype(int) - scaled).max() <= 0.51
    assert np.array_equal(picture(image), picture(image.astype(np.float64)))
