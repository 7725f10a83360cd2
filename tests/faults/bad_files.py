"""Puts everything into a watched folder that should not be there: damaged, absurd, hostile and merely strange files."""

from __future__ import annotations

import os
import shutil
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import tifffile

from tests.alcore.volumes import malformed, test_zarr_check

REAL = {
    "cluster.nd2": "nd2_tif_pims/pims/tests/data/bioformats/cluster.nd2",
    "s_1_t_1_c_1_z_1.czi": "czi_zeiss/c_tests/resources/s_1_t_1_c_1_z_1.czi",
    "tiles_z.czi": "czi_zeiss/c_tests/resources/tiles_z.czi",
    "2channel_xz.lif": "lif_leica/tests/testdata_2channel_xz.lif",
    "EMD-3001.mrc": "mrc_mrcfile/tests/test_data/EMD-3001.map",
}
"""Name -> real file below formats/ of which truncated copies are made."""
KEPT = (0.02, 0.3, 0.9, 0.9999)
"""Shares of a file that its truncated copies keep."""

ODD_NAMES = (
    b"bad [red]markup[bold] [link=x].tif",
    b"bad not \xff utf-8.tif",
    b"bad new\nline  and\ttab.tif",
    "bad \u202efit.\U0001f52c.tif".encode(),
    b"bad \x1b[2Jescape.tif",
    b"-bad.tif",
    ("bad " + "\u6f22" * 81).encode() + b".tif",
)
"""Names of damaged files."""


def malformed_tiffs(folder: Path) -> None:
    """Every case of `tests.alcore.volumes.malformed`."""
    for name, (data, _) in malformed.CASES.items():
        (folder / f"{name}.tif").write_bytes(data)


def malformed_zarrs(folder: Path, scratch: Path) -> None:
    """Every case of `tests.alcore.volumes.test_zarr_check`; links of theirs lead into `scratch`."""
    for number, (name, (damage, _)) in enumerate(test_zarr_check.CASES.items()):
        tree = scratch / f"{number} {name.replace('/', ' ')}.zarr"
        test_zarr_check.whole(tree)
        damage(tree)
        tree.rename(folder / tree.name)


def real_malformed(folder: Path, data: Path) -> None:
    """Copies of the fuzzed and broken TIFFs and OME-Zarr trees of other projects' tests."""
    for path in sorted(data.rglob("*")):
        if path.suffix == ".zarr":
            shutil.copytree(path, folder / path.name)
        elif path.suffix in (".tif", ".tiff"):
            shutil.copyfile(path, folder / path.name)


def truncated(folder: Path, whole: Path, name: str) -> None:
    """Copies of a file that end early, the last one by a few bytes only."""
    data = whole.read_bytes()
    for share in KEPT:
        length = min(int(len(data) * share), len(data) - 7)
        (folder / f"{share * 100:g} % of {name}").write_bytes(data[:length])


def oddly_named(folder: Path) -> None:
    """Half-written files whose names are hard to bear."""
    for name in ODD_NAMES:
        with open(os.path.join(bytes(folder), name), "wb") as f:
            f.write(malformed.IMAGEJ[: len(malformed.IMAGEJ) // 2])
    os.link(
        folder / "-bad.tif", folder / "bad hard link.tif"
    )  # the same recipe: what was said of the other holds for it


def own_formats(folder: Path, scratch: Path) -> None:
    """Truncated copies of HDF5 and MRC files."""
    image = malformed.stack()
    with h5py.File(scratch / "v.h5", "w") as f:
        f.create_dataset("v", data=image, chunks=(2, 30, 35), compression="gzip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.new(scratch / "v.mrc") as f:
            f.set_data(image)
    truncated(folder, scratch / "v.h5", "v.h5")
    truncated(folder, scratch / "v.mrc", "v.mrc")


def strange(folder: Path, outside: Path) -> set[str]:
    """Files that are no images, and things that are no files. Returns the names of what is left alone: it has no bytes of its own."""

    def put(name: str, image: np.ndarray[tuple[int, ...], np.dtype[np.generic]], **options: object) -> None:
        tifffile.imwrite(folder / name, image, metadata=None, **({"photometric": "minisblack"} | options))

    noise = malformed.stack()
    put("constant zero.tif", np.zeros((4, 60, 70), np.uint8))
    put("constant seven float.tif", np.full((4, 60, 70), 7, np.float32))
    put("all NaN.tif", np.full((4, 60, 70), np.nan, np.float64))
    put("all infinite.tif", np.full((4, 60, 70), np.inf, np.float32))
    put("one pixel.tif", np.ones((1, 1), np.uint8))
    put("one row.tif", np.arange(500, dtype=np.uint16).reshape(1, 500))
    put("eight-byte integers.tif", noise.astype(np.int64))
    put("complex.tif", noise.astype(np.complex64))
    put("1-bit.tif", noise % 2 == 0)
    palette = np.arange(768, dtype=np.uint16).reshape(3, 256)
    put("palette.tif", noise[0].astype(np.uint8), photometric="palette", colormap=palette)
    for suffix in ("tif", "nd2", "czi", "lif", "h5", "mrc", "btf", "st"):
        (folder / f"nothing.{suffix}").write_bytes(b"")
        (folder / f"zeros.{suffix}").write_bytes(bytes(4096))
    (folder / "text.tif").write_text("export failed: disk quota exceeded\n")
    (folder / "a file called.zarr").write_bytes(b"PK\x03\x04 and so on")
    (folder / "empty.zarr" / "0").mkdir(parents=True)
    (folder / "photo.tif").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(500))
    (folder / "unreadable.tif").write_bytes(malformed.IMAGEJ)
    (folder / "unreadable.tif").chmod(0)

    os.mkfifo(folder / "pipe.tif")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.relpath(folder / "socket.tif"))  # the path of a socket has at most 107 bytes
    (folder / "broken link.tif").symlink_to(outside / "nowhere.tif")
    (folder / "link.tif").symlink_to(outside / "secret.tif")
    (folder / "linked folder").symlink_to(outside)
    (folder / "linked tree.zarr").symlink_to(outside)
    (folder / "circle").symlink_to(folder)
    return {
        "pipe.tif",
        "socket.tif",
        "broken link.tif",
        "link.tif",
        "linked folder",
        "linked tree.zarr",
        "circle",
        "empty.zarr",
    }


def good(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Whole volumes among the bad ones, two in folders with the name of a file. Returns their names and (Z, Y, X)."""
    image = malformed.stack(12)
    written: dict[str, Callable[[Path], object]] = {
        "good.tif": lambda p: tifffile.imwrite(p, image, imagej=True, metadata={"axes": "ZYX"}),
        "a folder.tif/good, too.tif": lambda p: tifffile.imwrite(p, image + 1, photometric="minisblack", metadata=None),
        "bytes after the end.tif": lambda p: p.write_bytes(malformed.IMAGEJ + bytes(1000)),
        "a big one.btf": lambda p: p.write_bytes(malformed.BIG),
        "appended.tif": lambda p: p.write_bytes(malformed.APPENDED),
    }
    for name, write in written.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write(path)
    return {os.path.basename(n): ((12 if "good" in n else 10), 60, 70) for n in written}
