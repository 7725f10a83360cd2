"""An image and its labels, as they are named on the command line or found in a folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alcore.errors import PermanentError
from alcore.simulation.folder import OF_A_RUN, made_here

IMAGE, LABELS = (
    ("image", "images", "img", "raw", "em"),
    ("label", "labels", "mask", "masks", "instances", "truth", "gt", "seg"),
)

SUFFIXES = (
    *(
        ".tif",
        ".tiff",
        ".btf",
        ".tf8",
        ".zarr",
        ".mrc",
        ".mrcs",
        ".rec",
        ".map",
        ".st",
        ".ali",
        ".h5",
        ".hdf5",
        ".hdf",
        ".nd2",
        ".czi",
    ),
    *(".lif", ".nrrd", ".nhdr", ".nii", ".gz", ".png"),
)
"""Of files that are told of when they are left out."""


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


@dataclass(frozen=True)
class Found:
    """The pairs in a folder. left_out: images and labels in it without a partner, named from the folder on."""

    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]


def found(folder: Path, out: Path | None = None) -> Found:
    """The pairs in a folder, and in the folders in it: files whose names differ only in saying "image" or "labels".

    image.tif with labels.tif; a_image.tif with a_labels.tif; images/a.tif with labels/a.tif, or with labels/a_labels.tif. A
    *.zarr is one file. What simulations wrote, and everything in `out`, is left alone. Raises PermanentError where there is
    no pair, or one of a pair is ambiguous.
    """
    if not folder.is_dir():
        raise PermanentError(f"{folder}: no such folder")
    files = sorted(_files(folder, out))
    pairs = _exact(folder, files)
    pairs += _loose(folder, [path for path in files if not any(path in pair for pair in pairs)])
    if not pairs:
        raise PermanentError(
            f"{folder}: holds no pair of an image and its labels (image.tif with labels.tif, or a_image.tif with a_labels.tif); "
            "name them with --image and --labels"
        )
    partners = {path for pair in pairs for path in pair}
    left = [str(path.relative_to(folder)) for path in files if path not in partners and path.suffix.lower() in SUFFIXES]
    named = _named([(image.absolute(), labels.absolute()) for image, labels in sorted(pairs)])
    return Found(tuple(named), tuple(left))


def _files(folder: Path, out: Path | None) -> Iterator[Path]:
    """Everything that may be an image, hidden files and results of simulations left out."""
    results = None if out is None else out.resolve()
    for place, folders, names in os.walk(folder):
        here = Path(place)
        ours = OF_A_RUN if made_here(here) else ()
        for name in [*folders, *names]:
            path = here / name
            if name.startswith(".") or name in ours:
                continue
            if name in names or path.suffix.lower() == ".zarr":
                yield path
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in ours
            and not name.lower().endswith(".zarr")
            and (here / name).resolve() != results
        ]


def _exact(folder: Path, files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pairs whose names are the same but for one word. Raises PermanentError where several would do."""
    sides: list[dict[str, list[Path]]] = [{}, {}]
    for path in files:
        parts = re.split(r"([^A-Za-z0-9]+)", _stem(folder, path))
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
        pairs.append((image, labels))
    return pairs


def _loose(folder: Path, files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Of what is left, pairs whose names are the same without all such words; none of those that more than two share."""
    sides: list[dict[str, list[Path]]] = [{}, {}]
    for path in files:
        words = _words(folder, path)
        bare = "/".join(filter(None, (_bare(part) for part in _stem(folder, path).split("/"))))
        if words & set(LABELS):
            sides[1].setdefault(bare, []).append(path)
        elif words & set(IMAGE):
            sides[0].setdefault(bare, []).append(path)
    both = sorted(set(sides[0]) & set(sides[1]))
    alone = [bare for bare in both if len(sides[0][bare]) == len(sides[1][bare]) == 1]
    return [(sides[0][bare][0], sides[1][bare][0]) for bare in alone]


def _bare(part: str) -> str:
    """A name without the words for images and labels: cell_07_labels -> cell 07."""
    return " ".join(word for word in re.findall(r"[a-z0-9]+", part.lower()) if word not in (*IMAGE, *LABELS))


def _words(folder: Path, path: Path) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", _stem(folder, path).lower()))


def _stem(folder: Path, path: Path) -> str:
    """The name from the folder on, without what says the format (.ome.tif, .nii.gz)."""
    name = path.relative_to(folder).as_posix()
    return re.sub(r"(\.ome|\.nii)?\.[A-Za-z0-9]+$", "", name, flags=re.IGNORECASE)


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


def content_key(path: Path) -> str:
    """Of a file's bytes, or of all that is in a folder, as stage `volume` reckons it. Raises SourceMissingError."""
    if path.is_dir():
        from alcore.volumes.hashing import SourceHash

        with SourceHash(path, None) as hashing:
            return f"sha256:{hashing.digest()}"
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
