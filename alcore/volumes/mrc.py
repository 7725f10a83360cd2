"""MRC as volumes: maps, tomograms and stacks of electron microscopes (MRC2014, and what came before it)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.types import Box, VoxelSize
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.images import Image, ImageFile
from alcore.volumes.port import MOST_PARTS, Array, ReadOptions
from alcore.volumes.rawfile import RawFile

SUFFIXES = (".mrc", ".mrcs", ".st", ".rec", ".map", ".ali")
HEADER_BYTES = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
REFUSED = {3: "complex 16-bit integers", 4: "complex numbers (a transform)", 16: "RGB colours", 101: "4-bit numbers"}
VOLUME_STACKS = range(401, 631)
"""Space groups that mean several volumes one after the other (MRC2014, ISPG)."""
IMOD_STAMP = 1146047817
IMOD_SIGNED = 1
"""In the flags of IMOD: bytes are signed. It wrote unsigned ones where this is not set."""
UM_PER_ANGSTROM = 1e-4
MOST_PX = 1 << 20
"""More sections, rows or columns than any detector or stage has."""


class _Header(NamedTuple):
    """byte_order: "<" or ">". fields: mrcfile's record of the first 1024 bytes. is_old: without the word MAP."""

    byte_order: str
    fields: Any
    is_old: bool


def signature(path: Path, head: bytes) -> bool:
    """True when "MAP " stands where MRC2014 has it, for older files of such a name with a header that can be one, and for
    compressed files of such a name."""
    name = path.name.lower()
    if name.endswith(tuple(s + c for s in SUFFIXES for c in (".gz", ".bz2"))):
        return head.startswith((b"\x1f\x8b", b"BZh"))
    if len(head) < 64:
        return False
    with readable(path), open(path, "rb") as f:
        data = f.read(HEADER_BYTES)
    if data[208:212] == b"MAP ":
        return True
    return name.endswith(SUFFIXES) and len(data) == HEADER_BYTES and _header(data) is not None


def _header(data: bytes) -> _Header | None:
    """The header in the byte order that its machine stamp tells, or in the one in which it makes sense; None when in none."""
    from mrcfile.dtypes import HEADER_DTYPE

    stamp, is_old = data[212:214], data[208:212] != b"MAP "
    told = {b"DD": "<", b"DA": "<", b"\x11\x11": ">"}.get(stamp, "")
    for order in (told,) if told and not is_old else ("<", ">"):
        fields = np.frombuffer(data, HEADER_DTYPE.newbyteorder(order), 1)[0]
        sizes = [int(fields[key]) for key in ("nx", "ny", "nz")]
        if int(fields["mode"]) in (*MODES, *REFUSED) and all(0 < n <= MOST_PX for n in sizes):
            return _Header(order, fields, is_old)
    return None


