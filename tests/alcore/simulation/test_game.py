"""Curves on a real pool: strategies see the same, labels do not overlap, errors of the expert reach the learner, nothing leaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from alcore import selection
from alcore.errors import PermanentError
from alcore.simulation import cell as cells
from alcore.simulation import choosing, concerns
from alcore.simulation.cell import Cell, Curve, Played
from alcore.simulation.game import Game, curves
from alcore.simulation.pair import Pair
from alcore.simulation.pool import LabelledPool, Workshop
from alcore.simulation.settings import ExpertSettings, Settings
from alcore.volumes.writers import write_labels_tiff

SETTINGS = Settings(patch_px=(6, 20, 20))


@pytest.fixture(scope="module")
def pool(tissue: Pair, tmp_path_factory: pytest.TempPathFactory) -> LabelledPool:
    return LabelledPool(tissue, SETTINGS, Workshop(tmp_path_factory.mktemp("shop")))


@pytest.fixture(scope="module")
def played(pool: LabelledPool, tmp_path_factory: pytest.TempPathFactory) -> dict[Cell, Played]:
    """Every strategy on one region and seed."""
    folder = tmp_path_factory.mktemp("cells")
    return dict(_play(Game(pool, folder), folder, list(choosing.STRATEGIES), [False]))


def _play(game: Game, folder: Path, strategies: list[str], starts: list[bool]) -> Iterator[tuple[Cell, Played]]:
    for curve in curves(game.pool, strategies, starts, [0], "fast"):
        if curve.first.split == 0:
            game.play(curve)
            for cell in curve.cells:
                found = cells.read(cell, folder)
                assert found is not None
                yield cell, found


def test_every_strategy_of_the_selection_room_is_offered() -> None:
    assert set(selection.STRATEGIES) | {choosing.ORACLE} == set(choosing.STRATEGIES)
    assert not choosing.looks("coreset") and choosing.looks("guided") and choosing.looks("uncertainty")


def test_all_strategies_have_as_many_labels_of_the_same_pool(pool: LabelledPool, played: dict[Cell, Played]) -> None:
    assert pool.size == 16 and len(pool.splits) == 4
    (whole,) = (p for cell, p in played.items() if cell.strategy == cells.ALL)
    assert whole.label_fraction == 1 and sorted(whole.picks) == list(whole.picks)
    for cell, found in played.items():
        assert len(found.picks) == cell.n == len(set(found.picks))
        assert set(found.picks) <= set(whole.picks)
        if cell.n:
            assert found.label_fraction == pytest.approx(cell.n / 16)
    for strategy in choosing.STRATEGIES:
        picks = [played[cell].picks for cell in sorted(played) if cell.strategy == strategy]
        assert [len(p) for p in picks] == [2, 4, 8]
        assert all(more[: len(few)] == few for few, more in pairwise(picks))
    assert len({played[c].picks for c in played if c.n == 8}) > 4


def test_minutes_are_those_of_the_labels(pool: LabelledPool, played: dict[Cell, Played]) -> None:
    for cell, found in played.items():
        n = sum(len(np.unique(t[t > 0])) for t in (pool.truth[pool.boxes[row].slices] for row in found.picks))
        assert found.n_selected_objects == n
        assert found.minutes == pytest.approx(1.0 * cell.n + 0.25 * n)


def test_the_oracle_sees_the_truth_and_nobody_else_does(pool: LabelledPool) -> None:
    true = [(pool.truth[box.slices] > 0).mean() for box in pool.boxes]
    np.testing.assert_allclose(pool.true_traits["foreground"], true, atol=1e-6)
    pseudo = [(pool.pseudo_labels[box.slices] > 0).mean() for box in pool.boxes]
    np.testing.assert_allclose(pool.seen_traits["foreground"], pseudo, atol=1e-6)
    np.testing.assert_array_equal(pool.true_traits["sharpness"], pool.seen_traits["sharpness"])


def test_nothing_of_a_test_region_changes_what_is_learned(
    pool: LabelledPool, tissue: Pair, played: dict[Cell, Played], tmp_path: Path
) -> None:
    """Scrambled labels in the test region and its gap change scores only: no pick, no model."""
    region = pool.splits[0].region
    changed = pool.truth.copy()
    far = np.zeros(changed.shape, bool)
    for row in pool.splits[0].rows:
        far[pool.boxes[row].slices] = True
    changed[~far] = np.where(np.random.default_rng(0).random(changed.shape) < 0.3, 999, 0)[~far]
    assert (changed[region.slices] != pool.truth[region.slices]).any()
    write_labels_tiff(tmp_path / "labels.tif", changed.astype(np.uint32), changed.shape, "uint32", None)
    other = LabelledPool(replace(tissue, labels=tmp_path / "labels.tif"), SETTINGS, Workshop(tmp_path / "shop"))
    found = dict(
        _play(Game(other, tmp_path / "cells"), tmp_path / "cells", ["coreset", "guided", "uncertainty"], [False])
    )
    for cell, there in found.items():
        assert there.picks == played[cell].picks
    scores = [(found[c].scores.n_predicted, played[c].scores.n_predicted) for c in found]
    assert all(a == b for a, b in scores) and any(a for a, _ in scores)


def test_an_expert_who_misses_everything_teaches_nothing(tissue: Pair, tmp_path: Path) -> None:
    settings = replace(SETTINGS, expert=ExpertSettings(missed=1.0))
    pool = LabelledPool(tissue, settings, Workshop(tmp_path / "shop"))
    found = dict(_play(Game(pool, tmp_path / "cells"), tmp_path / "cells", ["random"], [False, True]))
    for cell, there in found.items():
        if cell.n and not cell.pretrained:
            assert there.scores.n_predicted == 0 and there.n_selected_objects == 0
    assert pool.drawn(3, 0).sum() == 0


def test_a_cell_is_read_as_it_was_written_and_a_damaged_one_is_named(
    played: dict[Cell, Played], tmp_path: Path
) -> None:
    cell, found = next(iter(played.items()))
    found.write(tmp_path)
    assert cells.read(cell, tmp_path) == found
    assert cells.read(replace(cell, seed=99), tmp_path) is None
    cell.path(tmp_path).write_text("{")
    with pytest.raises(PermanentError, match=r"not a readable cell .* remove it"):
        cells.read(cell, tmp_path)


def test_no_label_and_all_labels_are_played_once_for_all_strategies(pool: LabelledPool) -> None:
    found = list(curves(pool, ["random", "coreset"], [False, True], [0, 1], "fast"))
    assert len(found) == 2 * 4 * (1 + 2 * (1 + 2))
    all_cells = [cell for curve in found for cell in curve.cells]
    assert len(set(all_cells)) == len(all_cells)
    begun = list(dict.fromkeys((c.first.seed, c.first.split) for c in found))
    assert (
        begun[:4] == [(0, 0), (1, 1), (0, 1), (1, 2)] and len(begun) == 2 * 4
    )  # seeds and regions alike, however far it comes
    assert Curve(found[0].first, (0,)) == found[0]


def test_labels_without_objects_and_of_another_shape_are_refused(tissue: Pair, tmp_path: Path) -> None:
    shop = Workshop(tmp_path / "shop")
    for name, shape, words in (("empty", (6, 160, 160), "holds no object"), ("other", (6, 80, 160), "must be equal")):
        path = tmp_path / f"{name}.tif"
        write_labels_tiff(path, np.zeros(shape, np.uint16), shape, "uint16", None)
        with pytest.raises(PermanentError, match=f"{name}.tif.*{words}"):
            LabelledPool(replace(tissue, labels=path), SETTINGS, shop)


def test_labels_that_are_no_instances_are_told_of(pool: LabelledPool, tissue: Pair) -> None:
    assert pool.concerns == [] == pool.remarks
    mask = np.zeros((2, 6, 6), np.uint32)
    mask[:, 1:3, 1:3] = 1
    (one,) = concerns.of_labels(tissue.labels, mask)
    assert one.startswith("labels.tif holds a single object") and "if it is a semantic mask" in one
    mask[:, 4:, 4:] = 1
    (semantic,) = concerns.of_labels(tissue.labels, mask)
    assert semantic.startswith("labels.tif looks like a semantic mask: it holds one value besides 0, in 2 pieces")
    mask[:, 4:, 4:] = 2
    assert concerns.of_labels(tissue.labels, mask) == []
    assert "states no voxel size" in concerns.of_voxels(tissue.image, None, 6)[0]
    assert concerns.of_voxels(tissue.image, None, 1) == []
