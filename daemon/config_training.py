"""The part of config.toml that says what is trained, when, and who judges it."""

from __future__ import annotations

from datetime import time
from typing import Literal

from pydantic import Field, field_validator, model_validator

from daemon.clock import Window, time_of_day
from daemon.config_selection import Section


class Schedule(Section):
    """Length of one training. 0 means: chosen for the plan."""

    epochs: int = Field(default=0, ge=0)
    iterations: int = Field(default=0, ge=0)
    lr: float = Field(default=0.0, ge=0)


class Training(Section):
    """Pre-training on pseudo-labels, fine-tuning on expert labels, and the gate."""

    plan: Literal["auto", "tiny", "default"] = "auto"
    instances: Literal["components", "border-core"] = "components"
    border_um: float = Field(default=0.0, ge=0)
    pretrain: bool = True
    pretrain_min_patches: int = Field(default=4, ge=1)
    pretrain_max_patches: int = Field(default=64, ge=1)
    pretrain_min_confidence: float = Field(default=0.0, ge=0, le=1)
    pretrain_schedule: Schedule = Schedule()
    every: int = Field(default=4, ge=1)
    schedule: tuple[str, ...] = ()
    window: str = ""
    finetune_from: Literal["pretrained", "current"] = "pretrained"
    finetune_schedule: Schedule = Schedule()
    mix_share: float = Field(default=0.2, ge=0, lt=1)
    validation_share: float = Field(default=0.15, ge=0, le=0.5)
    keep_days: float = Field(default=14.0, ge=0)
    gate_share: float = Field(default=0.25, gt=0, lt=1)
    gate_min_patches: int = Field(default=3, ge=1)
    gate_max_patches: int = Field(default=40, ge=1)

    @field_validator("schedule")
    @classmethod
    def _times_of_day(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            time_of_day(text)
        return value

    @field_validator("window")
    @classmethod
    def _a_window(cls, value: str) -> str:
        if value:
            Window.parse(value)
        return value

    @model_validator(mode="after")
    def _enough_may_judge(self) -> Training:
        if self.gate_max_patches < self.gate_min_patches:
            raise ValueError(
                f"gate_max_patches = {self.gate_max_patches} is below gate_min_patches = {self.gate_min_patches}: no model "
                "could ever be judged; raise the one or lower the other"
            )
        return self

    @property
    def hours(self) -> Window | None:
        """When training may run; None = at any time."""
        return Window.parse(self.window) if self.window else None

    @property
    def times(self) -> tuple[time, ...]:
        """At these times of day a round opens."""
        return tuple(time_of_day(text) for text in self.schedule)
