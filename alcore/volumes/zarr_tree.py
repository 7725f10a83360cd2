"""The folders of a zarr tree and the JSON that describes them, read strictly: nothing leads out of the tree."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alcore.errors import UnreadableVolumeError
from alcore.fileset import is_tree
from alcore.volumes.faults import AGAIN, readable

MAX_JSON_BYTES = 16 << 20
"""No document that describes one node is longer; parsed, it would take some hundred MB."""
MAX_NAME = 200
"""Letters in one name of a path; file systems take 255 bytes."""
MAX_DEPTH = 16
"""Folders below each other that a path may name."""

Json = Mapping[str, Any]


def is_zarr(path: Path, head: bytes) -> bool:
    """Is this a folder that holds, or by its name will hold, a zarr tree?"""
    return head == b"" and path.is_dir() and is_tree(os.fsencode(path))


@dataclass(frozen=True)
class Node:
    """A group or an array. key: its folder inside the tree, "" for the root. zarr_format: 2 or 3.

    document: .zarray, .zgroup or zarr.json. attributes: what is stored beside it (a group's only; {} for an array).
    """

    key: str
    zarr_format: int
    is_array: bool
    document: Json
    attributes: Json

    @property
    def ome(self) -> Json:
        """The OME-Zarr metadata: everything (0.1 to 0.4), or what is below "ome" (from 0.5)."""
        found = self.attributes.get("ome")
        return found if isinstance(found, dict) else self.attributes


class Tree:
    """One zarr tree on a local disk. path: its root, for messages."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fault(self, what: str, so: str = AGAIN) -> UnreadableVolumeError:
        """The error that says what is wrong with this tree, and what to do ("" where `what` says that)."""
        if so:
            what = f"{what} {so[0].upper()}{so[1:]}" if what.endswith("?") else f"{what}; {so}"
        return UnreadableVolumeError(f"{self.path}: {what}")

    def folder(self, key: str) -> Path:
        """The folder of a key that `below` made."""
        return self.path / key if key else self.path

    def below(self, key: str, named: object) -> str:
        """The key of the folder that the metadata of `key` name.

        Raises UnreadableVolumeError for a path that is absolute, leads upwards or through a link, or is not there.
        """
        parts = named.rstrip("/").split("/") if isinstance(named, str) else []
        usable = 0 < len(parts) <= MAX_DEPTH and all(
            p and p not in (".", "..") and len(p) <= MAX_NAME and p.isprintable() and "\\" not in p for p in parts
        )
        if not usable:
            raise self.fault(f"its metadata name {str(named)[:100]!r}, which is no path inside the tree")
        for part in parts:
            key = f"{key}/{part}" if key else part
            try:
                mode = os.lstat(self.folder(key)).st_mode
            except FileNotFoundError:
                raise self.fault(f"its metadata name {key}, which is not there: was it still being written?") from None
            if stat.S_ISLNK(mode):
                raise self.fault(f"{key} is a link, which is not followed", "copy what it points to into the tree")
            if not stat.S_ISDIR(mode):
                raise self.fault(f"its metadata name {key}, which is no folder")
        return key

    def node(self, key: str) -> Node:
        """The group or array in the folder `key`. Raises UnreadableVolumeError for anything else."""
        with readable(self.path):
            document = self._document(key, "zarr.json")
            if document is not None:
                return self._node3(key, document)
            document = self._document(key, ".zarray")
            if document is not None:
                self._require_format(key, document, 2)
                self._document(key, ".zattrs")  # zarr reads it too: it has to be of a size that can be read
                return Node(key, 2, True, document, {})
            document = self._document(key, ".zgroup")
            if document is not None:
                self._require_format(key, document, 2)
                return Node(key, 2, False, document, self._document(key, ".zattrs") or {})
        raise self.fault(f"{_where(key)} has neither zarr.json nor .zarray nor .zgroup: was it still being written?")

    def _node3(self, key: str, document: Json) -> Node:
        self._require_format(key, document, 3)
        kind, attributes = document.get("node_type"), document.get("attributes", {})
        if kind not in ("array", "group") or not isinstance(attributes, dict):
            raise self.fault(f"zarr.json of {_where(key)} describes neither an array nor a group")
        return Node(key, 3, kind == "array", document, attributes if kind == "group" else {})

    def _require_format(self, key: str, document: Json, expected: int) -> None:
        found = document.get("zarr_format")
        if found != expected:
            raise self.fault(f"{_where(key)} is of zarr_format {str(found)[:40]}, expected {expected}")

    def _document(self, key: str, name: str) -> Json | None:
        """A JSON object, or None where there is no such file."""
        file = self.folder(key) / name
        told = f"{key}/{name}" if key else name
        try:
            mode = os.lstat(file).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(mode):
            raise self.fault(f"{told} is a link or special file, which is not followed", "copy what it points to")
        with open(file, "rb") as f:
            text = f.read(MAX_JSON_BYTES + 1)
        if len(text) > MAX_JSON_BYTES:
            raise self.fault(f"{told} has more than {MAX_JSON_BYTES >> 20} MB, no metadata have")
        if not text.strip():
            raise self.fault(f"{told} is empty: was it still being written?")
        try:
            document = json.loads(text)
        except RecursionError as e:
            raise self.fault(f"{told} is nested too deeply") from e
        except ValueError as e:
            raise self.fault(f"{told} is no JSON: cut off or damaged") from e
        if not isinstance(document, dict):
            raise self.fault(f"{told} is no JSON object")
        return document


def _where(key: str) -> str:
    return key or "the root of the tree"
