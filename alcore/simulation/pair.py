"""An image and its labels, as they are named on the command line or found in a folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alcore.errors import PermanentError

IMAGE, LABELS = (
    ("image", "images", "img", "raw", "em"),
    ("label", "labels", "mask", "masks", "instances", "truth", "gt", "seg"),
)


@dataclass(frozen=True)
class Pair:
    """A pool by name: its image and its labels, absolute paths."""

    name: str
    image: Path
    labels: Path


def given(images: Sequence[Path], labels: Sequence[Path]) -> list[Pair]:
    """Pairs in their order. Raises PermanentError for a missing file, or numbers that differ."""
    if len(images) != len(labels):
        raise PermanentError(
            f"{len(images)} --image and {len(labels)} --labels: every image needs its labels, in its order"
        )
    return _named([(image.absolute(), label.absolute()) for image, label in zip(images, labels, strict=True)])


def found(folder: Path) -> list[Pair]:
    """The pairs in a folder, and in the folders in it: files whose names differ only in saying "image" or "labels".

    image.tif with labels.tif; a_image.tif with a_labels.tif; images/a.tif with labels/a.tif. Raises PermanentError where there
    is none, or one of a pair is ambiguous.
    """
    if not folder.is_dir():
        raise PermanentError(f"{folder}: no such folder")
    sides: list[dict[str, list[Path]]] = [{}, {}]
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        parts = re.split(r"([^A-Za-z0-9]+)", str(path.relative_to(folder).with_suffix("")))
        words = [part.lower() for part in parts]
        for side, known in zip(sides, (IMAGE, LABELS), strict=True):
            for position in (i for i, word in enumerate(words) if word in known):
                stem = "".join([*words[:position], "*", *words[position + 1 :]])
                side.setdefault(stem, []).append(path)
    pairs = []
    for stem in sorted(set(sides[0]) & set(sides[1])):
        (image, *more), (labels, *others) = sides[0][stem], sides[1][stem]
        if more or others:
            several = ", ".join(str(path.relative_to(folder)) for path in [image, *more, labels, *others])
            raise PermanentError(
                f"{folder}: it is not clear which goes with which: {several}; name them with --image and --labels"
            )
        pairs.append((image.absolute(), labels.absolute()))
    if not pairs:
        raise PermanentError(
            f"{folder}: holds no pair of an image and its labels (image.tif with labels.tif, or a_image.tif with a_labels.tif); "
            "name them with --image and --labels"
        )
    return _named(pairs)


def _named(pairs: Sequence[tuple[Path, Path]]) -> list[Pair]:
    """With names that are unique and fit into file names: of the folder where the file's says nothing, numbered if need be."""
    named: list[Pair] = []
    for image, labels in pairs:
        for path in (image, labels):
            if not path.exists():
                raise PermanentError(f"{path}: no such file")
        stem = image.name.split(".")[0]
        name = image.parent.name if stem.lower() in IMAGE and image.parent.name else stem
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._") or "image"
        taken = {pair.name for pair in named}
        unique, number = name, 1
        while unique in taken:
            number += 1
            unique = f"{name}-{number}"
        named.append(Pair(unique, image, labels))
    return named


def sha256(path: Path) -> str:
    """Of a file's bytes, or of the names and bytes of a folder's files."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(str(file.relative_to(path)).encode() + b"\0")
        with open(file, "rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
