"""Datasets in HDF5 files as volumes, read only, without a lock, and never from another file than the one that was named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.types import Box
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.hdf5_axes import letters_of, voxel_um_of
from alcore.volumes.images import Image, ImageFile
from alcore.volumes.port import Array, ReadOptions

SUFFIXES = (".h5", ".hdf5", ".hdf")
MAGIC = b"\x89HDF\r\n\x1a\n"
OPEN_FOR_WRITING = 0b101
"""Consistency flags in the superblock (version 3): a writer has the file open, with or without readers beside it."""
CACHE_BYTES = 128 << 20
"""Decoded chunks that HDF5 may keep."""
CHUNK_LIMIT_BYTES = 2 << 30
"""No chunk of an acquisition decodes to more than this."""
MOST_OBJECTS = 100_000
"""More groups and datasets than a file with a volume has."""
MOST_LINKS = 100
MOST_TOLD = 8


def signature(path: Path, head: bytes) -> bool:
    """True for an HDF5 file without a block of something else before it."""
    return head.startswith(MAGIC)


class Hdf5File(ImageFile):
    """One dataset of an HDF5 file: the one that the read option `dataset` names, or the only one that can be an image."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path, self._sparse = path, options.sparse
        self._file: Any = _opened(path)
        try:
            with readable(path):
                self.stored_bytes = path.stat().st_size
                if "ImarisDataSet" in self._file.attrs:
                    raise UnreadableVolumeError(f"{path}: an Imaris file; save it as OME-TIFF")
                self._dataset = _chosen(path, self._file, options.dataset)
                _refuse_elsewhere(path, self._dataset)
                self._interpret(options)
        except BaseException:
            self.close()
            raise

    def _interpret(self, options: ReadOptions) -> None:
        data, path = self._dataset, self.path
        if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > CHUNK_LIMIT_BYTES:
            raise UnreadableVolumeError(
                f"{path}: one chunk of {data.chunks} {data.dtype} would need too much memory; save it in smaller chunks"
            )
        _refuse_filters(path, data)
        self._letters = letters = letters_of(path, data, options)
        sizes = {letter: int(n) for letter, n in zip(letters, data.shape, strict=True)}
        depth = sizes.get("Z", 1)
        chunks = dict(zip(letters, data.chunks or (), strict=False))
        self.images = (
            Image(
                name="",
                n_times=sizes.get("T", 1),
                channels=("",) * sizes.get("C", 1),
                n_slices=depth,
                height=sizes["Y"],
                width=sizes["X"],
                dtype=np.dtype(data.dtype),
                voxel_um=voxel_um_of(data, depth),
                chunk_slices=int(chunks.get("Z", 1)),
            ),
        )

    def read(self, image: int, time: int, channel: int, box: Box) -> Array:
        z, y, x = box.slices
        wanted = {"T": time, "C": channel, "Z": z, "Y": y, "X": x, "": 0}
        with readable(self.path):
            found: Array = self._dataset[tuple(wanted[letter] for letter in self._letters)]
        left = [letter for letter in self._letters if letter in ("Z", "Y", "X")]
        if "Z" not in left:
            found, left = found[None], ["Z", *left]
        return found.transpose([left.index(letter) for letter in "ZYX"])

    def problem(self) -> str:
        with readable(self.path):
            return _storage_problem(self._dataset, self.stored_bytes, self._sparse)

    def close(self) -> None:
        self._file.close()


def _opened(path: Path) -> Any:
    """An h5py.File. Raises UnreadableVolumeError for a file that is cut off or open for writing."""
    import h5py

    with readable(path):
        with open(path, "rb") as f:
            head = f.read(16)
        if len(head) == 16 and head[8] == 3 and head[11] & OPEN_FOR_WRITING:
            raise UnreadableVolumeError(
                f"{path}: is open for writing, or its writer died (then h5clear -s mends it); "
                "look again when it is closed"
            )
        try:
            return h5py.File(path, "r", locking=False, rdcc_nbytes=CACHE_BYTES)
        except OSError as e:
            if "truncated file" in str(e):
                raise UnreadableVolumeError(f"{path}: cut off, or still being written; {AGAIN}") from e
            raise


def _chosen(path: Path, file: Any, wanted: str | None) -> Any:
    """The dataset to read."""
    import h5py

    if wanted is not None:
        found = _resolved(path, file, wanted)
        if not isinstance(found, h5py.Dataset):
            raise UnreadableVolumeError(f"{path}: {wanted} is a group; set dataset to one of: {_list(path, file)}")
        if not _is_image(found):
            raise UnreadableVolumeError(
                f"{path}: {wanted} {found.shape} {found.dtype} is no image of 2 to 5 dimensions; "
                "set dataset to one of: "
                f"{_list(path, file)}"
            )
        return found
    images = _images(path, file)
    if len(images) != 1:
        told = f"several images: {_list(path, file)}" if images else "no image (no numbers in 2 to 5 dimensions)"
        raise UnreadableVolumeError(f"{path}: holds {told}; set dataset for its watched folder")
    return images[0]


