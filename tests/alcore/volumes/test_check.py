"""Incomplete, hostile and absurd TIFFs: none may crash, hang, eat the memory or silently lose slices."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alcore.errors import AlcoreError, SourceMissingError, UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from alcore.volumes.sweep import sweep
from alcore.volumes.writers import write_image_tiff

EXAMINE = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from alcore.errors import AlcoreError
from alcore.volumes import check, open_volume
from alcore.volumes.sweep import sweep
import zlib, imagecodecs
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 20,) * 2)
for line in sys.stdin:
    path, read = json.loads(line)
    began = time.perf_counter()
    try:
        found = check.problems(Path(path), limit_bytes=8 << 30)
        verdict = "incomplete" if found else "ok"
        told = found[0] if found else ""
        if not found:
            with open_volume(Path(path), read) as volume:
                swept = sweep(Path(path), volume, np.random.default_rng(0))
                told = f"{volume.shape} {volume.dtype} {volume.voxel_um} {' '.join([*volume.notes, *swept.notes])}"
    except AlcoreError as e:
        verdict, told = "refused", str(e)
    print(json.dumps([path, verdict, told, time.perf_counter() - began]), flush=True)
"""


def examine(
    paths: list[Path], read: dict[str, Any] | None = None, memory_mb: int = 1500
) -> dict[Path, tuple[str, str]]:
    """Check, open and sweep files in a process that may have so much memory: path -> (verdict, words)."""
    lines = "".join(json.dumps([str(p), read]) + "\n" for p in paths)
    done = subprocess.run(
        [sys.executable, "-c", EXAMINE, str(memory_mb)],
        input=lines,
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(paths)
    print(
        "\n".join(
            f"{Path(p).name[-48:]:48} {verdict:10} {s * 1e3:6.0f} ms  {told[:130]}" for p, verdict, told, s in rows
        )
    )
    return {Path(path): (verdict, told) for path, verdict, told, _ in rows}


def stack(n: int = 10, seed: int = 0) -> np.ndarray[Any, Any]:
    """(Z, Y, X) uint16 noise without a single zero."""
    return np.random.default_rng(seed).integers(1, 4000, (n, 60, 70)).astype(np.uint16)


WRITERS: dict[str, Callable[[Path], None]] = {
    "imagej": lambda p: tifffile.imwrite(p, stack(), imagej=True, metadata={"axes": "ZYX"}),
    "imagej_zlib": lambda p: tifffile.imwrite(p, stack(), imagej=True, compression="zlib", metadata={"axes": "ZYX"}),
    "contiguous": lambda p: tifffile.imwrite(p, stack(), photometric="minisblack", metadata=None),
    "plain_zlib": lambda p: tifffile.imwrite(p, stack(), photometric="minisblack", compression="zlib", metadata=None),
    "bigtiff_tiles": lambda p: tifffile.imwrite(
        p, stack(), photometric="minisblack", bigtiff=True, tile=(32, 32), compression="lzw", metadata={"axes": "ZYX"}
    ),
    "ome": lambda p: tifffile.imwrite(p, stack(), ome=True, photometric="minisblack", metadata={"axes": "ZYX"}),
    "ome_zlib": lambda p: tifffile.imwrite(
        p, stack(), ome=True, photometric="minisblack", compression="zlib", metadata={"axes": "ZYX"}
    ),
    "appended": lambda p: _append(p),
    "ours": lambda p: write_image_tiff(p, stack()[None], (0.1, 0.1, 0.1)),
}


def _append(path: Path) -> None:
    with tifffile.TiffWriter(path) as tif:
        for plane in stack():
            tif.write(plane, photometric="minisblack", metadata=None, contiguous=False)


READ = {"axes": "ZYX"}
"""What a person says of stacks that do not name their dimensions."""


class Written(dict[str, bytes]):
    """The complete bytes of every kind of file."""

    def __repr__(self) -> str:
        return f"the files {', '.join(self)}"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("written")
    found = Written()
    for name, write in WRITERS.items():
        write(folder / name)
        found[name] = (folder / name).read_bytes()
    return found


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_complete_files_have_no_problem(kind: str, written: Written, tmp_path: Path) -> None:
    (tmp_path / "v.tif").write_bytes(written[kind])
    assert check.problems(tmp_path / "v.tif", READ) == []
    check.strict(tmp_path / "v.tif", READ)
    with open_volume(tmp_path / "v.tif", READ) as volume:
        np.testing.assert_array_equal(volume.read(Box((0, 0, 0), (10, 60, 70)))[0], stack())


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(WRITERS)), share=st.floats(0, 1, exclude_max=True), fill=st.booleans())
def test_no_slice_is_lost_silently(kind: str, share: float, fill: bool, written: Written, tmp_path: Path) -> None:
    """A file that ends early, or whose tail is reserved zeros, is refused, read whole or has its empty slices named."""
    whole = written[kind]
    kept = whole[: int(share * len(whole))]
    path = tmp_path / "v.tif"
    path.write_bytes(kept + bytes(len(whole) - len(kept)) if fill else kept)
    if check.problems(path, READ):
        return
    try:
        with open_volume(path, READ) as volume:
            assert volume.shape == (1, 10, 60, 70)
            found = volume.read(Box((0, 0, 0), (10, 60, 70)))[0]
            notes = sweep(path, volume, np.random.default_rng(0)).notes
    except AlcoreError:
        return
    if np.array_equal(found, stack()):
        return
    assert fill, "a cut file was read as if it were whole"
    empty = int((~found.any(axis=(1, 2))).sum())
    assert (found != stack())[found > 0].sum() <= 1, "more than the voxel at the cut is wrong"
    assert (f"the last {empty} of 10 slices are all zero" in " ".join(notes)) == (empty > 0)


