"""The part of config.toml about where jobs run."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from alcore.run import STAGES
from daemon.config_selection import Section
from daemon.nearest import did_you_mean

PORT = 8786
"""Of a scheduler, unless config.toml says otherwise."""


class Slurm(Section):
    """Batch jobs with a worker each, which `alscope cluster` asks SLURM for. workers: at most so many, 0 = none; least: also when
    nothing waits. before: lines of the job script before the worker. python: on the nodes, "" = the one that runs alscope here."""

    workers: int = Field(default=0, ge=0, le=1000)
    least: int = Field(default=0, ge=0)
    partition: str = ""
    account: str = ""
    cpus: int = Field(default=8, ge=1)
    memory_gb: float = Field(default=32.0, gt=0)
    hours: float = Field(default=12.0, gt=0)
    gres: str = "gpu:1"
    options: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    python: str = ""
    idle_min: float = Field(default=10.0, gt=0)

    @field_validator("partition", "account", "gres", "python", "options", "before")
    @classmethod
    def _lines_of_a_script(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for text in (value,) if isinstance(value, str) else value:
            if not text.isprintable():
                raise ValueError("must be one line of the job script")
        return value


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


def check_cluster(
    executor: str, stages: Mapping[str, str], address: str, device: str, slurm: Slurm, long_jobs: int
) -> None:
    """Raises ValueError where what is said of a cluster is not enough, or too much."""
    said = 'executor = "dask"' if executor == "dask" else 'a stage with "dask"'
    wanted = "dask" in (executor, *stages.values())
    if wanted and not address and not slurm.workers:
        raise ValueError(f'{said} needs address = "tcp://...": that of the scheduler (docs/cluster.md), or [run.slurm]')
    if slurm.workers and not wanted:
        raise ValueError(
            'slurm.workers are those of a cluster: it needs executor = "dask", or a stage in `stages` that has it'
        )
    if long_jobs and not wanted:
        raise ValueError(
            'long_jobs counts those on a cluster: it needs executor = "dask", or a stage in `stages` that has it'
        )
    if slurm.least > slurm.workers:
        raise ValueError(f"slurm.least = {slurm.least} is more than slurm.workers = {slurm.workers}")
    if address and not wanted:
        raise ValueError('address is that of a cluster: it needs executor = "dask", or a stage in `stages` that has it')
    if wanted and device == "auto":
        raise ValueError(
            f'{said} needs device = "cuda" or "cpu": what the workers have, which cannot be seen from here'
        )
