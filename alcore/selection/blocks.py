"""What the artifacts of one page say of their patches, in a few arrays: read once, copied from page to page, kept in one file.

Twenty thousand volumes are eighty thousand small files, whose opening takes longer than everything that is computed from them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from alcore import pages
from alcore.artifact import read_manifest
from alcore.errors import PermanentError
from alcore.index.artifact import AGAIN, PATCHES, patches_of, read_vectors
from alcore.selection.artifacts import read_arrays, read_boxes
from alcore.selection.port import Float32, Mask, Positions
from alcore.selection.usual import Usual, usual
from alcore.stage import Input

FROM_IMAGE = ("foreground", "border", "n_objects", "confidence", "sharpness", "contrast", "clipped", "blank")
FROM_MODEL = ("entropy_bg", "entropy_fg", "foreground", "border", "n_objects")
"""Arrays of traits.npz, and of patches.npz; where both have a figure, the model's counts."""
FIGURES = tuple(sorted({*FROM_IMAGE, *FROM_MODEL}))

FORMAT = 1
ARRAYS = ("n_vectors", "silent", "patches", "boxes", "figures", "flat")


@dataclass(frozen=True)
class Block:
    """rows: of the page, by which an embedding is known with everything that belongs to it. encoders: who made each. n_vectors (K,):
    how many each has. silent (K,): its prediction is too old to say anything of patches. Of the N vectors one after the other: patches
    (N,), that of its volume, ascending; boxes (N, 2, 3); figures (F, N), NaN where nobody knows; flat (N,) bool, without direction."""

    rows: tuple[pages.Row, ...]
    encoders: tuple[str, ...]
    n_vectors: Positions
    silent: Mask
    patches: Positions
    boxes: Positions
    figures: Float32
    flat: Mask

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Of the embeddings."""
        return tuple(row["embedding"] for row in self.rows)

    @cached_property
    def begins(self) -> Positions:
        """(K,) the first vector of each."""
        found: Positions = np.cumsum(self.n_vectors) - self.n_vectors
        return found

    @cached_property
    def usual(self) -> Usual:
        """What is usual in the volume of each."""
        of = np.repeat(np.arange(len(self.rows)), self.n_vectors)
        return usual(of, len(self.rows), dict(zip(FIGURES, self.figures, strict=True)))

    def part(self, i: int) -> Block:
        """What it says of one embedding."""
        n = slice(int(self.begins[i]), int(self.begins[i] + self.n_vectors[i]))
        k = slice(i, i + 1)
        patches, boxes, figures, flat = self.patches[n], self.boxes[n], self.figures[:, n], self.flat[n]
        return Block(self.rows[k], self.encoders[k], self.n_vectors[k], self.silent[k], patches, boxes, figures, flat)


def joined(parts: Sequence[Block]) -> Block:
    """One after the other."""
    return Block(
        tuple(row for part in parts for row in part.rows),
        tuple(encoder for part in parts for encoder in part.encoders),
        *(np.concatenate([getattr(part, name) for part in parts], axis=int(name == "figures")) for name in ARRAYS),
    )


def identity(row: pages.Row) -> tuple[tuple[str, str], ...]:
    """The same for rows that say the same."""
    return tuple(sorted(row.items()))


def read(page: Input, row: pages.Row) -> Block:
    """What the artifacts of one row say. Raises PermanentError, naming the file, for what is damaged or of another length."""
    embedding, volume = (pages.on_page(page, row[name]).path for name in ("embedding", "volume"))
    n_vectors = len(read_vectors(embedding))
    boxes, patches = read_boxes(volume), patches_of(embedding, n_vectors)
    if (n_vectors != len(boxes) and not (embedding / PATCHES).exists()) or (n_vectors and patches[-1] >= len(boxes)):
        raise PermanentError(f"{embedding}: {n_vectors} embeddings for the {len(boxes)} patches of {volume}; {AGAIN}")
    manifest = read_manifest(embedding)
    traits, prediction = (
        pages.on_page(page, row[name]).path if name in row else None for name in ("traits", "prediction")
    )
    figures, silent = _figures(traits, prediction, len(boxes))
    flat = np.zeros(n_vectors, bool)
    flat[[i for i in manifest.result.get("flat", []) if 0 <= i < n_vectors]] = True
    encoder = manifest.inputs["encoder"][0]
    counts = np.array([n_vectors], np.int64)
    return Block((row,), (encoder,), counts, np.array([silent]), patches, boxes[patches], figures[:, patches], flat)


def _figures(traits: Path | None, prediction: Path | None, n: int) -> tuple[Float32, bool]:
    """(F, n) `FIGURES` of the patches of a volume, and whether its prediction is too old to know any."""
    found: dict[str, Float32] = {}
    silent = False
    if traits is not None:
        found |= read_arrays(traits / "traits.npz", FROM_IMAGE, n)
    if prediction is not None:
        path = prediction / "patches.npz"
        silent = not path.exists()
        for name, values in ({} if silent else read_arrays(path, FROM_MODEL, n)).items():
            found[name] = np.where(np.isfinite(values), values, found[name]) if name in found else values
    unknown = np.full(n, np.nan, np.float32)
    return np.stack([found.get(name, unknown) for name in FIGURES]), silent


def save(folder: Path, page: str, block: Block) -> None:
    """Keep a block for other processes. Raises OSError. Whoever reads it while it is written finds a damaged file, which is none."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"format": FORMAT, "figures": FIGURES, "rows": list(map(dict, block.rows)), "encoders": block.encoders}
    with open(folder / f"{page}.npz", "wb") as f:
        np.savez(f, about=np.array(json.dumps(about)), **{name: getattr(block, name) for name in ARRAYS})


def load(folder: Path, page: str) -> Block | None:
    """A block that was kept, or None for one that is not there, damaged (each array has a checksum), or of another version."""
    try:
        with open(folder / f"{page}.npz", "rb") as f, np.load(f, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            arrays = [stored[name] for name in ARRAYS]
        if (about["format"], tuple(about["figures"])) != (FORMAT, FIGURES):
            return None
        return Block(tuple(about["rows"]), tuple(about["encoders"]), *arrays)
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def forget_others(folder: Path, wanted: Mapping[str, object]) -> None:
    """Remove the files of pages that are not among these."""
    for path in folder.glob(f"{pages.STAGE}-*.npz"):
        if path.stem not in wanted:
            path.unlink(missing_ok=True)


def parts_of(blocks: Sequence[Block]) -> Iterator[tuple[tuple[tuple[str, str], ...], tuple[Block, int]]]:
    """Where what is known of each row lies."""
    for block in blocks:
        for i, row in enumerate(block.rows):
            yield identity(row), (block, i)
