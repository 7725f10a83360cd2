"""The suggestions stage on real artifacts: continues from what is covered, and explains itself."""

from __future__ import annotations

import numpy as np
import pytest

from alcore.arrays.coreset import farthest_first
from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError
from alcore.run import QuietContext
from alcore.stages import suggestions as stage_file
from tests.alcore.stages.suggestion_pool import DIM, STRATEGIES, Volume, clustered, places, suggest


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def ctx(tmp_path):
    return QuietContext(scratch=tmp_path / "scratch", cache=tmp_path / "cache")


def test_the_core_set_is_the_papers(store, ctx):
    a, b = clustered(1, 30), clustered(2, 20)
    volumes = [Volume(store, "a", a), Volume(store, "b", b)]
    result = suggest(store, ctx, volumes)
    assert (result["pool"], result["indexed"], result["eligible"]) == (50, 50, 50)
    assert [s["rank"] for s in result["suggestions"]] == [1, 2, 3, 4, 5]
    reasons = [s["reason"] for s in result["suggestions"]]
    assert reasons[1].startswith("random seed 2 of 3: nothing was labelled yet")
    assert reasons[3].startswith("the least similar of all patches to everything labelled or queued")
    assert result["suggestions"][0]["distance"] is None
    expected = farthest_first(np.concatenate([a, b]), 5, [], np.random.default_rng(11))
    start = {"embedding-a": 0, "embedding-b": 30}
    assert [start[key] + row for key, row in places(result)] == [p.position for p in expected]
    for got, pick in zip(result["suggestions"][1:], expected[1:], strict=True):
        assert got["distance"] == pytest.approx(pick.distance)
        assert start[got["nearest"]["embedding"]] + got["nearest"]["row"] == pick.nearest


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_continues_until_the_pool_is_empty_and_never_repeats(strategy, store, ctx):
    volumes = [Volume(store, "a", clustered(1, 12)), Volume(store, "b", clustered(2, 9))]
    covered: dict[str, list[int]] = {}
    seen: set[tuple[str, int]] = set()
    while True:
        result = suggest(
            store, ctx, volumes, strategy=strategy, covered=covered, labelled=covered, n=4, n_before=len(seen)
        )
        if not result["suggestions"]:
            break
        assert not seen & set(places(result)) and len(set(places(result))) == len(result["suggestions"])
        assert all(len(s["neighbours"]) == min(3, len(seen)) for s in result["suggestions"])
        seen |= set(places(result))
        covered = {key: sorted(row for k, row in seen if k == key) for key in {k for k, _ in seen}}
    assert len(seen) == 21
    assert any("no more patches are eligible" in note for note in result["notes"])


def test_why_this_patch(store, ctx):
    rng = np.random.default_rng(0)
    a = clustered(1, 30)
    traits = {"foreground": rng.random(30), "border": rng.random(30) / 10, "n_objects": rng.random(30) * 9}
    volume = Volume(store, "a", a).with_traits(**{k: v.astype(np.float32) for k, v in traits.items()})
    key = volume.embedding.key
    result = suggest(
        store,
        ctx,
        [volume],
        strategy="guided",
        covered={key: [3, 4, 5, 6, 7]},
        labelled={key: [4, 5, 6, 7]},
        minutes={"base": 2.0, "per_object": 0.5},
    )
    for s in result["suggestions"]:
        assert s["why"]["minutes"] == pytest.approx(2 + 0.5 * traits["n_objects"][s["row"]], rel=1e-4)
        assert s["why"]["foreground"] == pytest.approx(traits["foreground"][s["row"]], abs=1e-5)
        assert {"score", "gain", "density"} <= set(s["why"])
        distances = 1 - a @ a[s["row"]]
        nearest = sorted([4, 5, 6, 7], key=lambda i: distances[i])[:3]
        assert [n["row"] for n in s["neighbours"]] == nearest
        assert [n["distance"] for n in s["neighbours"]] == pytest.approx([distances[i] for i in nearest], abs=1e-6)
        assert "to learn from" in s["reason"] and f"{traits['foreground'][s['row']]:.0%}" in s["reason"]


