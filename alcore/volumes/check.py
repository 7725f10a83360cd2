"""The strict container check: is this file a complete volume of a size that can be true?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alcore.errors import UnreadableVolumeError
from alcore.volumes.formats import format_of
from alcore.volumes.port import ReadOptions

LIMIT_BYTES = 1 << 40
"""Largest decoded size believed where nobody sets a limit: 1 TB."""


def problems(path: Path, read: Mapping[str, Any] | None = None, limit_bytes: int = LIMIT_BYTES) -> list[str]:
    """What keeps `path` from being a complete volume, in words; empty when nothing does. Decodes no voxel.

    Raises SourceMissingError when the file is not there, MissingExtraError when it needs a package that is not installed.
    """
    try:
        return format_of(path).check(path, ReadOptions.from_json(read), limit_bytes)
    except UnreadableVolumeError as e:
        return [str(e).removeprefix(f"{path}: ")]


def strict(path: Path, read: Mapping[str, Any] | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
    """Raise UnreadableVolumeError, naming the file and its first problem, unless `problems` finds none."""
    found = problems(path, read, limit_bytes)
    if found:
        raise UnreadableVolumeError(f"{path}: {found[0]}")
