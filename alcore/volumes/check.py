"""The strict container check: is this file a complete volume of a size that can be true?"""

from __future__ import annotations

from pathlib import Path

from alcore.errors import UnreadableVolumeError
from alcore.volumes.formats import format_of

LIMIT_BYTES = 1 << 40
"""Largest decoded size believed where nobody sets a limit: 1 TB."""


def problems(path: Path, limit_bytes: int = LIMIT_BYTES) -> list[str]:
    """What keeps `path` from being a complete volume, in words; empty when nothing does. Decodes no voxel.

    Raises SourceMissingError when the file is not there.
    """
    try:
        return format_of(path).check(path, limit_bytes)
    except UnreadableVolumeError as e:
        return [str(e).removeprefix(f"{path}: ")]


def strict(path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
    """Raise UnreadableVolumeError, naming the file and its first problem, unless `problems` finds none."""
    found = problems(path, limit_bytes)
    if found:
        raise UnreadableVolumeError(f"{path}: {found[0]}")
