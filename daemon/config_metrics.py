"""The part of config.toml about figures for Prometheus."""

from __future__ import annotations

import ipaddress

from pydantic import Field, field_validator

from daemon.config_selection import Section


class Metrics(Section):
    """port: 0 = nothing listens."""

    port: int = Field(default=0, ge=0, le=65535)
    address: str = "127.0.0.1"

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError('must be an IP address of this machine, such as "127.0.0.1"') from None
        return value
