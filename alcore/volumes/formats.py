"""The registry of volume formats: a file is recognised by its first bytes, never by its name alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from alcore.errors import UnreadableVolumeError
from alcore.volumes import tiff_planes
from alcore.volumes.faults import readable
from alcore.volumes.port import Format
from alcore.volumes.tiff import TiffReader
from alcore.volumes.tiff_check import tiff_problems

FORMATS = (Format("TIFF", (".tif", ".tiff", ".btf", ".tf8"), tiff_planes.signature, TiffReader, tiff_problems),)
"""Every format, most specific first. A new one passes tests/alcore/volumes/reader_contract.py."""


def format_of(path: Path) -> Format:
    """The format of a file by its content. Raises UnreadableVolumeError naming what could be read instead."""
    with readable(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableVolumeError(f"{path}: a folder or special file, not a volume file")
    with readable(path), open(path, "rb") as f:
        head = f.read(16)
    for candidate in FORMATS:
        if candidate.sniff(head):
            return candidate
    what = "an empty file" if not head else f"not a known volume format (it begins with {head[:4]!r})"
    known = ", ".join(s for f in FORMATS for s in f.suffixes)
    raise UnreadableVolumeError(f"{path}: {what}; known: {known}")
