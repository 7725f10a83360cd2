"""Which labels train and which only judge (the gate set): decided once per label, never mixed, reproducible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from alcore.types import Box

Role = Literal["train", "gate"]
Placed = tuple[str, Box, Role]
"""An earlier label: volume id, box, role."""
BUFFER_PX = (4, 16, 16)
"""Voxels (z, y, x) between what trains and what judges: an object that a border cuts is not learned on one side and asked for
on the other."""


@dataclass(frozen=True)
class Assigned:
    """A role, and why in words."""

    role: Role
    reason: str


def assign_role(
    previous: Sequence[Placed], volume: str, box: Box, gate_share: float = 0.25, gate_max: int = 64
) -> Assigned:
    """Role of the next label, from all labels before it, withdrawn ones too.

    1. No voxel may both train and judge: a box that overlaps a gate patch of its volume is "gate", one that overlaps a
       training patch is "train". Labelling a patch again therefore keeps its role.
    2. The gate set is kept at `gate_share` of all labels, rounded (halves up), but at least one from the second label
       on and never more than `gate_max`: with a quarter, labels 2, 6, 10, 14... judge. A share or maximum of zero
       switches the gate off.
    3. Stratified by volume: when exactly one more gate label is due and this volume already has its own rounded share,
       the place is kept for another volume. It waits until two are due, no longer.
    4. Buffered: neighbours share objects and are alike. A patch beside a training patch leaves its place in the gate to
       another, until two are due; only the very first place is taken by whatever comes. What of a held-out patch lies
       within `BUFFER_PX` of a training patch is not looked at in judging (see `buffered`).

    Raises ValueError when the box overlaps both roles (either would leak), or for a share outside [0, 1).
    """
    if not 0 <= gate_share < 1 or gate_max < 0:
        raise ValueError(f"gate_share must be in [0, 1) and gate_max not negative, got {gate_share} and {gate_max}")
    nearby = [(other, role) for name, other, role in previous if name == volume and buffered(box, [other])]
    touched = {role for other, role in nearby if other.overlaps(box)}
    if len(touched) > 1:
        raise ValueError(f"the patch {box} overlaps training and gate patches: it can neither train nor judge")
    if touched:
        return Assigned(touched.pop(), "a label of the same voxels has this role")
    if gate_share == 0:
        return Assigned("train", "nothing is held out")
    n_gate = sum(role == "gate" for _, _, role in previous)
    here = [role for name, _, role in previous if name == volume]
    total = len(previous) + 1
    wanted = min(gate_max, max(_rounded(gate_share * total), 1 if total > 1 else 0))
    due = wanted - n_gate
    share_here = max(1, _rounded(gate_share * (len(here) + 1)))
    if due <= 0:
        return Assigned("train", "enough are held out")
    if due == 1 and here.count("gate") >= share_here:
        return Assigned("train", "the next one held out is to be of another volume")
    beside = "train" in {role for _, role in nearby}
    if due == 1 and n_gate and beside:
        return Assigned("train", "it lies beside a training patch")
    return Assigned("gate", "one more was due" + (", though it lies beside a training patch" if beside else ""))


def buffered(box: Box, trained: Sequence[Box]) -> list[Box]:
    """The parts of a held-out patch, in its own voxels, that lie within `BUFFER_PX` of patches (of its volume) that train."""
    found = []
    for other in trained:
        low = [max(a, c - n) - a for a, c, n in zip(box.start, other.start, BUFFER_PX, strict=True)]
        high = [min(b, d + n) - a for a, b, d, n in zip(box.start, box.stop, other.stop, BUFFER_PX, strict=True)]
        if all(h > lo for lo, h in zip(low, high, strict=True)):
            z, y, x = (h - lo for lo, h in zip(low, high, strict=True))
            found.append(Box((low[0], low[1], low[2]), (z, y, x)))
    return found


def leaks(train: Sequence[tuple[str, Box]], gate: Sequence[tuple[str, Box]]) -> list[tuple[int, int]]:
    """Pairs (position in train, position in gate) of labels (volume id, box) that share a voxel: there must be none."""
    return [
        (i, j)
        for i, (volume, box) in enumerate(train)
        for j, (other, held_out) in enumerate(gate)
        if volume == other and box.overlaps(held_out)
    ]


def _rounded(value: float) -> int:
    """Nearest whole number, halves up."""
    return int(value + 0.5)
