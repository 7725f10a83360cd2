"""The suggestions stage with volumes that cannot be read any more: their covered patches repel, and nothing else of them is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from alcore.arrays.coreset import farthest_first
from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError
from alcore.run import QuietContext
from alcore.stage import Input
from tests.alcore.stages.suggestion_pool import STRATEGIES, Volume, clustered, paged, places, suggest


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def ctx(tmp_path):
    return QuietContext(scratch=tmp_path / "scratch", cache=tmp_path / "cache")


class Kept(Volume):
    """A volume of which vectors of some patches are there, made from what was kept of them."""

    def __init__(self, store: ArtifactStore, name: str, rows: np.ndarray, patches: Sequence[int], flat: tuple = ()):
        super().__init__(store, name, rows)
        self.embedding = self._made(
            "kept_embedding",
            {"encoder": [Input(store.root, "encoder-1")]},
            lambda out: _write(out, rows, patches, flat),
        )


def _write(out, rows, patches, flat):
    np.save(out / "embeddings.npy", rows[list(patches)])
    np.save(out / "patches.npy", np.array(patches))
    return {"n": len(patches), "flat": list(flat)}


def test_kept_patches_repel_and_are_named_as_patches_of_their_volume(store, ctx):
    a, b = clustered(1, 20), clustered(2, 12)
    here, lost = Volume(store, "here", a), Kept(store, "lost", b, [2, 7, 11])
    key = lost.embedding.key
    result = suggest(
        store, ctx, [lost, here], covered={key: [2, 7, 11]}, labelled={key: [7, 11]}, only={key: [2, 7, 11]}, n=6
    )
    whole = np.concatenate([b[[2, 7, 11]], a])
    expected = farthest_first(whole, 6, [0, 1, 2], np.random.default_rng(11))
    assert [(k, row + 3) for k, row in places(result)] == [(here.embedding.key, p.position) for p in expected]
    assert expected != farthest_first(a, 6, [], np.random.default_rng(11)), "or it would make no difference"
    for s, pick in zip(result["suggestions"], expected, strict=True):
        assert s["distance"] == pytest.approx(pick.distance)
        if pick.nearest < 3:
            assert s["nearest"] == {"embedding": key, "row": [2, 7, 11][pick.nearest]}
        assert {n["row"] for n in s["neighbours"]} == {7, 11} and {n["embedding"] for n in s["neighbours"]} == {key}
    assert any(pick.nearest < 3 for pick in expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_of_a_volume_that_is_gone_only_what_is_covered_takes_part(strategy, store, ctx):
    """Whether all of it is embedded or only what was kept: the same answer, and never a patch of it."""
    a, b = clustered(1, 20), clustered(2, 12)
    rng = np.random.default_rng(0)
    figures = {"foreground": rng.random(12).astype(np.float32), "n_objects": rng.random(12).astype(np.float32)}
    here = Volume(store, "here", a)
    answers = []
    for lost in (
        Volume(store, "whole", b).with_traits(**figures),
        Kept(store, "part", b, [2, 7, 11]).with_traits(**figures),
    ):
        key = lost.embedding.key
        result = suggest(
            store,
            ctx,
            [here, lost],
            strategy=strategy,
            covered={key: [2, 7]},
            only={key: [2, 7]},
            n=30,
            control_share=0.2,
        )
        assert {k for k, _ in places(result)} == {here.embedding.key}
        assert result["pool"] == 22 and result["eligible"] <= 20
        answers.append([(s["row"], s["reason"], s["distance"], s["why"]) for s in result["suggestions"]])
    assert answers[0] == answers[1]
    assert len(answers[0]) > 5


def test_a_kept_patch_without_a_direction_and_traits_of_the_right_patches(store, ctx):
    from alcore.selection.assemble import Memory, assemble

    lost = Kept(store, "lost", clustered(2, 12), [2, 7, 11], flat=(1,))
    lost.with_traits(foreground=np.arange(12, dtype=np.float32))
    key = lost.embedding.key
    found = assemble(paged(store, [lost]), {key: [7, 11]}, ctx, Memory())
    assert found.pool.flat.tolist() == [True, False]
    assert found.pool.trait("foreground").tolist() == [7, 11]
    assert found.pool.start[:, 2].tolist() == [7 * 32, 11 * 32]
    assert [found.place(i) for i in range(2)] == [(key, 7), (key, 11)]
    assert found.positions({key: [11, 7]}, "covered").tolist() == [1, 0]
    for row in (2, 3, 12, -1):
        with pytest.raises(PermanentError, match=f"covered row {row} of embedding {key} is not among"):
            found.positions({key: [row]}, "covered")


def test_the_core_set_that_a_process_keeps_is_not_that_of_another_pool(store, ctx):
    """Large enough to be kept from job to job, with patches that leave and come back."""
    from alcore.selection.coreset import KEPT_FROM

    a, b = clustered(1, KEPT_FROM), clustered(2, 40)
    here, lost = Volume(store, "here", a), Volume(store, "lost", b)
    key = lost.embedding.key
    for only in ({}, {key: [3, 4]}, {key: [4]}, {}):
        covered = {key: [4]} if only == {key: [4]} else {key: [3, 4]}
        result = suggest(store, ctx, [lost, here], covered=covered, only=only, n=5)
        kept = only.get(key, list(range(40)))
        whole = np.concatenate([b[kept], a])
        expected = farthest_first(whole, 5, [kept.index(row) for row in covered[key]], np.random.default_rng(11))
        first = {key: 0, here.embedding.key: len(kept)}
        assert [first[k] + (kept.index(row) if k == key else row) for k, row in places(result)] == [
            p.position for p in expected
        ]


@pytest.mark.parametrize(
    ("patches", "message"),
    [
        ([2, 7, 12], r"3 embeddings for the 12 patches"),
        ([2, 7, 7], r"patches\.npy: is no ascending list of 3 patches"),
        ([-1, 2, 7], r"patches\.npy: is no ascending list"),
        ([7, 2, 11], r"patches\.npy: is no ascending list"),
    ],
)
def test_a_list_of_patches_that_cannot_be_theirs(store, ctx, patches, message):
    lost = Kept(store, "lost", clustered(2, 12), [2, 7, 11])
    path = lost.embedding.path / "patches.npy"
    path.chmod(0o640)
    np.save(path, np.array(patches))
    with pytest.raises(PermanentError, match=message):
        suggest(store, ctx, [lost], n=2)


def test_a_list_of_patches_that_was_cut(store, ctx):
    lost = Kept(store, "lost", clustered(2, 12), [2, 7, 11])
    path = lost.embedding.path / "patches.npy"
    path.chmod(0o640)
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(PermanentError, match=r"patches\.npy: not a readable array"):
        suggest(store, ctx, [lost], n=2)


def test_workers_that_take_turns_share_one_index_and_each_only_adds_to_it(store, ctx):
    """What a process remembers of the index holds as long as nobody else has written it; nor is it believed when it is gone."""
    from alcore.index.stored import ROWS_FILE
    from alcore.selection.assemble import Memory, assemble

    volumes = [Volume(store, f"v{n}", clustered(n, 20)) for n in range(6)]
    first, second = Memory(), Memory()
    names = set()
    for n, memory in ((1, first), (2, second), (3, first), (4, first), (5, second)):
        some = volumes[:n]
        found = assemble(paged(store, some), {}, ctx, memory)
        np.testing.assert_array_equal(found.pool.embeddings, np.concatenate([clustered(i, 20) for i in range(n)]))
        names |= {path.name for path in (ctx.cache / "index").glob(ROWS_FILE)}
    assert len(names) == 1, "nobody wrote everything anew"
    for path in (ctx.cache / "index").iterdir():
        path.unlink()
    found = assemble(paged(store, volumes), {}, ctx, second)
    assert found.indexed == 120 and found.notes == ["no pool index yet: built"]
    assert list((ctx.cache / "index").glob(ROWS_FILE))
