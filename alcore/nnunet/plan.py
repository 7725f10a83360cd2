"""What a person may ask of nnU-Net's planner: a name, and two figures to override."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alcore.errors import PermanentError
from alcore.nnunet.binning import Factors
from alcore.nnunet.targets import INSTANCES

PLAN_NAMES = ("tiny", "default", "resenc_m", "resenc_l")


@dataclass(frozen=True)
class PlanRequest:
    """A plan by name: "tiny" trains on a CPU in minutes, the others are nnU-Net's own and want a GPU.

    binning: (1, y, x) acquisition pixels per network pixel in the plane, None = by rule (tiny) or none (others).
    memory_gb: what nnU-Net's planner sizes patch and batch for, None = the plan's own. instances: how objects are told
    apart (see `targets.INSTANCES`). border_um: thickness of their border for "border-core", 0 = two network pixels.
    """

    name: str
    binning: Factors | None = None
    memory_gb: float | None = None
    instances: str = "components"
    border_um: float = 0.0

    @classmethod
    def from_json(cls, value: str | Mapping[str, Any]) -> PlanRequest:
        """A name, or {"name", "binning", "memory_gb", "instances", "border_um"}; raises PermanentError for what cannot be."""
        fields: dict[str, Any] = {"name": value} if isinstance(value, str) else dict(value)
        name, binning, memory_gb = fields.pop("name", None), fields.pop("binning", None), fields.pop("memory_gb", None)
        instances, border_um = fields.pop("instances", "components"), fields.pop("border_um", 0.0)
        if fields:
            known = "name, binning, memory_gb, instances, border_um"
            raise PermanentError(f"plan has no key {sorted(fields)}; known keys: {known}")
        if instances not in INSTANCES:
            raise PermanentError(f"plan.instances must be one of {', '.join(INSTANCES)}, got {instances!r}")
        if not border_um >= 0:
            raise PermanentError(f"plan.border_um must be at least 0, got {border_um!r}")
        if name not in PLAN_NAMES:
            raise PermanentError(f"plan {name!r} does not exist; known plans: {', '.join(PLAN_NAMES)}")
        if memory_gb is not None and not memory_gb > 0:
            raise PermanentError(f"plan.memory_gb must be greater than 0, got {memory_gb!r}")
        factors: Factors | None = None
        if binning is not None:
            whole = isinstance(binning, list | tuple) and len(binning) == 3 and all(isinstance(f, int) for f in binning)
            if not whole or binning[0] != 1 or any(f not in (1, 2, 4, 8) for f in binning):
                raise PermanentError(f"plan.binning must be [1, y, x] with 1, 2, 4 or 8 in the plane, got {binning!r}")
            factors = (1, int(binning[1]), int(binning[2]))
        return cls(name, factors, memory_gb, instances, float(border_um))
