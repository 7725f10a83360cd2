"""Which labels train and which only judge (the gate set): decided once per label, never mixed, reproducible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from alcore.types import Box

Role = Literal["train", "gate"]
Placed = tuple[str, Box, Role]
"""An earlier label: volume id, box, role."""
BUFFER_PX = 16
"""Held-out patches keep this distance from training patches where they can: less than a patch, more than an edge in common."""


@dataclass(frozen=True)
class Assigned:
    """A role, and why in words. beside: it lies nearer than `BUFFER_PX` to a patch of the other role."""

    role: Role
    reason: str
    beside: bool = False


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
    4. Buffered: neighbours share objects and are alike. A patch within `BUFFER_PX` of a training patch leaves its place in
       the gate to another, until two are due; one within `BUFFER_PX` of a gate patch judges as well, as long as the gate
       is no more than one ahead of its share. Where that cannot be kept it is said (`Assigned.beside`).

    Raises ValueError when the box overlaps both roles (either would leak), or for a share outside [0, 1).
    """
    if not 0 <= gate_share < 1 or gate_max < 0:
        raise ValueError(f"gate_share must be in [0, 1) and gate_max not negative, got {gate_share} and {gate_max}")
    nearby = [(other, role) for name, other, role in previous if name == volume and _near(other, box)]
    touched = {role for other, role in nearby if other.overlaps(box)}
    near: set[Role] = {role for _, role in nearby}
    if len(touched) > 1:
        raise ValueError(f"the patch {box} overlaps training and gate patches: it can neither train nor judge")
    if touched:
        role = touched.pop()
        return Assigned(role, "its voxels have this role already", len(near) > 1)
    if gate_share == 0:
        return Assigned("train", "nothing is held out")
    n_gate = sum(role == "gate" for _, _, role in previous)
    here = [role for name, _, role in previous if name == volume]
    total = len(previous) + 1
    wanted = min(gate_max, max(_rounded(gate_share * total), 1 if total > 1 else 0))
    due = wanted - n_gate
    share_here = max(1, _rounded(gate_share * (len(here) + 1)))
    if near == {"gate"} and due >= 0 and n_gate < gate_max:
        return Assigned("gate", "it lies beside a held-out patch")
    if due <= 0:
        return Assigned("train", "enough are held out", "gate" in near)
    if due == 1 and here.count("gate") >= share_here:
        return Assigned("train", "the next one held out is to be of another volume", "gate" in near)
    if due == 1 and "train" in near:
        return Assigned("train", "it lies beside a training patch", "gate" in near)
    return Assigned("gate", "one more is due to be held out", "train" in near)


def _near(one: Box, other: Box) -> bool:
    """Are two boxes of a volume less than `BUFFER_PX` apart along every axis?"""
    pairs = zip(one.start, one.stop, other.start, other.stop, strict=True)
    return all(a < d + BUFFER_PX and c < b + BUFFER_PX for a, b, c, d in pairs)


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
