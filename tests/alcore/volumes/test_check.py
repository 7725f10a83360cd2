"""Incomplete, hostile and absurd TIFFs: none may crash, hang, eat the memory or silently lose slices."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alcore.errors import AlcoreError, PartOfSetError, SourceMissingError, UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from alcore.volumes.sweep import sweep
from alcore.volumes.writers import write_image_tiff
from tests.alcore.volumes.examine import examine

READ = {"axes": "ZYX"}
"""What a person says about stacks that do not name their dimensions."""


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
    verdicts = examine(paths, READ)
    for path, v in verdicts.items():
        assert v.verdict == "set aside" or "(1, 10, 60, 70)" in v.told, (path, v)
    assert {v.verdict for v in verdicts.values()} == {"read", "set aside"}


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


def test_real_files_of_every_kind(real_data: Callable[[str], Path]) -> None:
    """What is accepted equals tifffile's own reading; nothing whole is taken for incomplete."""
    paths = sorted(p for p in real_data("formats").rglob("*") if p.suffix in (".tif", ".tiff"))
    read = {"together": True, "rgb": "channels"}
    accepted, told = [], []
    for path in paths:
        try:
            (told if (found := check.problems(path, read)) else accepted).append((path, found))
        except PartOfSetError:
            told.append((path, ["one of a set"]))
    expected = ("pages without names", "not supported", "no intensities", "palette", "one of a set")
    assert [(p.name, t) for p, t in told if not any(words in t[0] for words in expected)] == []
    assert len(accepted) > 200
    undecodable = []
    for path, _ in accepted:
        found = []
        try:
            for part in parts(path, read):
                with open_volume(path, {**read, **part.select}) as volume:
                    found.append(volume.read_as_stored(Box((0, 0, 0), volume.shape[1:])))
        except UnreadableVolumeError as e:
            undecodable.append((path.name, type(e.__cause__).__name__))
            continue
        np.testing.assert_array_equal(np.stack(found), by_tifffile(path), err_msg=path.name)
    assert sorted(undecodable) == [
        (name, "Jpeg8Error") for name in ("smallliz.tif", "zackthecat.tif")
    ]  # JPEG as before TIFF 6.0


def by_tifffile(path: Path) -> np.ndarray[Any, Any]:
    """(T, C, Z, Y, X) of a file of one image, colour samples as channels without transparency."""
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        image, axes, page = series.asarray(), series.axes.replace("I", "Z"), series.keyframe
    if "S" in axes:
        n_alpha = sum(int(extra) in (1, 2) for extra in page.extrasamples)
        n = page.samplesperpixel - n_alpha if page.photometric.name == "MINISBLACK" else 3
        image = np.take(image, range(n), axes.index("S"))
        axes = axes.replace("S", "C")
    for missing in set("TCZYX") - set(axes):
        image, axes = image[None], missing + axes
    assert len(axes) == 5, axes
    return image.transpose([axes.index(letter) for letter in "TCZYX"])
