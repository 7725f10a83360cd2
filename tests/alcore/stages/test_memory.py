"""Memory of the stages: on volumes larger than what they may use, and the same results however little that is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.nnunet.precision import cpu_has_bfloat16
from alcore.run import QuietContext, stage
from alcore.stage import Input
from benchmarks.memory import HEAVY, RECIPES, Bench, Size, small_model

RAM_GB = 1 / 16
ORDINARY, WIDE = (128, 1024, 1024), (2, 9000, 9000)
COARSE = Size(15.0, 4, (32, 512, 512))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A model trained for a moment on a small volume: (folder, key)."""
    return small_model(tmp_path_factory.mktemp("model") / "b", RAM_GB)


@pytest.fixture(scope="module", params=[ORDINARY, pytest.param(WIDE, marks=pytest.mark.slow)], ids=["ordinary", "wide"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model: tuple[str, str]) -> Bench:
    large = Bench(tmp_path_factory.mktemp("large") / "b", request.param, RAM_GB, COARSE)
    large.made["finetune"] = model
    large.measure("volume")
    return large


@pytest.mark.parametrize(
    "name",
    [
        "volume",
        "pseudo",
        "traits",
        "embedding",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("encoder", "predict")),
    ],
)
def test_a_volume_larger_than_the_memory(name: str, bench: Bench) -> None:
    if name == "volume":
        (bench.root / "artifacts").rename(bench.root / "artifacts-before")  # else nothing would be done again
    if name == "traits" and "pseudo" not in bench.made:
        bench.measure("pseudo")
    peak_mb, _ = bench.measure(name)
    stored_mb = (
        bench.root / "image.tif"
    ).stat().st_size / 2**20  # one byte per voxel; a stage works on four times that
    limit_mb = RAM_GB * 1024 if name == "traits" else stored_mb
    if name == "predict" and not cpu_has_bfloat16():
        limit_mb *= 1.5  # the network's own maps are twice as large in float32
    assert 0 < peak_mb < limit_mb


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_stage_takes_more_for_a_larger_volume(tmp_path: Path) -> None:
    peaks: dict[str, list[float]] = {name: [] for name in HEAVY}
    for n, shape in enumerate([(64, 1024, 1024), (512, 1024, 1024)]):
        bench = Bench(tmp_path / str(n), shape, 0.25, Size(15.0, 4, (16, 512, 512)))
        for name in HEAVY:
            peaks[name].append(bench.measure(name)[0])
    grown = {name: (small, large) for name, (small, large) in peaks.items() if large > 1.2 * small + 32}
    assert not grown, "MB on a volume of 64 MB and on one of 512 MB"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, model: tuple[str, str]) -> Bench:
    """A volume on which 4 MB is little memory and 8 GB is enough for everything at once."""
    made = Bench(tmp_path_factory.mktemp("small") / "b", (24, 140, 150), 8.0, Size(2.5, 2, (12, 48, 48)))
    made.made["finetune"] = model
    made.measure("volume")
    return made


def _vectors(folder: Path) -> Any:
    return np.load(folder / "embeddings.npy")


def _pseudo_labels(folder: Path) -> Any:
    from alcore.volumes.store import open_labels

    return np.asarray(open_labels(folder / "instances.zarr")[:])


def _instances(folder: Path) -> Any:
    from alcore.volumes.labels import read_labels

    return read_labels(folder / "instances.tif")[0]


def _patches(folder: Path) -> Any:
    return np.stack(list(np.load(folder / "patches.npz").values()))


@pytest.mark.parametrize(
    ("name", "read"),
    [("pseudo", _pseudo_labels), ("embedding", _vectors), ("predict", _instances), ("predict", _patches)],
)
def test_the_memory_does_not_matter_for_the_result(
    name: str, read: Callable[[Path], Any], small: Bench, tmp_path: Path
) -> None:
    made = {key: Input(Path(path), of) for key, (path, of) in small.made.items()}
    inputs, params = RECIPES[name](Input(small.source, "file:1"), made, small.size)
    if name == "predict":
        params |= {"tile_step": 0.5}
    found, results = [], []
    for ram_bytes in (1 << 22, 8 << 30):
        out, scratch = (tmp_path / f"{word}-{ram_bytes}" for word in ("out", "scratch"))
        out.mkdir()
        scratch.mkdir()
        ctx = QuietContext(scratch, tmp_path / "cache", ram_bytes=ram_bytes)
        results.append({k: v for k, v in stage(name).run(inputs, params, out, ctx).items() if k != "seconds"})
        found.append(read(out))
    np.testing.assert_array_equal(*found)
    assert results[0] == results[1]
    assert len(np.unique(found[0])) > 3, "a result of nothing proves nothing"
