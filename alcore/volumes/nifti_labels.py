"""Label images in NIfTI files (ITK-SNAP and others), .nii and .nii.gz, versions 1 and 2, in the order of their indices.

The fastest axis is X, so the dimensions backwards are (Z, Y, X). What the header says of orientation (qform, sform) lays a world
over the voxels; a label is compared with the image voxel by voxel, so it is not applied.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from alcore.errors import UnreadableVolumeError
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.raw_labels import Stream, check_size, read_voxels, single_mask, unpacked

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

GZIP = b"\x1f\x8b"
HEAD_BYTES = 544
"""Longest header: 348 bytes and 4 of extensions (version 1), 540 and 4 (version 2)."""
MOST_OFFSET_BYTES = 64 << 20
"""Extensions between header and voxels are skipped up to here."""


def is_nifti(path: Path) -> bool:
    """Is that a NIfTI in one file, packed or not? Only a few hundred bytes are unpacked."""
    with readable(path), open(path, "rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        try:
            with unpacked(file, "gzip" if packed else "raw") as stream:
                head = stream.read(HEAD_BYTES)
        except (EOFError, OSError, zlib.error):
            return False
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def read_nifti(path: Path, limit_bytes: int) -> npt.NDArray[np.generic]:
    """The mask (Z, Y, X) in its own dtype, or float64 where the file scales its values; nothing is unpacked before its
    declared size was believed.

    Raises UnreadableVolumeError for a file that is cut off or damaged, voxels in another file (.img), colour, more dimensions.
    """
    with readable(path), open(path, "rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        with unpacked(file, "gzip" if packed else "raw") as stream:
            try:
                header, offset = _header(path, stream)
            except (EOFError, gzip.BadGzipFile, zlib.error) as e:
                raise UnreadableVolumeError(f"{path}: cannot be unpacked ({e}): cut off or damaged; {AGAIN}") from e
            dtype: np.dtype[np.generic] = header.get_data_dtype()
            if dtype.names is not None or dtype.kind not in "iuf":
                raise UnreadableVolumeError(f"{path}: holds colour or complex numbers; a label has whole numbers")
            stored = tuple(int(n) for n in reversed(header.get_data_shape()))
            check_size(path, stored, dtype, limit_bytes)
            shape = single_mask(path, stored)
            _skip(path, stream, offset)
            mask = read_voxels(path, stream, shape, dtype)
    slope, intercept = header.get_slope_inter()
    if slope is None or (slope, intercept or 0.0) == (1.0, 0.0):
        return mask
    return mask.astype(np.float64) * slope + (intercept or 0.0)


def _header(path: Path, stream: Stream) -> tuple[Nifti1Header, int]:
    """The header, and how many bytes lie between what was read of the stream and the voxels."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    head = _exactly(stream, Nifti1Header.sizeof_hdr)
    kind: type[Nifti1Header] = Nifti1Header
    if head[4:7] in (b"n+2", b"ni2"):
        kind = Nifti2Header
        head += _exactly(stream, Nifti2Header.sizeof_hdr - len(head))
    if len(head) < kind.sizeof_hdr:
        raise UnreadableVolumeError(f"{path}: cut off in its header; {AGAIN}")
    try:
        header = kind(head, check=False)
        magic = bytes(header["magic"].item())
        shape, _, offset = header.get_data_shape(), header.get_data_dtype(), int(header["vox_offset"])
        header.get_slope_inter()
    except (HeaderDataError, WrapStructError, ValueError, KeyError, OverflowError) as e:
        raise UnreadableVolumeError(f"{path}: its header cannot be used ({e}); {AGAIN}") from e
    if magic.startswith(b"ni"):
        raise UnreadableVolumeError(f"{path}: its voxels are in another file (.img); save it as one .nii or .nii.gz")
    if not kind.sizeof_hdr <= offset <= MOST_OFFSET_BYTES or len(shape) > 7:
        raise UnreadableVolumeError(f"{path}: says that its voxels begin at byte {offset}; {AGAIN}")
    return header, offset - len(head)


def _exactly(stream: Stream, n: int) -> bytes:
    """n bytes, or fewer where the stream ends."""
    found = b""
    while len(found) < n and (block := stream.read(n - len(found))):
        found += block
    return found


def _skip(path: Path, stream: Stream, n: int) -> None:
    try:
        while n > 0:
            block = stream.read(min(n, 1 << 20))
            if not block:
                raise UnreadableVolumeError(f"{path}: cut off before its voxels; {AGAIN}")
            n -= len(block)
    except (EOFError, gzip.BadGzipFile, zlib.error) as e:
        raise UnreadableVolumeError(f"{path}: cannot be unpacked ({e}): cut off or damaged; {AGAIN}") from e
