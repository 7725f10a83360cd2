"""The part of config.toml about the room that the workspace takes."""

from __future__ import annotations

from pydantic import Field

from daemon.config_selection import Section


class Disk(Section):
    """budget_gb: 0 = as much as there is."""

    budget_gb: float = Field(default=0.0, ge=0)
    keep_days: float = Field(default=30.0, ge=0)
