"""Unfinished work, kept file by file so that a crash at any moment leaves the last whole draft. Offered when the patch is opened."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.annotate.draft_files import ABOUT, DRAFT, UNCOMMITTED
from alcore.artifact import fsync_dir, write_atomic


@dataclass(frozen=True)
class Draft:
    """labels: (Z, Y, X) uint32, what was committed. uncommitted: the object that was not yet, or None. saved_at: seconds since
    the epoch. seen: slices looked at as the person said, None = all."""

    labels: npt.NDArray[np.uint32]
    uncommitted: npt.NDArray[np.uint32] | None
    user: str
    saved_at: float
    active_s: float = 0.0
    clicks: int = 0
    seen: tuple[int, int] | None = None


def save_draft(folder: Path, draft: Draft) -> None:
    """Write it over an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    if draft.uncommitted is None:
        (folder / UNCOMMITTED).unlink(missing_ok=True)
    else:
        write_labels(folder / UNCOMMITTED, draft.uncommitted)
    write_labels(folder / DRAFT, draft.labels)
    about = {k: v for k, v in asdict(_without_arrays(draft)).items() if k not in ("labels", "uncommitted")}
    write_atomic(folder / ABOUT, json.dumps(about, indent=1).encode())


def _without_arrays(draft: Draft) -> Draft:
    nothing = np.zeros((0, 0, 0), np.uint32)
    return Draft(nothing, None, draft.user, draft.saved_at, draft.active_s, draft.clicks, draft.seen)


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
    )


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
