"""HDF5: which dataset is meant, what its dimensions are, voxels that are elsewhere or were never written, damaged files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from alcore.errors import AlcoreError, UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from tests.alcore.volumes.examine import examine

Image = np.ndarray[Any, Any]
READ = {"axes": "ZYX"}


def stack(shape: tuple[int, ...] = (5, 20, 30)) -> Image:
    """uint16 noise without a zero."""
    return np.random.default_rng(0).integers(1, 4000, shape).astype(np.uint16)


def write(path: Path, image: Image, name: str = "volume", **options: Any) -> Any:
    """One dataset in a new file; attrs and labels among the options are for the dataset."""
    attrs, labels = options.pop("attrs", {}), options.pop("labels", "")
    with h5py.File(path, "w") as f:
        dataset = f.create_dataset(name, data=image, **options)
        dataset.attrs.update(attrs)
        for i, label in enumerate(labels):
            dataset.dims[i].label = label
    return image


def whole(path: Path, read: dict[str, Any] | None = None) -> Image:
    with open_volume(path, read) as volume:
        return np.asarray(volume.read(Box((0, 0, 0), volume.shape[1:])))


def tags(axes: str) -> dict[str, str]:
    """As vigra and ilastik write them."""
    return {"axistags": json.dumps({"axes": [{"key": a, "typeFlags": 2, "resolution": 0} for a in axes]})}


@pytest.mark.parametrize("axes", ["zyx", "zyxc", "tzyxc", "czyx", "yx", "xyz", "tczyx", "ytx"])
@pytest.mark.parametrize("word", ["axistags", "labels"])
def test_axes_from_the_files_own_words(axes: str, word: str, tmp_path: Path) -> None:
    sizes = {"t": 2, "c": 3, "z": 4, "y": 8, "x": 9}
    image = stack(tuple(sizes[a] for a in axes))
    write(tmp_path / "v.h5", image, **({"attrs": tags(axes)} if word == "axistags" else {"labels": axes}))
    full = image.transpose([axes.index(a) for a in "tczyx" if a in axes])
    for i, a in enumerate("tczyx"):
        full = full if a in axes else np.expand_dims(full, i)
    found = parts(tmp_path / "v.h5")
    assert len(found) == full.shape[0] * full.shape[1]
    for part in found:
        expected = full[part.select.get("time", 0), part.select.get("channel", 0)]
        np.testing.assert_array_equal(whole(tmp_path / "v.h5", dict(part.select))[0], expected)
        with open_volume(tmp_path / "v.h5", dict(part.select)) as volume:
            box = Box((0, 2, 3), (volume.shape[1], 4, 5))
            np.testing.assert_array_equal(volume.read(box)[0], expected[box.slices])


def test_dimensions_without_a_name_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    image = write(path, stack())
    question = 'are the 5 planes slices, time points or channels? Set axes = "ZYX", "TYX" or "CYX"'
    assert question in check.problems(path)[0]
    np.testing.assert_array_equal(whole(path, READ)[0], image)
    assert len(parts(path, {"axes": "TYX"})) == 5
    np.testing.assert_array_equal(whole(path, {"axes": "TYX", "time": 3})[0, 0], image[3])
    assert "names 4 dimensions, /volume has 3" in check.problems(path, {"axes": "TZYX"})[0]
    write(path, stack((1, 5, 20, 30)))  # nobody names a dimension of one
    np.testing.assert_array_equal(whole(path, READ)[0], stack((1, 5, 20, 30))[0])
    write(path, stack((2, 5, 20, 30)))
    assert 'what are its dimensions (2, 5, 20, 30)? Set axes, such as "ZCYX"' in check.problems(path)[0]
    write(path, stack((20, 30)))
    np.testing.assert_array_equal(whole(path)[0, 0], stack((20, 30)))


@pytest.mark.parametrize(
    ("size", "expected"),
    [([0.3, 0.2, 0.1], (0.3, 0.2, 0.1)), ([0, 1, 1], None), ([1, 1], None), ("abc", None), ([np.nan] * 3, None)],
)
def test_voxel_size(size: Any, expected: Any, tmp_path: Path) -> None:
    write(tmp_path / "v.h5", stack(), attrs={"element_size_um": size})
    with open_volume(tmp_path / "v.h5", READ) as volume:
        assert volume.voxel_um == expected


def test_which_dataset_is_meant(tmp_path: Path) -> None:
    path, image = tmp_path / "v.h5", stack()
    with h5py.File(path, "w") as f:
        f["a/raw"], f["a/label"], f["scale"], f["name"] = image, image[:2].astype(np.uint8), np.arange(5), "x"
        f["soft"] = h5py.SoftLink("/a/raw")
        f["round"] = h5py.SoftLink("/round")
        f["elsewhere"] = h5py.ExternalLink("other.h5", "/a")
    with pytest.raises(UnreadableVolumeError) as e:
        open_volume(path, READ)
    assert "several images: /a/label (2, 20, 30) uint8, /a/raw (5, 20, 30) uint16; set dataset" in str(e.value)
    for name in ("a/raw", "/a/raw", "soft"):
        np.testing.assert_array_equal(whole(path, {**READ, "dataset": name})[0], image)
    for name, words in {
        "a": "a is a group; set dataset to one of: /a/label",
        "b": "there is no dataset b; set dataset to one of",
        "a/raw/deeper": "there is no dataset",
        "scale": "scale (5,) int64 is no image of 2 to 5 dimensions",
        "name": "is no image",
        "round": "goes round in circles",
        "elsewhere": "a link to another file (other.h5)",
        "elsewhere/raw": "a link to another file (other.h5)",
    }.items():
        assert words in check.problems(path, {**READ, "dataset": name})[0]
    with h5py.File(path, "w") as f:
        f["scale"] = np.arange(5)
    assert "holds no image" in check.problems(path)[0]
    with h5py.File(path, "w") as f:
        f.attrs["ImarisDataSet"] = "ImarisDataSet"
    assert "an Imaris file; save it as OME-TIFF" in check.problems(path)[0]


def test_voxels_in_other_files_are_refused(tmp_path: Path) -> None:
    image = write(tmp_path / "other.h5", stack())
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as f:
        layout = h5py.VirtualLayout(image.shape, image.dtype)
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "volume", image.shape)
        f.create_virtual_dataset("volume", layout)
    assert "/volume is a virtual dataset" in check.problems(path, READ)[0]
    with h5py.File(path, "w") as f:
        f.create_dataset("volume", data=image, external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)])
    assert "are in another file" in check.problems(path, READ)[0]


def test_what_was_never_written_is_missing(tmp_path: Path) -> None:
    path, image = tmp_path / "v.h5", stack()
    with h5py.File(path, "w") as f:
        f.create_dataset("volume", image.shape, image.dtype)
    assert "/volume was declared, but never written" in check.problems(path, READ)[0]
    with h5py.File(path, "w") as f:
        f.create_dataset("volume", image.shape, image.dtype, chunks=(1, 20, 30))[:3] = image[:3]
    assert "2 of the 5 chunks of /volume were never written" in check.problems(path, READ)[0]
    assert check.problems(path, {**READ, "sparse": True}) == []
    np.testing.assert_array_equal(whole(path, {**READ, "sparse": True})[0, :3], image[:3])


def test_absurd_sizes_and_unknown_filters(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("volume", (1 << 20, 1 << 20, 1 << 20), "u1", chunks=(1, 64, 64))
    assert "above the limit" in check.problems(path, READ)[0]
    with h5py.File(path, "w") as f:
        f.create_dataset("volume", (200, 2048, 2048), "u2", chunks=(1, 64, 64))
    assert "no image compresses so well" in check.problems(path, READ)[0]
    with h5py.File(path, "w") as f:
        f.create_dataset("volume", (2000, 2000, 2000), "u1", chunks=(1500, 1500, 1500))
    assert "one chunk of (1500, 1500, 1500) uint8" in check.problems(path, READ)[0]
    with h5py.File(path, "w") as f:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 20, 30))
        plist.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((5, 20, 30))
        h5py.h5d.create(f.id, b"volume", h5py.h5t.STD_U16LE, space, plist)
    assert "compressed with filter 32001" in check.problems(path, READ)[0]


WRITER = """
import h5py, sys, time
f = h5py.File(sys.argv[1], "w", libver=sys.argv[2])
f["volume"] = [[[1] * 30] * 20] * 5
if sys.argv[2] == "latest":
    f.swmr_mode = True