def test_a_damaged_byte_is_read_or_refused_but_never_a_crash(written: Written, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    paths = []
    for index in range(250):
        kind = sorted(written)[index % len(written)]
        data = bytearray(written[kind])
        structure = [0, *range(4, 400), *range(max(0, len(data) - 2500), len(data))]
        for position in rng.choice(structure, size=rng.integers(1, 6)):
            data[position] = rng.integers(256)
        paths.append(tmp_path / f"{index}_{kind}.tif")
        paths[-1].write_bytes(data)
    verdicts = examine(paths)
    assert {verdict for verdict, _ in verdicts.values()} == {"ok", "incomplete", "refused"}


def header_only(width: int, height: int, compression: int = 1, data: bytes = b"\x01") -> bytes:
    """A one-strip 8-bit TIFF that claims any size."""
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(data)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def deflated_zeros(n_mb: int) -> bytes:
    """A zlib stream of so many MB of zeros, made without deflating them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">I", ((n_mb << 20) % 65521) << 16 | 1)
    return b"\x78\xda" + megabyte * n_mb + b"\x03\x00" + checksum


def hostile(folder: Path) -> dict[str, Path]:
    """Every row of the table of malformed TIFFs, and worse."""
    whole = stack()

    def save(name: str, data: bytes) -> None:
        (folder / f"{name}.tif").write_bytes(data)

    def variant(name: str, **options: Any) -> bytes:
        tifffile.imwrite(folder / "t", whole, photometric="minisblack", **options)
        return (folder / "t").read_bytes()

    imagej = variant("imagej", imagej=True, metadata={"axes": "ZYX"})
    plain = variant("plain", metadata=None)
    ome = variant("ome", ome=True, metadata={"axes": "ZYX"})
    packed = variant("zlib", compression="zlib", metadata=None)
    save("half_of_an_imagej_stack", imagej[: len(imagej) // 2])
    save("half_of_a_contiguous_stack", plain[: len(plain) // 2])
    save("zlib_cut", packed[: len(packed) // 2])
    _append(folder / "t")
    appended = (folder / "t").read_bytes()
    save("preallocated_zeros", appended[: len(appended) * 6 // 10] + bytes(len(appended) - len(appended) * 6 // 10))
    save("ome_says_9", ome.replace(b'SizeZ="10"', b'SizeZ="99"'))
    save("imagej_says_99", imagej.replace(b"images=10\nslices=10", b"images=99\nslices=99"))
    save("header_of_2^20_squared", header_only(1 << 20, 1 << 20))
    save("packed_header_of_2^20_squared", header_only(1 << 20, 1 << 20, 8, zlib.compress(bytes(100))))
    save("bomb_of_1_gb", header_only(1 << 15, 1 << 15, 8, deflated_zeros(1024)))
    save("strip_that_inflates_beyond_its_size", header_only(64, 64, 8, deflated_zeros(256)))
    save("strip_that_inflates_to_less", header_only(64, 64, 8, zlib.compress(bytes(range(100)))))
    save("empty", b"")
    save("garbage", np.random.default_rng(2).bytes(5000))
    save("100_bytes", imagej[:100])
    save("only_a_header", b"II*\0\x08\0\0\0")
    save("chain_without_end", header_only(4, 4, 1, bytes(range(16)))[:-4] + struct.pack("<I", 24))
    (folder / "t").unlink()
    return {p.stem: p for p in sorted(folder.iterdir())}


def test_hostile_files_are_refused_in_little_memory(tmp_path: Path) -> None:
    files = hostile(tmp_path)
    verdicts = examine(list(files.values()), memory_mb=1200)
    assert {name: verdicts[path][0] for name, path in files.items() if verdicts[path][0] == "ok"} == {}
    told = {name: verdicts[path][1] for name, path in files.items()}
    assert "metadata promise 99 planes, 10 are there" in told["imagej_says_99"]
    assert "reserved but not written" in told["preallocated_zeros"]
    assert "an empty file" in told["empty"]
    assert "no image compresses so well" in told["bomb_of_1_gb"]
    assert "would decode to 1024.0 GB" in told["packed_header_of_2^20_squared"]
    for path in files.values():
        assert len(verdicts[path][1].splitlines()) == 1


def test_the_limit_is_the_decoded_size(written: Written, tmp_path: Path) -> None:
    path = tmp_path / "v.tif"
    path.write_bytes(written["plain_zlib"])
    assert check.problems(path, READ, stack().nbytes) == []
    assert "above the limit of" in check.problems(path, READ, stack().nbytes - 1)[0]
    with pytest.raises(UnreadableVolumeError, match=r"v\.tif: .* above the limit"):
        check.strict(path, READ, 1000)


def test_special_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    for path, words in ((tmp_path / "pipe.tif", "a special file"), (tmp_path, "a folder that is neither")):
        assert words in check.problems(path)[0]
        with pytest.raises(UnreadableVolumeError, match=words):
            open_volume(path)
    with pytest.raises(SourceMissingError):
        check.problems(tmp_path / "gone.tif")


def test_real_malformed_files(real_data: Callable[[str], Path]) -> None:
    """Fuzzed and broken files from other projects' test suites."""
    paths = sorted(p for p in real_data("malformed").rglob("*") if p.suffix in (".tif", ".tiff"))
    verdicts = examine(paths)
    assert [p.name for p in paths if verdicts[p][0] == "ok"] == []


def test_real_files_of_every_kind(real_data: Callable[[str], Path]) -> None:
    """What is accepted equals tifffile's own reading; nothing whole is taken for incomplete."""
    paths = sorted(p for p in real_data("formats").rglob("*") if p.suffix in (".tif", ".tiff"))
    verdicts = examine(paths)
    incomplete = [(p.name, told) for p, (verdict, told) in verdicts.items() if verdict == "incomplete"]
    reasons = (
        "differ in size",
        "pages without names",
        "pixels of kind",
        "a palette image",
        "values are not supported",
        "1-bit masks",
        "belong together",
        "described in",
        "-bit samples",
    )
    assert all(any(reason in told for reason in reasons) for _, told in incomplete), incomplete
    accepted = [p for p in paths if verdicts[p][0] == "ok"]
    assert len(accepted) > 100
    read = {"rgb": "channels", "together": True}
    for path in accepted:
        found = []
        for part in parts(path, read):
            with open_volume(path, {**read, **part.select}) as volume:
                found.append(volume.read_as_stored(Box((0, 0, 0), volume.shape[1:])))
        np.testing.assert_array_equal(np.stack(found).squeeze(), as_stored(path).squeeze(), err_msg=path.name)


def as_stored(path: Path) -> np.ndarray[Any, Any]:
    """tifffile's own reading with time, then channels or colours, then slices first; without transparency."""
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        image, axes = series.asarray(), series.axes
        extra = len(series.keyframe.extrasamples or ())
    if "S" in axes and extra:
        image = np.take(image, range(image.shape[axes.index("S")] - extra), axes.index("S"))
    order = [axes.index(letter) for letter in "TCSZYX" if letter in axes]
    return np.transpose(image, order)