def test_a_prediction_counts_before_pseudo_labels(store, ctx):
    n = 24
    rows = clustered(5, n)
    volume = Volume(store, "a", rows).with_traits(
        foreground=np.full(n, 0.5, np.float32), n_objects=np.full(n, 7, np.float32)
    )
    foreground = np.full(n, np.nan, np.float32)
    foreground[:12] = 0.25
    entropy = np.linspace(0.01, 0.9, n, dtype=np.float32)
    volume.with_prediction(foreground=foreground, entropy_fg=entropy, entropy_bg=entropy)
    result = suggest(store, ctx, [volume], strategy="uncertainty", n=n, n_gated=10_000)
    for s in result["suggestions"]:
        assert s["why"]["foreground"] == pytest.approx(0.25 if s["row"] < 12 else 0.5)
        assert s["why"]["n_objects"] == 7
    order = [s["row"] for s in result["suggestions"]]
    assert np.mean(order[:6]) > 15, "the model's doubts decide, with next to no noise behind ten thousand labels"
    old = Volume(store, "b", clustered(6, n)).with_prediction()
    notes = suggest(store, ctx, [old], strategy="guided")["notes"]
    assert "1 predictions are of an older version and say nothing about single patches" in notes


def test_what_looks_broken_is_shown_apart(store, ctx):
    n = 40
    blank = np.zeros(n, np.float32)
    blank[7] = 1
    volume = Volume(store, "a", clustered(1, n), flat=(9,)).with_traits(blank=blank)
    result = suggest(store, ctx, [volume], strategy="guided", n=n)
    assert {(q["row"], q["reason"]) for q in result["qc"]} == {
        (7, "it is blank"),
        (9, "nothing in it varies: constant or without finite values"),
    }
    assert result["eligible"] == n - 2 == len(result["suggestions"])
    assert not {7, 9} & {row for _, row in places(result)}
    paper = suggest(store, ctx, [volume], strategy="coreset", n=n)
    assert paper["qc"] == [] and len(paper["suggestions"]) == n


def test_of_a_large_pool_it_is_told_what_was_looked_at(store, ctx, monkeypatch):
    from alcore.selection import batch

    monkeypatch.setattr(batch, "WINDOW", 30)
    blank = np.ones(40, np.float32)
    blank[::2] = 0
    volumes = [Volume(store, name, clustered(i, 40)).with_traits(blank=blank) for i, name in enumerate("abc")]
    held = {f"embedding-{name}": list(range(40)) for name in "abc"}
    result = suggest(store, ctx, volumes, strategy="guided", covered={"embedding-b": [5, 6]}, held=held)
    seen = {(key, row) for key, rows in result["judged"].items() for row in rows}
    assert len(seen) == 30 + 2
    assert {("embedding-b", 5), ("embedding-b", 6)} < seen
    assert {(q["embedding"], q["row"]) for q in result["qc"]} | set(places(result)) < seen
    assert len(result["judged"]) == 3
    broken = {(key, row) for key, row in seen if row % 2 and (key, row) != ("embedding-b", 5)}
    assert len(result["qc"]) == min(len(broken), 15)
    some = {"embedding-c": [1, 2, 5]}
    assert suggest(store, ctx, volumes, strategy="coreset", held=some)["judged"] == {}
    monkeypatch.setattr(batch, "WINDOW", 1000)
    assert suggest(store, ctx, volumes, strategy="guided", n=1, held=some)["judged"] == some


def test_every_tenth_is_a_control(store, ctx):
    volume = Volume(store, "a", clustered(1, 60))
    key = volume.embedding.key
    covered: list[int] = []
    arms = []
    while len(covered) < 55:
        made = suggest(
            store,
            ctx,
            [volume],
            strategy="herding",
            covered={key: covered},
            n=5,
            n_before=len(covered),
            control_share=0.1,
        )["suggestions"]
        arms += [s["arm"] for s in made]
        covered += [s["row"] for s in made]
    assert [i for i, arm in enumerate(arms) if arm == "control"] == [9, 19, 29, 39, 49]