f.flush()
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has tmp_path / "v.h5" open for writing, with its readers beside it (SWMR)."""
    argv = [sys.executable, "-c", WRITER, str(tmp_path / "v.h5"), "latest"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        yield process
        process.kill()


def test_a_file_that_is_open_for_writing_is_not_complete(writer: subprocess.Popen[str], tmp_path: Path) -> None:
    assert "is open for writing" in check.problems(tmp_path / "v.h5", READ)[0]
    writer.kill()
    writer.wait()
    assert "or its writer died" in check.problems(tmp_path / "v.h5", READ)[0]


def test_the_file_is_never_written_nor_locked(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    write(path, stack())
    os.chmod(path, 0o444)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    with open_volume(path, READ) as volume:
        volume.read(Box((0, 0, 0), (1, 1, 1)))
        lock = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert subprocess.run([sys.executable, "-c", lock, str(path)], check=False).returncode == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 8, 8), "compression": "gzip"}], ids=["contiguous", "chunks"])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_cut_file_is_never_read_short(options: dict[str, Any], libver: Any, tmp_path: Path) -> None:
    path, image = tmp_path / "v.h5", stack()
    with h5py.File(path, "w", libver=libver) as f:
        f.create_dataset("volume", data=image, **options)
    data = path.read_bytes()
    for length in (*range(0, len(data), 301), len(data) - 1):
        path.write_bytes(data[:length])
        assert check.problems(path, READ) != []
        with pytest.raises(AlcoreError):
            open_volume(path, READ)
    path.write_bytes(data)
    np.testing.assert_array_equal(whole(path, READ)[0], image)


def test_damaged_bytes_are_read_or_refused_but_never_a_crash(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    written = []
    for i, options in enumerate(({}, {"chunks": (2, 8, 8), "compression": "gzip"})):
        for libver in ("earliest", "latest"):
            path = tmp_path / f"whole_{i}_{libver}.h5"
            with h5py.File(path, "w", libver=libver) as f:
                f.create_dataset("volume", data=stack(), **options)
            written.append(path.read_bytes())
    paths = []
    for index in range(160):
        data = bytearray(written[index % len(written)])
        structure = [i for i in range(len(data)) if data[i] != 0 or rng.random() < 0.02][:1500]
        for position in rng.choice(structure, rng.integers(1, 5)):
            data[position] = rng.integers(256)
        paths.append(tmp_path / f"{index}.h5")
        paths[-1].write_bytes(data)
    for path, v in examine(paths, READ).items():
        assert v.verdict == "set aside" or "(1, 5, 20, 30)" in v.told, (path, v)
        assert v.took_s < 2
        assert len(v.told.splitlines()) == 1
