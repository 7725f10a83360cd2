"""Which labels train and which only judge (the gate set): decided once per label, never mixed, reproducible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from alcore.types import Box

Role = Literal["train", "gate"]
Placed = tuple[str, Box, Role]
"""An earlier label: volume id, box, role."""


def assign_role(
    previous: Sequence[Placed], volume: str, box: Box, gate_share: float = 0.25, gate_max: int = 64
) -> Role:
    """Role of the next label, from the labels accepted before it.

    1. No voxel may both train and judge: a box that overlaps a gate patch of its volume is "gate", one that overlaps a
       training patch is "train". Labelling a patch again therefore keeps its role.
    2. The gate set is kept at `gate_share` of all labels, rounded (halves up), but at least one from the second label
       on and never more than `gate_max`: with a quarter, labels 2, 6, 10, 14... judge. A share or maximum of zero
       switches the gate off.
    3. Stratified by volume: when exactly one more gate label is due and this volume already has its own rounded share,
       the place is kept for another volume. It waits until two are due, no longer.

    Raises ValueError when the box overlaps both roles (either would leak), or for a share outside [0, 1).
    """
    if not 0 <= gate_share < 1 or gate_max < 0:
        raise ValueError(f"gate_share must be in [0, 1) and gate_max not negative, got {gate_share} and {gate_max}")
    touched = {role for name, other, role in previous if name == volume and other.overlaps(box)}
    if len(touched) > 1:
        raise ValueError(f"the patch {box} overlaps training and gate patches: it can neither train nor judge")
    if touched:
        return touched.pop()
    if gate_share == 0:
        return "train"
    roles = [role for _, _, role in previous]
    here = [role for name, _, role in previous if name == volume]
    total = len(roles) + 1
    wanted = min(gate_max, max(_rounded(gate_share * total), 1 if total > 1 else 0))
    due = wanted - roles.count("gate")
    share_here = max(1, _rounded(gate_share * (len(here) + 1)))
    if due <= 0 or (due == 1 and here.count("gate") >= share_here):
        return "train"
    return "gate"


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
