"""A real database, and the few rows that other rows refer to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.store.rows import Wanted
from daemon.store.store import Store
from tests.daemon.sightings import settled

INFO = {"shape": [1, 8, 64, 64], "dtype": "uint8", "voxel_um": None, "voxel_source": "unknown", "stats": []}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.close()


@pytest.fixture
def add_volume(store: Store) -> Callable[..., int]:
    """Make a volume of `n` patches, as an ingest would; returns its id."""

    def add(name: str = "a.tif", sha: str = "aa", n: int = 4, now: float = 1.0) -> int:
        path = f"/in/{name}".encode()
        fingerprint = f'{{"ino": "{name}{sha}"}}'
        store.sources.settled(settled(path, fingerprint), now)
        (source,) = [s for s in store.sources.to_read(True) if s.path == path]
        store.learning.add_artifact(f"volume-{sha}", "volume", 1, 0.1, now)
        patches = [{"start": [0, 0, 16 * i], "shape": [8, 64, 16]} for i in range(n)]
        volume = {"info": INFO | {"sha256": sha}, "patches": patches, "notes": [], "part": "", "folder": "", "read": {}}
        result = {"volumes": [volume], "refused": []}
        (made,) = store.volumes.ingest(source.id, fingerprint, f"volume-{sha}", result, now)
        return made

    return add


@pytest.fixture
def want() -> Callable[..., Wanted]:
    """A wanted job; different `n`, different recipe."""

    def make(n: int = 0, priority: int = 10, stage: str = "volume", volume: int | None = None) -> Wanted:
        return Wanted(stage, f"test:{n}", {}, {"n": n}, priority, "spec", volume)

    return make
