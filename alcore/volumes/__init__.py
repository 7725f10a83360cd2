"""Volumes on disk: lazy readers behind one port, strict completeness checks, TIFF writers, label stores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alcore.volumes.formats import format_of
from alcore.volumes.port import Part, ReadOptions, VolumeReader

__all__ = ["Part", "ReadOptions", "VolumeReader", "members", "open_volume", "parts"]


def members(path: Path) -> tuple[str, ...] | None:
    """Names of the files that make up the acquisition together with `path`, itself included; None when it is all there is.

    Raises PartOfSetError when another file stands for them, UnreadableVolumeError as `open_volume`.
    """
    return format_of(path).members(path)


def parts(path: Path, read: Mapping[str, Any] | None = None) -> list[Part]:
    """Every Volume in an acquisition: open one with `open_volume(path, {**read, **part.select})`. Raises as `open_volume`."""
    options = ReadOptions.from_json(read)
    return format_of(path).parts(path, options)


def open_volume(path: Path, read: Mapping[str, Any] | None = None) -> VolumeReader:
    """Open one Volume of an acquisition for reading boxes; `read` are the options of `ReadOptions`.

    Raises UnreadableVolumeError for a file that is no usable volume, SourceMissingError for one that is not there,
    PermanentError for options that do not exist. Proves nothing about completeness: see `check.strict`.
    """
    options = ReadOptions.from_json(read)
    return format_of(path).open(path, options)
