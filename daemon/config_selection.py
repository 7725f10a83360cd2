"""The parts of config.toml that say how patches are compared and chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Section(BaseModel):
    """A table of config.toml: unknown keys are refused, values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def is_path(pretrained: str) -> bool:
    """Is that the path of a file, and not the name of a timm model?"""
    return pretrained.startswith(("/", "./", "../", "~"))


class Encoder(Section):
    """What makes patches comparable. 0 or "auto" means: chosen for the device (see `daemon.policy.encoder_params`)."""

    size: Literal["auto", "micro", "tiny", "small", "base", "descriptor"] = "auto"
    pooling: Literal["mean", "mean_std"] = "mean"
    pretrained: str = ""
    epochs: int = Field(default=0, ge=0)
    image_px: int = Field(default=0, ge=0)
    batch: int = Field(default=0, ge=0)
    accumulate: int = Field(default=1, ge=1)
    max_slices: int = Field(default=0, ge=0)
    mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    base_lr: float = Field(default=0.0, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    min_patches: int = Field(default=4, ge=1)
    retrain_growth: float = Field(default=2.0, gt=1)

    @field_validator("pretrained")
    @classmethod
    def _weights_are_there(cls, value: str) -> str:
        if is_path(value) and not Path(value).expanduser().is_file():
            raise ValueError(
                'no such file; name a timm model, a file of weights ("./weights.safetensors"), or "" for none'
            )
        return value


class Selection(Section):
    """Which patches are put before the expert."""

    strategy: Literal["guided", "coreset", "random", "foreground", "typiclust", "herding", "uncertainty"] = "guided"
    queue_depth: int = Field(default=8, ge=1)
    initial_seeds: int = Field(default=3, ge=1)
    control_share: float = Field(default=0.1, ge=0, le=0.5)
    volume_share: float = Field(default=0.5, gt=0, le=1)
    minutes_base: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    minutes_per_object: float = Field(default=0.25, ge=0, allow_inf_nan=False)
