"""The part of config.toml about where jobs run."""

from __future__ import annotations

from urllib.parse import urlsplit


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


def check_cluster(executor: str, address: str, device: str) -> None:
    """Raises ValueError where what is said of a cluster is not enough, or too much."""
    if executor == "dask" and not address:
        raise ValueError('executor = "dask" needs address = "tcp://...": that of the scheduler (docs/cluster.md)')
    if executor != "dask" and address:
        raise ValueError('address is that of a cluster: it needs executor = "dask"')
    if executor == "dask" and device == "auto":
        raise ValueError(
            'executor = "dask" needs device = "cuda" or "cpu": what the workers have, which cannot be seen from here'
        )