class MrcFile(ImageFile):
    """An MRC file, read at the offsets that its header gives."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        self._file = RawFile(path)
        try:
            self.stored_bytes = self._file.size
            self._interpret()
        except BaseException:
            self.close()
            raise

    def _interpret(self) -> None:
        path = self.path
        if self._file.bytes(0, min(2, self._file.size)) in (b"\x1f\x8b", b"BZ"):
            raise UnreadableVolumeError(f"{path}: a compressed MRC file; unpack it (gunzip, bunzip2)")
        if self._file.size < HEADER_BYTES:
            raise UnreadableVolumeError(
                f"{path}: {self._file.size} bytes are less than the header of an MRC file; {AGAIN}"
            )
        header = _header(self._file.bytes(0, HEADER_BYTES))
        if header is None:
            raise UnreadableVolumeError(
                f"{path}: the header of this MRC file makes no sense: was it still being written? {AGAIN.capitalize()}"
            )
        fields = header.fields
        mode, nsymbt = int(fields["mode"]), int(fields["nsymbt"])
        if mode in REFUSED:
            raise UnreadableVolumeError(
                f"{path}: MRC mode {mode}, {REFUSED[mode]}, are not supported; save it as mode 1, 2 or 6"
            )
        self._dtype = np.dtype(header.byte_order + MODES[mode])
        notes: tuple[str, ...] = ("an MRC file from before MRC2014",) if header.is_old else ()
        flags = np.frombuffer(self._file.bytes(152, 8), header.byte_order + "i4")
        if mode == 0 and flags[0] == IMOD_STAMP and not flags[1] & IMOD_SIGNED:
            self._dtype = np.dtype(np.uint8)
        if nsymbt < 0:
            raise UnreadableVolumeError(f"{path}: its extended header has {nsymbt} bytes: damaged; {AGAIN}")
        self._start = HEADER_BYTES + nsymbt
        self._stored = tuple(int(fields[key]) for key in ("nz", "ny", "nx"))
        needed = self._start + math.prod(self._stored) * self._dtype.itemsize
        if self._file.size < needed:
            raise UnreadableVolumeError(
                f"{path}: its header promises {needed} bytes, {self._file.size} are there; "
                "was the file still being written? Copy or save it again"
            )
        if self._file.size > needed:
            notes += (f"{self._file.size - needed} bytes after the voxels are left out",)
        self._axes = _axes(path, [int(fields[key]) for key in ("maps", "mapr", "mapc")])
        n_volumes = self._volumes(int(fields["ispg"]), int(fields["mz"]))
        if self._axes != (0, 1, 2):
            stored = ", ".join("ZYX"[axis] for axis in self._axes)
            notes += (f"its sections, rows and columns lie along {stored}: turned to Z, Y, X",)
        if int(fields["ispg"]) == 0 and self._stored[0] > 1:
            notes += ("says that it is a stack of images (ISPG 0): a tilt series is no volume",)
        voxel_um, more = _voxel_um(fields)
        sizes = [0, 0, 0]
        for stored_axis, axis in enumerate(self._axes):
            sizes[axis] = self._stored[stored_axis]
        self._depth = sizes[0] // n_volumes
        self.images = tuple(
            Image("", 1, ("",), self._depth, sizes[1], sizes[2], self._dtype, voxel_um=voxel_um, notes=notes + more)
            for _ in range(n_volumes)
        )

    def _volumes(self, space_group: int, depth: int) -> int:
        """How many volumes lie one after the other."""
        n_sections = self._stored[0]
        if space_group not in VOLUME_STACKS:
            return 1
        if not 0 < depth <= n_sections or n_sections % depth or n_sections // depth > MOST_PARTS:
            raise UnreadableVolumeError(
                f"{self.path}: {n_sections} sections are no stack of volumes of {depth} sections each; {AGAIN}"
            )
        if self._axes != (0, 1, 2) and depth != n_sections:
            raise UnreadableVolumeError(f"{self.path}: a stack of volumes whose axes are turned; save them one by one")
        return n_sections // depth

    def read(self, image: int, time: int, channel: int, box: Box) -> Array:
        wanted = list(box.slices)
        first = image * self._depth
        wanted[0] = slice(wanted[0].start + first, wanted[0].stop + first)
        sections, rows, columns = (wanted[axis] for axis in self._axes)
        _, height, width = self._stored
        line = width * self._dtype.itemsize
        out = np.empty([s.stop - s.start for s in (sections, rows, columns)], self._dtype)
        for index, section in enumerate(range(sections.start, sections.stop)):
            offset = self._start + section * height * line
            out[index] = self._file.plane(offset, self._dtype, 1, line, rows, columns)[..., 0]
        return out.transpose(np.argsort(self._axes))

    def problem(self) -> str:
        return ""  # the size of the file is proved when it is opened

    def close(self) -> None:
        self._file.close()


def _axes(path: Path, told: list[int]) -> tuple[int, ...]:
    """Which of Z, Y, X (0, 1, 2) the sections, rows and columns lie along."""
    if told == [0, 0, 0]:  # not written before MRC2000
        return (0, 1, 2)
    if sorted(told) != [1, 2, 3]:
        raise UnreadableVolumeError(f"{path}: sections, rows and columns along axes {told} make no sense; {AGAIN}")
    return tuple(3 - axis for axis in told)


def _voxel_um(fields: Any) -> tuple[VoxelSize | None, tuple[str, ...]]:
    """(z, y, x) um from the size of the cell in angstrom and its sampling, and notes; None where it is not told."""
    told = [(float(fields["cella"][a]), int(fields["m" + a])) for a in "zyx"]
    if not all(math.isfinite(length) and length > 0 and n > 0 for length, n in told):
        return None, ()
    z, y, x = (float(f"{length / n:.7g}") for length, n in told)
    if z == y == x == 1:
        return None, ("states voxels of 1 angstrom, which programs write where nobody said it: set voxel_um",)
    if not 1e-3 < min(z, y, x) <= max(z, y, x) < 1e7:
        return None, (f"states voxels of {z:.3g} x {y:.3g} x {x:.3g} angstrom, which makes no sense: set voxel_um",)
    return (
        float(f"{z * UM_PER_ANGSTROM:.7g}"),
        float(f"{y * UM_PER_ANGSTROM:.7g}"),
        float(f"{x * UM_PER_ANGSTROM:.7g}"),
    ), ()
