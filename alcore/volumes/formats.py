"""The registry of volume formats: a file is recognised by its content, never by its name alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from alcore.errors import UnreadableVolumeError
from alcore.volumes import czi, hdf5, lif, mrc, nd2, slices, tiff_planes
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.images import image_format
from alcore.volumes.port import Format
from alcore.volumes.tiff import TiffReader, tiff_parts
from alcore.volumes.tiff_check import tiff_problems
from alcore.volumes.tiff_set import set_of
from alcore.volumes.zarr_check import zarr_problems
from alcore.volumes.zarr_reader import ZarrReader, zarr_parts
from alcore.volumes.zarr_tree import is_zarr

FORMATS = (
    Format("OME-Zarr", (".zarr",), is_zarr, zarr_parts, ZarrReader, zarr_problems),
    Format(
        "TIFF", (".tif", ".tiff", ".btf", ".tf8"), tiff_planes.signature, tiff_parts, TiffReader, tiff_problems, set_of
    ),
    image_format("slices", (), slices.signature, slices.SliceFolder),
    image_format("MRC", mrc.SUFFIXES, mrc.signature, mrc.MrcFile),
    image_format("HDF5", hdf5.SUFFIXES, hdf5.signature, hdf5.Hdf5File),
    image_format("ND2", (".nd2",), nd2.signature, nd2.Nd2File),
    image_format("CZI", (".czi",), czi.signature, czi.CziFile),
    image_format("LIF", (".lif",), lif.signature, lif.LifFile),
)
"""Every format, most specific first. A new one passes tests/alcore/volumes/test_reader_contract.py."""
HEAD_BYTES = 64


def format_of(path: Path) -> Format:
    """The format of a file or folder by its content. Raises UnreadableVolumeError naming what could be read instead."""
    head = b""
    with readable(path):
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise UnreadableVolumeError(f"{path}: a special file, not a volume; leave it out")
        if stat.S_ISREG(mode):
            with open(path, "rb") as f:
                head = f.read(HEAD_BYTES)
    for candidate in FORMATS:
        if candidate.sniff(path, head):
            return candidate
    known = ", ".join(f.name for f in FORMATS if f.suffixes)
    if stat.S_ISDIR(mode):
        raise UnreadableVolumeError(f"{path}: a folder that is neither an OME-Zarr nor a stack of slices; leave it out")
    if not any(head):
        what = "begins with zeros only" if head else "an empty file"
        raise UnreadableVolumeError(f"{path}: {what}: was it still being written? {AGAIN.capitalize()}")
    raise UnreadableVolumeError(
        f"{path}: no image of a format that can be read (it begins with {head[:4]!r}); save it as one of {known}"
    )
