"""Places for jobs, and a cluster of a test alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.executors.port import Places
from tests.daemon.executors.clusters import RealCluster


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "artifacts", tmp_path / "cache", tmp_path / "jobs")


@pytest.fixture
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """A scheduler of this test alone, without workers."""
    with RealCluster(tmp_path_factory.mktemp("cluster")) as real:
        real.start_scheduler()
        yield real
