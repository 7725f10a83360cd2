"""Incomplete, absurd and hostile OME-Zarr trees end as one clear line; prints the table. Complete ones are accepted."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.types import Box
from alcore.volumes import check, open_volume
from tests.alcore.volumes.examine import examine, table
from tests.alcore.volumes.zarr_forms import array, group, multiscale, put, write_zarr

MEMORY_MB = 1200
IMAGE = np.random.default_rng(0).integers(1, 99, (6, 30, 40), np.uint16)
ABSURD = 10**5
Damage = Callable[[Path], None]


def edit(name: str, **changes: Any) -> Damage:
    """Change keys of a JSON document of the tree; None takes a key away."""

    def apply(path: Path) -> None:
        document = json.loads((path / name).read_text())
        for key, value in changes.items():
            document.pop(key, None)
            if value is not None:
                document[key] = value
        put(path / name, document)

    return apply


def text(name: str, content: str) -> Damage:
    return lambda path: void((path / name).write_text(content))


def gone(*names: str) -> Damage:
    return lambda path: void([(path / name).unlink() for name in names])


def level(named: object) -> Damage:
    """Let `datasets` name another folder."""

    def apply(path: Path) -> None:
        entry = multiscale("zyx")
        entry["datasets"][0]["path"] = named
        group(path, {"multiscales": [entry]})

    return apply


def entry(**changes: Any) -> Damage:
    return lambda path: group(path, {"multiscales": [{**multiscale("zyx"), **changes}]})


def link(name: str) -> Damage:
    """Put what has this name outside, and a link to it in its place."""

    def apply(path: Path) -> None:
        outside = path.with_name(f"outside {path.name}")
        (path / name).rename(outside)
        os.symlink(outside, path / name)

    return apply


def cut(name: str, n: int) -> Damage:
    return lambda path: void((path / name).write_bytes((path / name).read_bytes()[:n]))


def bomb(path: Path) -> None:
    """A chunk of 100 kB that inflates to more than there may be."""
    shutil.rmtree(path)
    write_zarr(path, IMAGE, "zyx", 4, chunks=(2, 30, 40))
    edit("0/.zarray", compressor={"id": "gzip", "level": 1})(path)
    for i in range(3):
        data = gzip.compress(bytes(4 << 20), 9)
        (path / "0" / str(i) / "0" / "0").write_bytes(data * 500)


def deep(path: Path) -> None:
    (path / "zarr.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)


def pickled(path: Path) -> None:
    """A filter that would run what is in the file."""
    shutil.rmtree(path)
    write_zarr(path, IMAGE, "zyx", 4, chunks=(2, 30, 40))
    edit("0/.zarray", filters=[{"id": "pickle"}])(path)


def stray(path: Path) -> None:
    shutil.copy(path / "0/c/0/0/0", path / "0/c/0/0/7")


def whole(path: Path) -> None:
    write_zarr(path, IMAGE, "zyx", chunks=(2, 30, 40), compressors=None)


def sharded(damage: Damage) -> Damage:
    """Damage a tree of three shards instead."""

    def apply(path: Path) -> None:
        write_zarr(path, IMAGE, "zyx", chunks=(1, 15, 20), shards=(2, 30, 40))
        damage(path)

    return apply


def inner(**changes: Any) -> Damage:
    """Change the configuration of the shards."""

    def apply(path: Path) -> None:
        (codec,) = json.loads((path / "0/zarr.json").read_text())["codecs"]
        edit("0/zarr.json", codecs=[{**codec, "configuration": {**codec["configuration"], **changes}}])(path)

    return apply


def void(_: object) -> None:
    """For the value of an expression."""


def steps(*names: Any) -> dict[str, Any]:
    return {"codecs": [{"name": name} if isinstance(name, str) else name for name in names]}


CASES: dict[str, tuple[Damage, str]] = {
    "a chunk missing in the middle": (gone("0/c/1/0/0"), "1 of 3 chunks are missing: not written yet, or left out"),
    "chunks missing at the end": (gone("0/c/1/0/0", "0/c/2/0/0"), "2 of 3 chunks are missing"),
    "no chunk at all": (lambda p: shutil.rmtree(p / "0/c"), "3 of 3 chunks are missing"),
    "a chunk of no bytes": (cut("0/c/2/0/0", 0), "chunk c/2/0/0 is empty (0 bytes)"),
    "an uncompressed chunk cut off": (cut("0/c/2/0/0", 4000), "chunk c/2/0/0 has 4000 bytes, expected 4800"),
    "a chunk outside the shape": (stray, "chunk c/0/0/7 lies outside its shape"),
    "a folder instead of a chunk": (
        lambda p: void([(p / "0/c/1/0/0").unlink(), (p / "0/c/1/0/0").mkdir()]),
        "1 of 3 chunks are missing",
    ),
    "a chunk is a link": (link("0/c/1/0/0"), "c/1/0/0 is a link"),
    "the chunks are a link": (link("0/c"), "chunk c/ is a link"),
    "the array is a link": (link("0"), "0 is a link, which is not followed"),
    "the metadata are a link": (link("0/zarr.json"), "0/zarr.json is a link"),
    "metadata missing": (gone("zarr.json"), "neither zarr.json nor .zarray nor .zgroup"),
    "metadata of the array missing": (gone("0/zarr.json"), "0 has neither zarr.json nor .zarray"),
    "metadata empty": (text("zarr.json", ""), "zarr.json is empty"),
    "metadata cut off": (cut("zarr.json", 90), "zarr.json is no JSON: cut off or damaged"),
    "metadata no object": (text("zarr.json", "[1, 2]"), "zarr.json is no JSON object"),
    "metadata no text": (lambda p: void((p / "zarr.json").write_bytes(b"\xff\xfe{}")), "is no JSON"),
    "metadata nested deeply": (deep, "nested too deeply"),
    "metadata of 20 MB": (text("zarr.json", '{"a":"' + "a" * (20 << 20) + '"}'), "more than 16 MB"),
    "a number of 5000 digits": (text("zarr.json", '{"zarr_format":' + "9" * 5000 + "}"), "is no JSON"),
    "zarr_format 4": (edit("zarr.json", zarr_format=4), "is of zarr_format 4, expected 3"),
    "no zarr_format": (edit("0/zarr.json", zarr_format=None), "is of zarr_format None"),
    "neither array nor group": (edit("0/zarr.json", node_type="thing"), "neither an array nor a group"),
    "attributes of a wrong kind": (edit("zarr.json", attributes=[1]), "neither an array nor a group"),
    "datasets lead upwards": (level("../../x"), "no path inside the tree"),
    "datasets lead to the root": (level("/etc"), "no path inside the tree"),
    "datasets lead to itself": (level("."), "no path inside the tree"),
    "datasets lead nowhere": (level("7"), "name 7, which is not there"),
    "datasets with a number": (level(0), "no path inside the tree"),
    "datasets with a long name": (level("a" * 300), "no path inside the tree"),
    "datasets with a NUL": (level("0\x00"), "no path inside the tree"),
    "datasets lead to a file": (level("zarr.json"), "zarr.json, which is no folder"),
    "datasets empty": (entry(datasets=[]), "datasets missing or empty"),
    "datasets no list": (entry(datasets={"0": 1}), "datasets missing or empty"),
    "datasets of strings": (entry(datasets=["0"]), "datasets hold what is no JSON object"),
    "multiscales empty": (lambda p: group(p, {"multiscales": []}), "multiscales missing or empty"),
    "multiscales no object": (lambda p: group(p, {"multiscales": [None]}), "hold what is no JSON object"),
    "no OME metadata": (lambda p: group(p, {}), "without OME-Zarr metadata"),
    "a plate of no wells": (lambda p: group(p, {"plate": {"wells": []}}), "wells of its plate missing or empty"),
    "a plate of nonsense": (lambda p: group(p, {"plate": 7}), "wells of its plate missing or empty"),
    "a well that leads out": (lambda p: group(p, {"plate": {"wells": [{"path": "../A"}]}}), "no path inside"),
    "a well that is no well": (lambda p: group(p, {"plate": {"wells": [{"path": "0"}]}}), "images of the well"),
    "a layout of the future": (lambda p: group(p, {"bioformats2raw.layout": 9}), "layout 9 is not known"),
    "axes missing": (
        lambda p: group(p, {"multiscales": [{"datasets": [{"path": "0"}]}]}),
        "an image of OME-Zarr 0.5 without axes",
    ),
    "axes of other number": (entry(axes=[{"name": "y"}, {"name": "x"}]), "2 axes for an array of 3 dimensions"),
    "axes that end in z": (entry(axes=["x", "y", "z"]), "no order of t, c, z that ends in y, x"),
    "axes twice": (entry(axes=["y", "y", "x"]), "no order of t, c, z that ends in y, x"),
    "axes of other names": (entry(axes=["angle", "y", "x"]), "is none of t, c, z, y, x"),
    "axes of a wrong type": (entry(axes=[{"name": "z", "type": "time"}, "y", "x"]), "is none of t, c, z, y, x"),
    "axes no list": (entry(axes="zyx"), "no order of t, c, z"),
    "a scale of two numbers": (
        entry(coordinateTransformations=[{"type": "scale", "scale": [1, 1]}]),
        "a scale of 2 numbers for 3 dimensions",
    ),
    "shape of 2^60": (edit("0/zarr.json", shape=[1 << 60, 30, 40]), "empty, negative or beyond reason"),
    "shape of 2^39": (edit("0/zarr.json", shape=[1 << 39, 30, 40]), "GB, above the limit of 8 GB"),
    "shape of nothing": (edit("0/zarr.json", shape=[0, 30, 40]), "empty, negative or beyond reason"),
    "shape below zero": (edit("0/zarr.json", shape=[-6, 30, 40]), "empty, negative or beyond reason"),
    "shape of a fraction": (edit("0/zarr.json", shape=[6.5, 30, 40]), "no list of 2 to 8 sizes"),
    "shape of one number": (edit("0/zarr.json", shape=[6]), "no list of 2 to 8 sizes"),
    "shape missing": (edit("0/zarr.json", shape=None), "no list of 2 to 8 sizes"),
    "shape smaller than its chunks": (edit("0/zarr.json", shape=[4, 30, 40]), "lies outside its shape"),
    "shape larger than its chunks": (edit("0/zarr.json", shape=[9, 30, 40]), "2 of 5 chunks are missing"),
    "chunks of absurd size": (
        edit("0/zarr.json", chunk_grid={"name": "regular", "configuration": {"chunk_shape": [ABSURD] * 3}}),
        "one chunk (100000, 100000, 100000) would decode to 1.86e+06 GB",
    ),
    "chunks of nothing": (
        edit("0/zarr.json", chunk_grid={"name": "regular", "configuration": {"chunk_shape": [0, 30, 40]}}),
        "empty, negative or beyond reason",
    ),
    "chunks of other dimensions": (
        edit("0/zarr.json", chunk_grid={"name": "regular", "configuration": {"chunk_shape": [30, 40]}}),
        "chunks (30, 40) do not fit its shape",
    ),
    "chunks that are not regular": (edit("0/zarr.json", chunk_grid={"name": "rectilinear"}), "is not supported"),
    "keys of chunks unknown": (edit("0/zarr.json", chunk_key_encoding={"name": "hash"}), "'hash' is not supported"),
    "a separator unknown": (
        edit("0/zarr.json", chunk_key_encoding={"name": "default", "configuration": {"separator": "-"}}),
        "no separator",
    ),
    "a type of no image": (edit("0/zarr.json", data_type="complex64"), "complex64 values are not supported"),
    "a type that nobody knows": (edit("0/zarr.json", data_type={"name": "x"}), "values are not supported"),
    "a codec unknown": (edit("0/zarr.json", **steps("bytes", "jpeg9000")), "'jpeg9000' is not supported"),
    "a codec that runs code": (pickled, "'pickle' is not supported"),
    "codecs without bytes": (edit("0/zarr.json", **steps("gzip")), "zarr cannot use the metadata of array 0"),
    "codecs in disorder": (edit("0/zarr.json", **steps("gzip", "bytes")), "zarr cannot use the metadata of array 0"),
    "codecs no list": (edit("0/zarr.json", codecs="bytes"), "no list of codecs"),
    "a storage transformer": (edit("0/zarr.json", storage_transformers=[{"name": "x"}]), "transformers"),
    "an extension that must be understood": (
        edit("0/zarr.json", invented={"name": "x", "must_understand": True}),
        "zarr cannot use the metadata",
    ),
    "a shard cut off": (sharded(cut("0/c/2/0/0", 50)), "shard c/2/0/0 has 50 bytes, expected 132"),
    "a shard missing": (sharded(gone("0/c/1/0/0")), "1 of 3 shards are missing"),
    "shards of broken chunks": (sharded(inner(chunk_shape=[1, 7, 20])), "are not made of whole chunks (1, 7, 20)"),
    "shards in shards": (sharded(inner(codecs=[{"name": "sharding_indexed"}])), "'sharding_indexed' is not supported"),
    "an index that is compressed": (sharded(inner(index_codecs=["bytes", "gzip"])), "index of its shards"),
    "chunks that inflate without end": (bomb, "needs more memory to decode than there is"),
}
"""What is done to a whole tree of three uncompressed chunks, and what is said of it."""


def test_malformed_trees_are_set_aside_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected: dict[Path, str] = {}
    for number, (name, (damage, words)) in enumerate(CASES.items()):
        path = tmp_path / f"{number} {name.replace('/', ' ')}.zarr"
        whole(path)
        damage(path)
        expected[path] = words
    verdicts = examine(list(expected), {}, MEMORY_MB)
    with capsys.disabled():
        print(f"\n\nmalformed OME-Zarr trees\n{table(verdicts, tmp_path)}\n")
    for path, words in expected.items():
        found = verdicts[path]
        assert (found.verdict, words in found.told) == ("set aside", True), (path.name, found.told)
        assert len(found.told.splitlines()) == 1
        assert found.took_s < 5
        assert found.rss_mb < 1000


def test_chunks_left_out_because_they_are_empty(tmp_path: Path) -> None:
    image = IMAGE.copy()
    image[2:4] = 0
    image[5] = 0
    for name, more in {"chunks": {}, "shards": {"shards": (2, 30, 40)}}.items():
        path = tmp_path / f"{name}.zarr"
        write_zarr(path, image, "zyx", chunks=(1, 30, 40), config={"write_empty_chunks": False}, **more)
        missing = "3 of 6 chunks" if name == "chunks" else "1 of 3 shards"
        assert check.problems(path) == [
            f"array 0: {missing} are missing: not written yet, or left out because they are empty: copy it again, or set "
            f"sparse = true for its watched folder if its writer leaves out empty {name}"
        ]
        assert check.problems(path, {"sparse": True}) == []
        with open_volume(path, {"sparse": True}) as volume:
            np.testing.assert_array_equal(volume.read(Box((0, 0, 0), image.shape))[0], image)
    (tmp_path / "chunks.zarr/0/c/0/0/0").write_bytes(b"")
    assert "is empty (0 bytes)" in check.problems(tmp_path / "chunks.zarr", {"sparse": True})[0]
    shutil.rmtree(tmp_path / "chunks.zarr/0/c")
    assert check.problems(tmp_path / "chunks.zarr", {"sparse": True}) == [
        "array 0: none of its 6 chunks is there; copy or save it again"
    ]


def test_what_is_no_chunk_is_left_alone(tmp_path: Path) -> None:
    for minor, separator in ((4, "."), (4, "/"), (5, "."), (5, "/")):
        path = tmp_path / f"{minor}{'s' if separator == '/' else 'd'}.zarr"
        encoding = {"name": "v2" if minor == 4 else "default", "separator": separator}
        write_zarr(path, IMAGE, "zyx", minor, chunks=(2, 30, 40), chunk_key_encoding=encoding)
        for name in (".DS_Store", "0.0.0.partial", "c.0.0", "00.0.0", "1.0.0.0", "notes.txt", "-1"):
            (path / "0" / name).write_bytes(b"")
        put(path / ".zmetadata", ["consolidated metadata are ignored, whatever they are"])
        assert check.problems(path) == []


def test_the_decoded_size_of_all_images_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr"
    group(path, {"bioformats2raw.layout": 3})
    for series in "012":
        write_zarr(path / series, IMAGE, "zyx")
    assert check.problems(path, limit_bytes=3 * IMAGE.nbytes) == []
    assert "above the limit" in check.problems(path, limit_bytes=3 * IMAGE.nbytes - 1)[0]


MANY = """
import re, sys, time
from pathlib import Path
from alcore.types import Box
from alcore.volumes import check, open_volume
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
import zarr
assert len(check.problems(Path(sys.argv[1]))) == 1
before, began = peak(), time.perf_counter()
found = check.problems(Path(sys.argv[2]))
print(found, time.perf_counter() - began, peak() - before)
"""


def test_many_chunks_are_counted_fast_in_flat_memory(tmp_path: Path) -> None:
    small, large = tmp_path / "small.zarr", tmp_path / "large.zarr"
    for path, n in ((small, 2), (large, 20)):
        group(path, {"multiscales": [multiscale("zyx")]})
        array(path / "0", np.zeros((1, 1, 1), np.uint8), chunks=(1, 1, 1), compressors=None)
        edit("0/zarr.json", shape=[10, n, n])(path)
        shutil.rmtree(path / "0" / "c")
        for z in range(10):
            for y in range(n):
                folder = path / "0" / "c" / str(z) / str(y)
                folder.mkdir(parents=True)
                for x in range(n if z or y else n - 1):
                    os.mknod(folder / str(x))
                    os.truncate(folder / str(x), 1)
    run = [sys.executable, "-c", MANY, str(small), str(large)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(run, capture_output=True, text=True, check=True, env=env).stdout
    found, took_s, more_kb = re.fullmatch(r"(\[.*\]) (\S+) (\d+)\n", told).groups()  # type: ignore[union-attr]
    assert "1 of 4000 chunks are missing" in found
    assert float(took_s) < 2  # 0.03 s on a machine that does nothing else
    assert int(more_kb) < 1024
