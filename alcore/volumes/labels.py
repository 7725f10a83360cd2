"""Instance masks that people saved with any tool (TIFF, NRRD, NIfTI), and the metadata that our own writer put there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from alcore.errors import UnreadableVolumeError
from alcore.types import Box, VoxelSize
from alcore.volumes import tiff_calibration
from alcore.volumes.faults import readable
from alcore.volumes.formats import HEAD_BYTES, format_of
from alcore.volumes.nifti_labels import is_nifti, read_nifti
from alcore.volumes.nrrd_labels import SIGNATURE, read_nrrd
from alcore.volumes.tiff_check import label_problem
from alcore.volumes.tiff_planes import TiffPlanes, signature
from alcore.volumes.tiff_set import TiffSet, document_of, ome_xml_of, open_planes
from alcore.volumes.writers import METADATA_KEY, Scalar

SAME_SIZE = 0.05
"""Voxel sizes that differ by less are the same: tools round them."""
LIMIT_BYTES = 4 << 30
"""Largest label that is read whole where nobody sets a limit."""


def read_labels(path: Path, limit_bytes: int = LIMIT_BYTES) -> tuple[npt.NDArray[np.generic], tuple[str, ...]]:
    """The mask (Z, Y, X) of a label file in its own integer or float dtype, and notes on how it was understood.

    A file is recognised by its content. Tools name the slice dimension differently, so one dimension besides Y and X is taken
    as Z whatever it is called. Voxels come in the order in which they are stored, whatever a file says of its orientation.
    Raises UnreadableVolumeError for an incomplete or absurd file, colour, 1-bit masks and more dimensions.
    """
    if (behind := read_behind_header(path, limit_bytes)) is not None:
        return behind, ()
    if format_of(path).name != "TIFF":
        raise UnreadableVolumeError(f"{path}: a label is a TIFF, NRRD or NIfTI; export it as one of them")
    with LabelTiff(path, limit_bytes) as tiff:
        return tiff.read(Box((0, 0, 0), tiff.shape)), tiff.notes


def read_behind_header(path: Path, limit_bytes: int) -> npt.NDArray[np.generic] | None:
    """The mask (Z, Y, X) of an NRRD or a NIfTI, which can only be read as a whole; None for any other file."""
    with readable(path), open(path, "rb") as file:
        head = file.read(len(SIGNATURE))
    if head == SIGNATURE:
        return read_nrrd(path, limit_bytes)
    return read_nifti(path, limit_bytes) if is_nifti(path) else None


def size_remark(path: Path, voxel_um: VoxelSize | None) -> list[str]:
    """What to ask when a label TIFF states another voxel size (z, y, x) um than its volume has; nothing when either is unknown.

    NRRD and NIfTI are not asked: their tools write millimetres, or ones, whatever the image was.
    """
    with readable(path), open(path, "rb") as file:
        is_tiff = signature(path, file.read(HEAD_BYTES))
    if voxel_um is None or not is_tiff:
        return []
    with LabelTiff(path, LIMIT_BYTES) as tiff:
        stated, first = tiff.voxel_um, int(tiff.shape[0] == 1)
    if stated is None or all(abs(a / b - 1) < SAME_SIZE for a, b in list(zip(stated, voxel_um, strict=True))[first:]):
        return []
    said, real = (" x ".join(f"{n:.4g}" for n in size) for size in (stated, voxel_um))
    return [f"it says that voxels are {said} um (z, y, x), those of the image are {real}: is it of another image?"]


class LabelTiff:
    """A mask in a TIFF, whatever its slice dimension is called; open for reading boxes. A context manager.

    shape: (Z, Y, X). notes: how it was understood. limit_bytes: the largest decoded size that is believed.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        if problem := label_problem(path, limit_bytes):
            raise UnreadableVolumeError(f"{path}: {problem}")
        self._planes = open_planes(path)
        try:
            self._understand(path)
        except BaseException:
            self.close()
            raise

    def _understand(self, path: Path) -> None:
        planes = self._planes
        if planes.samples - planes.n_alpha > 1 or planes.photometric not in ("MINISBLACK", "MINISWHITE", "PALETTE"):
            raise UnreadableVolumeError(f"{path}: a colour image; a label has one number per voxel (Fiji: 16-bit grey)")
        if planes.dtype.kind not in "iuf":
            raise UnreadableVolumeError(f"{path}: {planes.dtype} values; a label has whole numbers, one per object")
        leading = planes.shape[:-2]
        if len([n for n in leading if n > 1]) > 1 or not planes.axes.endswith("YX"):
            raise UnreadableVolumeError(f"{path}: shape {planes.shape} ({planes.axes}) is no single (Z, Y, X) mask")
        self.shape: tuple[int, int, int] = (math.prod(leading), planes.height, planes.width)
        name = "".join(a for a, n in zip(planes.axes, leading, strict=False) if n > 1)
        self.notes = (f"dimension {name} taken as slices (Z)",) if name not in ("", "Z") else ()

    def read(self, box: Box) -> npt.NDArray[np.generic]:
        """(Z, Y, X) of a box, in the file's own integer or float dtype."""
        mask = np.empty(box.shape, self._planes.dtype)
        slices, rows, columns = box.slices
        for index, plane in enumerate(mask, start=slices.start):
            self._planes.read(index, rows, columns, plane)
        return mask

    @property
    def voxel_um(self) -> VoxelSize | None:
        """(z, y, x) um as the file states it, None when it does not."""
        planes = self._planes
        if isinstance(planes, TiffSet):
            return tiff_calibration.from_ome(planes.ome.pixels, self.shape[0])
        if planes.imagej is None:
            return None
        return tiff_calibration.from_imagej(planes.imagej, planes.resolution_xy, self.shape[0])[0]

    def close(self) -> None:
        """Let go of the file."""
        self._planes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_labels_metadata(path: Path) -> dict[str, Scalar]:
    """What `write_labels_tiff` or `write_image_tiff` was given as metadata; empty for files of other origin.

    Raises UnreadableVolumeError when `path` is no complete TIFF.
    """
    if document_of(path) is not None:
        text = _ome_value(ome_xml_of(path) or "")
    else:
        planes = TiffPlanes(path)
        try:
            text = str((planes.imagej or {}).get("Info", ""))
        finally:
            planes.close()
    try:
        value = json.loads(text.removeprefix(f"{METADATA_KEY} ").strip())
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _ome_value(xml: str) -> str:
    """The text of our MapAnnotation in OME-XML."""
    for element in ElementTree.fromstring(xml).iter():
        if element.tag.rpartition("}")[2] == "M" and element.get("K") == METADATA_KEY:
            return element.text or ""
    return ""
