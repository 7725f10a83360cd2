"""The part of config.toml that says how patches are put before people."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from alcore.annotate.weights import known_model
from daemon.config_selection import Section


class Annotation(Section):
    """What people see of a patch, and how they work on it."""

    margin_px: tuple[int, int, int] = (0, 16, 16)
    not_looked_at: int = Field(default=65535, ge=0, lt=1 << 32)
    lease_min: float = Field(default=10.0, ge=1, le=1440)
    repeat_share: float = Field(default=0.0, ge=0, le=1)
    model: str = "auto"
    precompute: Literal["auto"] | bool = "auto"

    @field_validator("margin_px")
    @classmethod
    def _margin_not_negative(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(value) < 0:
            raise ValueError("must be three whole numbers (z, y, x) in voxels, not below 0")
        return value

    @field_validator("model")
    @classmethod
    def _model_exists(cls, value: str) -> str:
        if problem := known_model(value):
            raise ValueError(problem)
        return value
