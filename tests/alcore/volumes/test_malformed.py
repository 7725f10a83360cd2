"""Every malformed acquisition at hand ends as a reason or as the whole image, in little time and memory. Prints the table."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.alcore.volumes.examine import Verdict, examine, table
from tests.alcore.volumes.malformed import CASES, micromanager, stack
from tests.alcore.volumes.ome_set import ome, write_ome_set

MEMORY_MB = 1200
MOST_S = 5.0
MOST_RSS_MB = 600
SUFFIXES = (".tif", ".tiff", ".zarr")
"""What is taken for an acquisition among the malformed data at hand: files and folders with such names."""


def show(title: str, verdicts: dict[Path, Verdict], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the table, and check that nothing took long, needed much memory or has a reason of several lines."""
    with capsys.disabled():
        print(f"\n\n{title}\n{table(verdicts, root)}\n")
    for path, v in verdicts.items():
        assert v.took_s < MOST_S, path
        assert v.rss_mb < MOST_RSS_MB, path
        assert len(v.told.splitlines()) == 1, path


def test_malformed_tiffs_are_set_aside_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, (data, _) in CASES.items():
        (tmp_path / f"{name}.tif").write_bytes(data)
    verdicts = examine([tmp_path / f"{name}.tif" for name in CASES], {"axes": "ZYX"}, MEMORY_MB)
    show("malformed TIFFs", verdicts, tmp_path, capsys)
    for name, (_, words) in CASES.items():
        found = verdicts[tmp_path / f"{name}.tif"]
        assert (found.verdict, words in found.told) == ("set aside", True), (name, found.told)


def test_malformed_sets_are_set_aside_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def written(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        write_ome_set(folder, [stack(5)[None, None]], lambda s, t, c, z: f"{z}.tif", "s.companion.ome")
        return folder / "s.companion.ome"

    expected: dict[Path, str] = {}
    owner = written("two files missing")
    for z in (1, 3):
        owner.with_name(f"{z}.tif").unlink()
    expected[owner] = "missing 2 of 6 files: 1.tif, 3.tif"
    owner = written("a file cut off")
    whole = owner.with_name("2.tif").read_bytes()
    owner.with_name("2.tif").write_bytes(whole[:-100])
    expected[owner] = "2.tif: the image data of page 0"
    owner = written("a file of another size")
    tifffile.imwrite(owner.with_name("2.tif"), np.ones((9, 9), np.uint16), metadata=None)
    expected[owner] = "unlike those of the other files"
    owner = written("a plane that is in no file")
    owner.write_text(owner.read_text().replace('FirstZ="3"', 'FirstZ="2"'))
    expected[owner] = "1 of the 5 planes that its OME-XML promises are nowhere"
    owner = written("a file that is elsewhere")
    owner.write_text(owner.read_text().replace('FileName="3.tif"', 'FileName="../3.tif"'))
    expected[owner] = "names a file outside its folder"
    owner = written("entities")
    owner.write_text(owner.read_text().replace("<OME", '<!DOCTYPE x [<!ENTITY a "aaaa">]><OME', 1))
    expected[owner] = "defines entities"
    owner = written("a description cut off")
    owner.write_text(owner.read_text()[:500])
    expected[owner] = "cut off or damaged"
    owner = written("two million planes")
    owner.write_text(owner.read_text().replace('SizeZ="5"', 'SizeZ="2000000"'))
    expected[owner] = "sizes"
    folder = tmp_path / "an NDTiff data set"
    folder.mkdir()
    expected[folder / "v.tif"] = "one file of an NDTiff data set"
    ndtiff(folder / "v.tif", tmp_path / "two files missing" / "0.tif")
    verdicts = examine(list(expected), {}, MEMORY_MB)
    show("malformed sets of files", verdicts, tmp_path, capsys)
    for path, words in expected.items():
        assert (verdicts[path].verdict, words in verdicts[path].told) == ("set aside", True), verdicts[path].told


def ndtiff(path: Path, other: Path) -> None:
    """A file of Micro-Manager's NDTiff with an index beside it that refers to another folder."""
    data = bytearray(micromanager(3, 3))
    summary_length = struct.unpack("<I", data[36:40])[0]
    data[8:24] = struct.pack("<4I", 483729, 2, 2355492, summary_length)
    data[24 : 24 + summary_length] = data[40 : 40 + summary_length]
    path.write_bytes(data)
    axes, name = json.dumps({"z": 0}).encode(), str(other).encode()
    entry = struct.pack("<I", len(axes)) + axes + struct.pack("<I", len(name)) + name
    path.with_name("NDTiff.index").write_bytes(entry + struct.pack("<IiiiiIii", 200, 60, 60, 0, 0, 0, 0, 0))


def test_what_looks_damaged_and_is_not_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Micro-Manager, all of 5 planes.tif").write_bytes(micromanager(5, 5))
    whole = CASES["half of an ImageJ stack"][0]
    tifffile.imwrite(tmp_path / "t.tif", stack(), imagej=True, metadata={"axes": "ZYX"})
    data = (tmp_path / "t.tif").read_bytes()
    assert data.startswith(whole)
    (tmp_path / "t.tif").unlink()
    (tmp_path / "bytes after the end.tif").write_bytes(data + bytes(1000))
    xml = ome("<!-- x -->", "v").encode()
    tifffile.imwrite(tmp_path / "OME-XML in a second page.tif", stack(1)[0], metadata=None, description=b"x")
    with tifffile.TiffWriter(tmp_path / "OME-XML in a second page.tif", append=True) as tif:
        tif.write(stack(2)[1], metadata=None, description=xml)
    paths = sorted(tmp_path.iterdir())
    verdicts = examine(paths, {"axes": "ZYX"}, MEMORY_MB)
    show("whole, though they look damaged", verdicts, tmp_path, capsys)
    assert {v.verdict for v in verdicts.values()} == {"read"}
    assert [v.told.split("(")[1].split(")")[0] for v in verdicts.values()] == [
        "1, 5, 60, 60",
        "1, 2, 60, 70",
        "1, 10, 60, 70",
    ]


def test_real_malformed_data(real_data: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Fuzzed and broken files from other projects' test suites. An array coming back would not mean that it holds an image."""
    root = real_data("malformed")
    paths = sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES)
    verdicts = examine(paths, {"axes": "ZYX"}, MEMORY_MB)
    show("real malformed data", verdicts, root, capsys)
    assert [p.name for p in paths if p.suffix != ".zarr" and verdicts[p].verdict == "read"] == []
