"""The contract of every PseudoLabeler: a new backend joins by its name in BACKENDS and its cheapest options here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alcore.arrays.matching import score
from alcore.errors import PermanentError, Preempted
from alcore.pseudo import BACKENDS, backend

Image = np.ndarray[Any, Any]
OPTIONS: dict[str, dict[str, Any]] = {"threshold": {"block_voxels": 1 << 15}}
"""Options under which a backend works in several blocks on the small volumes below."""


@pytest.fixture(params=list(BACKENDS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bright", [True, False])
def test_finds_objects_and_says_so(name: str, dtype: str, bright: bool, label: Any, phantom: Any) -> None:
    image, truth = phantom((32, 80, 88), bright=bright)
    labels, said = label(image.clip(0, 255).astype(dtype), name=name, **OPTIONS[name])
    assert labels.dtype == np.uint32
    assert score(labels, truth).f1 >= 0.8
    assert set(np.unique(labels)) == set(range(said.n_objects + 1)), "every id from 1 to n is used"
    assert len(said.confidence) == said.n_objects and all(0 <= c <= 1 for c in said.confidence)
    assert said.foreground_fraction == pytest.approx((labels > 0).mean())


def test_a_picture_of_one_slice(name: str, label: Any, phantom: Any) -> None:
    image, truth = phantom((1, 160, 150), radius=9)
    labels, _ = label(image, name=name, **OPTIONS[name])
    assert score(labels, truth).f1 >= 0.8


@pytest.mark.parametrize("value", [0, 97])
def test_a_flat_volume_is_empty_with_a_note(name: str, value: int, label: Any) -> None:
    labels, said = label(np.full((5, 40, 40), value, np.uint8), name=name, **OPTIONS[name])
    assert not labels.any() and said.n_objects == 0 and said.confidence == () and said.foreground_fraction == 0
    assert any("nothing" in note for note in said.notes)


def test_nan_is_background_and_spoils_nothing_around_it(name: str, label: Any, phantom: Any) -> None:
    image, truth = phantom((32, 80, 88))
    image[:, :12], image[10, 50, 50], image[20, 60, 3] = np.nan, np.inf, np.nan
    labels, _ = label(image, name=name, **OPTIONS[name])
    truth[:, :12] = 0
    assert score(labels[:, 16:], truth[:, 16:]).f1 >= 0.7
    assert (labels[:, :9] > 0).mean() < 0.02
    labels, said = label(np.full((4, 30, 30), np.nan, np.float32), name=name, **OPTIONS[name])
    assert not labels.any() and said.notes


def test_the_same_twice(name: str, label: Any, phantom: Any) -> None:
    image, _ = phantom((20, 60, 60))
    (first, said), (second, again) = (label(image, name=name, **OPTIONS[name]) for _ in range(2))
    assert np.array_equal(first, second) and said == again


def test_reports_progress_to_the_end(name: str, label: Any, phantom: Any, ctx: Any) -> None:
    label(phantom((20, 60, 60))[0], name=name, **OPTIONS[name])
    fractions = [fraction for fraction, _ in ctx.notes]
    assert fractions == sorted(fractions) and fractions[0] > 0 and fractions[-1] == pytest.approx(1)


def test_stops_when_asked_and_continues(
    name: str, label: Any, phantom: Any, ctx: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image, _ = phantom((32, 80, 88))
    whole, said = label(image, name=name, **OPTIONS[name])
    questions, all_read = ctx.asked, ctx.voxels_read
    ctx.scratch = tmp_path_factory.mktemp("scratch")
    stops = 0
    for stop_at in sorted({1, questions // 3, questions // 2, questions - 1}):
        ctx.asked, ctx.stop_at = 0, stop_at
        try:
            label(image, name=name, **OPTIONS[name])
        except Preempted:
            stops += 1
    ctx.asked, ctx.stop_at = 0, None
    labels, again = label(image, name=name, **OPTIONS[name])
    assert stops >= 3 and np.array_equal(labels, whole) and again == said
    assert ctx.asked < questions and ctx.voxels_read < all_read, "finished blocks are not computed again"


def test_an_option_that_does_not_exist(name: str) -> None:
    with pytest.raises(PermanentError, match="no option 'zzz'; the nearest is"):
        backend(name, {"zzz": 1})


def test_a_backend_that_does_not_exist() -> None:
    with pytest.raises(PermanentError, match=r"'magic' does not exist; known backends: .*threshold"):
        backend("magic", {})
