"""Whatever is written in the metadata or the chunks of an OME-Zarr, it ends as the whole image or as one clear line."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alcore.errors import AlcoreError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from tests.alcore.volumes.zarr_forms import FORMS, put

IMAGE = np.random.default_rng(0).integers(1, 200, (2, 3, 12, 13), np.uint8)
LIMIT_BYTES = 1 << 20
NASTY = (
    *(None, True, -1, 0, 1, 2, 3, 7, 1 << 31, 1 << 62, 1 << 70, 0.5, math.nan, math.inf, 1e308),
    *(
        "",
        "0",
        ".",
        "..",
        "../..",
        "/",
        "c",
        "czyx",
        "pickle",
        "gzip",
        "zstd",
        "<u2",
        "|O",
        "float64",
        "x" * 5000,
        "\x00",
    ),
    *(
        [],
        [0],
        [1, 2, 3, 4],
        ["0"],
        [[]],
        [None],
        [{}],
        {},
        {"name": "bytes"},
        {"id": "zlib"},
        {"name": "x", "configuration": 0},
    ),
)
TREES = sorted(name for name in FORMS if "big" not in name)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is a value in JSON."""
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inside:
        yield (*path, key)
        yield from places(value, (*path, key))


def looked_at(path: Path, sparse: bool) -> np.ndarray[Any, Any] | None:
    """All voxels of all volumes, as the volume stage would get at them; None when the tree is set aside."""
    read = {"sparse": sparse}
    try:
        if found := check.problems(path, read, LIMIT_BYTES):
            assert len(found[0].splitlines()) == 1
            return None
        read_all = []
        for part in parts(path, read):
            with open_volume(path, {**read, **part.select}) as volume:
                read_all.append(volume.read(Box((0, 0, 0), volume.shape[1:])))
        return np.concatenate([v.ravel() for v in read_all])
    except AlcoreError as e:
        told = str(e)
    assert str(path) in told
    return None


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trees")
    for name in TREES:
        FORMS[name](folder / name, IMAGE)
    return {name: folder / name for name in TREES}


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(TREES), data=st.data())
def test_any_value_in_the_metadata(name: str, data: st.DataObject, trees: dict[str, Path]) -> None:
    path = trees[name]
    documents = [p for p in (path / f for f in ("zarr.json", ".zattrs", "0/zarr.json", "0/.zarray")) if p.exists()]
    file = data.draw(st.sampled_from(documents))
    whole = json.loads(file.read_text())
    changed = copy.deepcopy(whole)
    *way, last = data.draw(st.sampled_from(sorted(places(whole), key=str)))
    inside = changed
    for key in way:
        inside = inside[key]
    if isinstance(inside, dict) and data.draw(st.booleans()):
        del inside[last]
    else:
        inside[last] = data.draw(st.sampled_from(NASTY))
    try:
        put(file, changed)
        found = looked_at(path, data.draw(st.booleans()))
        # chunks that a smaller image does not have are noticed; what is cut off inside the last chunk leaves no trace
        assert found is None or found.size >= IMAGE.size or "shape" in (*way, last)
    finally:
        put(file, whole)
    assert looked_at(path, False) is not None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(TREES), data=st.data())
def test_any_bytes_in_a_chunk(name: str, data: st.DataObject, trees: dict[str, Path]) -> None:
    path = trees[name]
    chunks = sorted(p for p in (path / "0").rglob("*") if p.is_file() and p.name[-1].isdigit())
    file = data.draw(st.sampled_from(chunks))
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(
        st.sampled_from(
            [
                whole[:at],
                whole[at:],
                whole + whole,
                whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :],
                bytes(len(whole)),
            ]
        )
    )
    try:
        file.write_bytes(changed)
        found = looked_at(path, False)
        assert found is None or found.size == IMAGE.size
    finally:
        file.write_bytes(whole)
