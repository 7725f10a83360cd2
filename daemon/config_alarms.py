"""The part of config.toml that says who is told when something is wrong, and how often."""

from __future__ import annotations

import os
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from daemon.alarms import PLACES, unknown_place
from daemon.config_selection import Section
from daemon.secrecy import FROM_ENVIRONMENT, WEBHOOK

Kind = Literal["novelty", "quality", "queue", "training", "disk", "watcher", "arrivals"]


class Alarms(Section):
    """Alarms are always shown in the dashboard and the log; command and webhook carry them further."""

    kinds: tuple[Kind, ...] = ("novelty", "quality", "queue", "training", "disk", "watcher", "arrivals")
    command: tuple[str, ...] = ()
    webhook: str = Field(default="", repr=False)
    timeout_s: float = Field(default=20.0, gt=0, le=600)
    most_per_hour: int = Field(default=6, ge=1)
    repeat_h: float = Field(default=6.0, ge=0)
    disk_gb: float = Field(default=10.0, ge=0)

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, str) and value:
            raise ValueError(
                'must be a list of words, such as ["notify-send", "alscope", "{message}"]: there is no shell'
            )
        return value or ()

    @field_validator("command")
    @classmethod
    def _known_places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = unknown_place(value)
        if wrong:
            raise ValueError(f"{{{wrong}}} stands for nothing; known are {', '.join(f'{{{p}}}' for p in PLACES)}")
        if value and (not value[0] or any("\0" in word for word in value)):
            raise ValueError("must begin with the name of a program")
        return value

    @field_validator("webhook")
    @classmethod
    def _address(cls, value: str) -> str:
        if value == FROM_ENVIRONMENT and not (value := os.environ.get(WEBHOOK, "")):
            return FROM_ENVIRONMENT  # for those who only look: whoever sends something says what is missing
        try:
            found = urlsplit(value)
            usable = not value or (found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0)
        except ValueError:
            usable = False
        if not usable or any(c.isspace() or not c.isprintable() for c in value):
            raise ValueError(
                f'must be an address that begins with https:// or http://, "{FROM_ENVIRONMENT}", or "" for none'
            )
        return value