def test_new_volumes_are_added_and_lost_ones_leave(store, ctx):
    a, b, c = (Volume(store, name, clustered(i, 10)) for i, name in enumerate("abc"))
    assert "no pool index yet: built" in suggest(store, ctx, [a])["notes"]
    grown = suggest(store, ctx, [a, b, c])
    assert (grown["indexed"], grown["notes"]) == (30, [])
    shrunk = suggest(store, ctx, [c, b])
    assert (shrunk["indexed"], shrunk["notes"]) == (20, [])
    assert {key for key, _ in places(shrunk)} <= {"embedding-b", "embedding-c"}


def test_a_warm_process_answers_as_a_cold_one(store, ctx):
    volumes = [Volume(store, name, clustered(i, 20)) for i, name in enumerate("ab")]
    suggest(store, ctx, volumes, strategy="guided")
    warm = suggest(store, ctx, volumes, strategy="guided", covered={"embedding-a": [1, 2]}, n=7)
    stage_file._kept.clear()
    cold = suggest(store, ctx, volumes, strategy="guided", covered={"embedding-a": [2, 1]}, n=7)
    assert cold["suggestions"] == warm["suggestions"]


def test_a_large_core_set_goes_on_where_it_was(store, ctx, monkeypatch):
    from alcore.coreset import Warm
    from alcore.selection.coreset import KEPT_FROM

    built = []
    monkeypatch.setattr(Warm, "frontier", _counting(Warm.frontier, built))
    rows = {"a": clustered(1, KEPT_FROM), "b": clustered(2, 300)}
    rows["a"][7] = rows["a"][3]
    a, b = (Volume(store, name, found) for name, found in rows.items())
    whole = np.concatenate(list(rows.values()))
    asked: list[tuple[list[Volume], dict[str, list[int]]]] = [
        ([a], {}),
        ([a], {a.embedding.key: [3, 90, 1000]}),
        ([a, b], {a.embedding.key: [3, 90, 1000, 4000]}),
        ([a, b], {a.embedding.key: [90, 4000], b.embedding.key: [5]}),
    ]
    for volumes, covered in asked:
        first = {a.embedding.key: 0, b.embedding.key: KEPT_FROM}
        positions = [first[key] + row for key, numbers in covered.items() for row in numbers]
        pool = whole[: KEPT_FROM + 300 * (len(volumes) - 1)]
        expected = farthest_first(pool, 6, positions, np.random.default_rng(11))
        result = suggest(store, ctx, volumes, covered=covered, n=6)
        assert [first[key] + row for key, row in places(result)] == [p.position for p in expected]
    assert built == [1, 1, 1, 1], "new patches, labels and withdrawals are changes, no new beginning"


def _counting(frontier, built: list[int]):
    def counted(warm, *given):
        found = frontier(warm, *given)
        built.append(warm.built)
        return found

    return counted


def test_new_suggestions_and_those_that_wait_come_back_in_one_order(store, ctx):
    rows = np.zeros((6, DIM), np.float32)
    rows[[0, 1, 2], 0] = 1  # what is labelled, and two that look nearly the same
    rows[1, 1], rows[2, 1] = 0.3, 0.35
    rows[3, 2] = rows[4, 3] = rows[5, 4] = 1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    volume = Volume(store, "a", rows)
    key = volume.embedding.key
    queue = [[key, 2], [key, 3]]
    asked = {"covered": {key: [0, 2, 3]}, "labelled": {key: [0]}, "queue": queue, "initial": 0}
    result = suggest(store, ctx, [volume], n=2, **asked)
    assert {s["row"] for s in result["suggestions"]} == {4, 5}
    order = [q["row"] for q in result["order"]]
    assert order[0] == 3 and set(order[1:3]) == {4, 5} and order[3] == 2
    assert result["order"][3]["nearest"] == {"embedding": key, "row": 0}
    assert result["order"][3]["distance"] == pytest.approx(1 - rows[2] @ rows[0], abs=1e-6)
    again = suggest(store, ctx, [volume], n=2, **asked | {"waiting": {key: [2, 3]}})
    gone = [q["row"] for q in again["taken_back"]]
    assert [q["row"] for q in again["order"]][-len(gone) :] == gone == [2]
    with pytest.raises(PermanentError, match="queue row 9 of embedding embedding-a"):
        suggest(store, ctx, [volume], **asked | {"queue": [[key, 9]]})
