"""The gate set never overlaps training patches, keeps its share, and needs nothing heavy to be decided."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays.splits import BUFFER_PX, Placed, assign_role, leaks
from alcore.types import Box

SMALL = st.integers(0, 6)
BOXES = st.builds(Box, st.tuples(SMALL, SMALL, SMALL), st.tuples(*[st.integers(1, 3)] * 3))


def run(arrivals: list[tuple[str, Box]], **options: float) -> list[Placed]:
    placed: list[Placed] = []
    for volume, box in arrivals:
        placed.append((volume, box, assign_role(placed, volume, box, **options).role))
    return placed


def apart(volumes: list[str]) -> list[tuple[str, Box]]:
    """One arrival per name, no two near one another."""
    return [(name, Box((i * (1 + BUFFER_PX[0]), 0, 0), (1, 4, 4))) for i, name in enumerate(volumes)]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("ab"), BOXES), max_size=25))
def test_no_voxel_both_trains_and_judges(arrivals):
    placed: list[Placed] = []
    for volume, box in arrivals:
        try:
            placed.append((volume, box, assign_role(placed, volume, box).role))
        except ValueError:
            assert {role for name, other, role in placed if name == volume and other.overlaps(box)} == {"train", "gate"}
    voxels: dict[str, set] = {"train": set(), "gate": set()}
    for volume, box, role in placed:
        (z, y, x), (d, h, w) = box.start, box.stop
        voxels[role] |= {(volume, i, j, k) for i in range(z, d) for j in range(y, h) for k in range(x, w)}
    assert not voxels["train"] & voxels["gate"]


@given(st.integers(0, 60), st.sampled_from([0.1, 0.2, 0.25, 0.5]))
def test_one_volume_keeps_the_share_exactly(n, share):
    roles = [role for _, _, role in run(apart(["a"] * n), gate_share=share, gate_max=1000)]
    for count in range(1, n + 1):
        wanted = max(int(share * count + 0.5), 1 if count > 1 else 0)
        assert roles[:count].count("gate") == wanted


@given(st.lists(st.sampled_from("abcd"), max_size=60))
def test_many_volumes_keep_the_share_within_one(volumes):
    placed = run(apart(volumes))
    for count in range(2, len(placed) + 1):
        gates = [role for _, _, role in placed[:count]].count("gate")
        wanted = max(int(0.25 * count + 0.5), 1)
        assert max(1, wanted - 1) <= gates <= wanted


def test_a_quarter_of_one_volume_judges():
    roles = [role for _, _, role in run(apart(["a"] * 11))]
    assert [i for i, role in enumerate(roles, start=1) if role == "gate"] == [2, 6, 10]


def test_the_gate_set_spreads_over_volumes():
    placed = run(apart(["a"] * 5 + ["b", "a"] * 20))
    assert placed[5][2] == "gate"  # the first label of a volume that nobody judges yet, when one is due
    for name in "ab":
        roles = [role for volume, _, role in placed if volume == name]
        assert abs(roles.count("gate") - 0.25 * len(roles)) <= 1


def test_limits():
    assert [r for _, _, r in run(apart(["a"] * 40), gate_max=3)].count("gate") == 3
    assert [r for _, _, r in run(apart(["a"] * 9), gate_share=0.0)].count("gate") == 0
    assert [r for _, _, r in run(apart(["a"] * 9), gate_max=0)].count("gate") == 0
    with pytest.raises(ValueError, match="gate_share"):
        assign_role([], "a", Box((0, 0, 0), (1, 1, 1)), gate_share=1.0)


def test_labelling_again_keeps_the_role():
    placed = run(apart(["a"] * 12))
    for volume, box, role in placed:
        assert assign_role(placed, volume, box).role == role


LABELS = st.lists(st.tuples(st.sampled_from("ab"), BOXES), max_size=6)


@settings(max_examples=200, deadline=None)
@given(LABELS, LABELS)
def test_every_planted_leak_is_found_and_nothing_else(train, gate):
    voxels = [
        [{(v, z, y, x) for z in _range(b, 0) for y in _range(b, 1) for x in _range(b, 2)} for v, b in some]
        for some in (train, gate)
    ]
    expected = {(i, j) for i, a in enumerate(voxels[0]) for j, b in enumerate(voxels[1]) if a & b}
    assert set(leaks(train, gate)) == expected


def _range(box: Box, axis: int) -> range:
    return range(box.start[axis], box.stop[axis])


def test_the_daemon_can_import_it_without_numpy():
    code = "import sys, alcore.arrays.splits, alcore.arrays.tiling; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
