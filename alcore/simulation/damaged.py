"""Which file of the cache is not as it was written, where something failed that may have read it."""

from __future__ import annotations

import shlex
from pathlib import Path

from alcore.artifact import MANIFEST, read_manifest
from alcore.errors import PermanentError


def damaged(artifacts: Path, error: Exception) -> PermanentError | None:
    """The error of the first file that is missing or has another length than its manifest says; None where all are whole.

    error: what failed; it is told, in case it had another cause.
    """
    for manifest in sorted(artifacts.glob(f"*/*/{MANIFEST}")):
        folder = manifest.parent
        try:
            files = read_manifest(folder).files
        except PermanentError as e:
            return e
        for name, written in files.items():
            path = folder / name
            size = path.stat().st_size if path.exists() else None
            if size != written["bytes"]:
                what = "is missing" if size is None else f"has {size} bytes in place of {written['bytes']}"
                return PermanentError(
                    f"{path}: {what} ({type(error).__name__}: {error}); remove its folder, which is made again: "
                    f"chmod -R u+w {shlex.quote(str(folder))} && rm -r {shlex.quote(str(folder))}"
                )
    return None
