"""Unfinished work, kept file by file so that a crash at any moment leaves the last whole draft. Offered when the patch is opened."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.annotate.draft_files import ABOUT, AUTOMATIC, DRAFT, OTHERS, UNCOMMITTED
from alcore.artifact import fsync_dir, write_atomic


@dataclass(frozen=True)
class Draft:
    """labels: (Z, Y, X) uint32, what was committed. uncommitted: the object that was not yet. automatic: what an automatic
    segmentation found, not committed either. others: what was drawn into layers that are no part of the label. None = nothing.
    saved_at: seconds since the epoch. seen: slices looked at as the person said, None = all."""

    labels: npt.NDArray[np.uint32]
    uncommitted: npt.NDArray[np.uint32] | None
    user: str
    saved_at: float
    active_s: float = 0.0
    clicks: int = 0
    seen: tuple[int, int] | None = None
    automatic: npt.NDArray[np.uint32] | None = None
    others: npt.NDArray[np.uint32] | None = None

    @property
    def beside(self) -> dict[str, npt.NDArray[np.uint32] | None]:
        """What is no part of the label, by the name of its file."""
        return {UNCOMMITTED: self.uncommitted, AUTOMATIC: self.automatic, OTHERS: self.others}


def same_drawing(a: Draft, b: Draft) -> bool:
    """The same voxels, and the same word on which slices were looked at."""
    pairs = [(a.labels, b.labels), *((a.beside[name], b.beside[name]) for name in a.beside)]
    return a.seen == b.seen and all(
        np.array_equal(x, y) if x is not None and y is not None else x is y for x, y in pairs
    )


def save_draft(folder: Path, draft: Draft) -> None:
    """Write it over an earlier one. What an object was before it was committed goes last: until the label that has it is there,
    it is nowhere else."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawn in draft.beside.items():
        if drawn is not None:
            write_labels(folder / name, drawn)
    write_labels(folder / DRAFT, draft.labels)
    about = {name: getattr(draft, name) for name in ("user", "saved_at", "active_s", "clicks", "seen")}
    write_atomic(folder / ABOUT, json.dumps(about, indent=1).encode())
    for name, drawn in draft.beside.items():
        if drawn is None:
            (folder / name).unlink(missing_ok=True)


def read_draft(folder: Path, shape: tuple[int, int, int]) -> Draft | None:
    """The draft of a patch of this shape (Z, Y, X), or None where there is none that can be used."""
    labels = _read(folder / DRAFT, shape)
    if labels is None:
        return None
    about: dict[str, object] = {}
    with contextlib.suppress(OSError, ValueError):  # killed before it was written the first time
        about = json.loads((folder / ABOUT).read_text())
    seen = about.get("seen")
    return Draft(
        labels,
        _read(folder / UNCOMMITTED, shape),
        str(about.get("user", "")),
        float(str(about.get("saved_at", (folder / DRAFT).stat().st_mtime))),
        float(str(about.get("active_s", 0.0))),
        int(str(about.get("clicks", 0))),
        (int(seen[0]), int(seen[1])) if isinstance(seen, list) else None,
        _read(folder / AUTOMATIC, shape),
        _read(folder / OTHERS, shape),
    )


def first_draft(folders: Iterable[Path], shape: tuple[int, int, int]) -> Draft | None:
    """The draft of the first of these folders that holds one that can be used."""
    return next((found for found in (read_draft(folder, shape) for folder in folders) if found is not None), None)


def _read(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.uint32] | None:
    from alcore.errors import AlcoreError
    from alcore.volumes.labels import read_labels

    if not path.is_file():
        return None
    try:
        found, _ = read_labels(path)
    except (AlcoreError, OSError):
        return None
    return found.astype(np.uint32) if found.shape == shape else None


def write_labels(path: Path, labels: npt.NDArray[np.uint32], about: dict[str, str] | None = None) -> None:
    """A label TIFF (Z, Y, X) uint32 that is only ever seen whole."""
    from alcore.volumes.writers import write_labels_tiff

    z, y, x = labels.shape
    tmp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write_labels_tiff(tmp, labels, (z, y, x), "uint32", None, about or {})
        with open(tmp, "rb") as f:
            os.fsync(f.fileno())
        os.replace(tmp, path)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)