def _resolved(path: Path, file: Any, name: str) -> Any:
    """What lies at `name`; soft links are followed, links to other files are refused before they are opened."""
    import h5py

    todo, found, n_links = [part for part in name.split("/") if part], file, 0
    while todo:
        part = todo.pop(0)
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) and part in _keys(found) else None
        if link is None:
            raise UnreadableVolumeError(
                f"{path}: there is no dataset {name}; set dataset to one of: {_list(path, file)}"
            )
        if isinstance(link, h5py.ExternalLink):
            raise UnreadableVolumeError(
                f"{path}: {name} is a link to another file ({link.filename}); watch that instead"
            )
        if isinstance(link, h5py.SoftLink):
            n_links += 1
            if n_links > MOST_LINKS:
                raise UnreadableVolumeError(f"{path}: {name} is a link that goes round in circles; save it again")
            if link.path.startswith("/"):
                found = file
            todo = [piece for piece in link.path.split("/") if piece and piece != "."] + todo
        else:
            found = found[part]
    return found


def _keys(group: Any) -> set[str]:
    return set(group.keys())


def _is_image(dataset: Any) -> bool:
    return bool(dataset.shape) and 2 <= len(dataset.shape) <= 5 and dataset.dtype.kind in "iuf"


def _images(path: Path, file: Any) -> list[Any]:
    """Every dataset that can be an image; links are not followed."""
    import h5py

    found: list[Any] = []
    seen = 0

    def look(_: str, item: Any) -> bool | None:
        nonlocal seen
        seen += 1
        if isinstance(item, h5py.Dataset) and _is_image(item):
            found.append(item)
        return True if seen > MOST_OBJECTS else None

    if file.visititems(look):
        raise UnreadableVolumeError(f"{path}: holds more than {MOST_OBJECTS} objects; set dataset")
    return found


def _list(path: Path, file: Any) -> str:
    told = [f"{d.name} {d.shape} {d.dtype}" for d in _images(path, file)]
    return ", ".join(told[:MOST_TOLD]) + (", ..." if len(told) > MOST_TOLD else "") or "none"


def _refuse_elsewhere(path: Path, dataset: Any) -> None:
    """Raise for voxels that are not in this file."""
    if dataset.is_virtual:
        raise UnreadableVolumeError(
            f"{path}: {dataset.name} is a virtual dataset, its voxels are elsewhere; copy it (h5repack)"
        )
    if dataset.external:
        raise UnreadableVolumeError(
            f"{path}: the voxels of {dataset.name} are in another file ({dataset.external[0][0]}); save them in one"
        )


def _refuse_filters(path: Path, dataset: Any) -> None:
    """Raise for a compression that is not there."""
    import h5py

    plist = dataset.id.get_create_plist()
    for index in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(index)
        if not h5py.h5z.filter_avail(code):
            told = name.decode(errors="replace") or "without a name"
            raise UnreadableVolumeError(
                f"{path}: {dataset.name} is compressed with filter {code} ({told}), which is not installed; "
                "save it with gzip, or install the plugin"
            )


def _storage_problem(dataset: Any, file_bytes: int, sparse: bool) -> str:
    """Is every voxel stored, and within the file? HDF5 itself reads what was never written as its fill value.

    sparse: chunks may be missing, but not all of them.
    """
    import h5py

    layout = dataset.id.get_create_plist().get_layout()
    if layout == h5py.h5d.COMPACT:
        return ""
    if dataset.chunks is None:
        offset, stored = dataset.id.get_offset(), dataset.id.get_storage_size()
        if offset is None or stored < dataset.size * dataset.dtype.itemsize:
            return (
                f"{dataset.name} was declared, but never written; was the file still being written? "
                "Copy or save it again"
            )
        return _beyond(dataset, offset, stored, file_bytes)
    wanted = math.prod(-(-n // chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    found, beyond = 0, ""

    def look(info: Any) -> bool | None:
        nonlocal found, beyond
        found += 1
        beyond = _beyond(dataset, info.byte_offset, info.size, file_bytes)
        return True if beyond else None

    dataset.id.chunk_iter(look)
    if beyond or found >= wanted or (sparse and found):
        return beyond
    return (
        f"{wanted - found} of the {wanted} chunks of {dataset.name} were never written; "
        "was the file still being written? "
        "Copy or save it again, or set sparse = true for its watched folder if its writer leaves out empty chunks"
    )


def _beyond(dataset: Any, offset: int, n: int, file_bytes: int) -> str:
    end = offset + n
    return (
        f"{dataset.name}: {n} bytes of voxels at byte {offset}, the file ends at {file_bytes}; {AGAIN}"
        if end > file_bytes
        else ""
    )
