"""The part of config.toml about where jobs run."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from alcore.run import STAGES
from daemon.nearest import did_you_mean


def scheduler_address(value: str) -> str:
    """The address of a dask scheduler, "" for none. Raises ValueError."""
    try:
        found = urlsplit(value)
        good = found.scheme == "tcp" and found.hostname and found.port and value == f"tcp://{found.netloc}"
    except ValueError:  # a port that is no number
        good = False
    if value and not (good and found.username is None):
        raise ValueError('must be that of a dask scheduler, such as "tcp://10.0.0.5:8786"')
    return value


def stages_by_name(value: dict[str, str]) -> dict[str, str]:
    """Executors of single stages. Raises ValueError for a stage that does not exist."""
    for name in value:
        if name not in STAGES:
            raise ValueError(f"there is no stage {name!r}; {did_you_mean(name, STAGES, ', '.join(STAGES))}")
    return value


def check_cluster(executor: str, stages: Mapping[str, str], address: str, device: str) -> None:
    """Raises ValueError where what is said of a cluster is not enough, or too much."""
    said = 'executor = "dask"' if executor == "dask" else 'a stage with "dask"'
    wanted = "dask" in (executor, *stages.values())
    if wanted and not address:
        raise ValueError(f'{said} needs address = "tcp://...": that of the scheduler (docs/cluster.md)')
    if address and not wanted:
        raise ValueError('address is that of a cluster: it needs executor = "dask", or a stage in `stages` that has it')
    if wanted and device == "auto":
        raise ValueError(
            f'{said} needs device = "cuda" or "cpu": what the workers have, which cannot be seen from here'
        )
