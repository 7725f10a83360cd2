"""The pool of a job from its artifacts: embeddings through the index, boxes, traits and predictions; kept between jobs.

Artifacts never change, so what was read of one is kept in the process by its key.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from alcore.artifact import read_manifest
from alcore.errors import PermanentError
from alcore.index import PoolIndex
from alcore.selection.port import Float32, Mask, Pool, Positions
from alcore.stage import Context, Input
from alcore.types import PoolPosition

if TYPE_CHECKING:
    from alcore.coreset import Frontier, Warm

T = TypeVar("T")

AGAIN = "remove the artifact and it is made again"
FROM_IMAGE = ("foreground", "border", "n_objects", "confidence", "sharpness", "contrast", "clipped", "blank")
FROM_MODEL = ("entropy_bg", "entropy_fg", "foreground", "border", "n_objects")
"""Arrays of traits.npz, and of patches.npz; where both have a figure, the model's counts."""


@dataclass(frozen=True)
class Matrix:
    """The (N, D) rows of these embedding artifacts one after the other, and how many each has."""

    keys: tuple[str, ...]
    rows: Float32
    counts: Mapping[str, int]


@dataclass
class Memory:
    """What a warm process remembers, only of what its last job used: parts by (kind, artifact key), and the pool matrix."""

    parts: dict[tuple[str, str], Any] = field(default_factory=dict)
    used: set[tuple[str, str]] = field(default_factory=set)
    matrix: Matrix | None = None
    warm: Warm | None = None

    def frontier(
        self, keys: tuple[str, ...], rows: Float32, device: str
    ) -> Callable[[Sequence[PoolPosition], int], Frontier]:
        """How the core-set of these artifacts is continued, in this process."""

        def continued(covered: Sequence[PoolPosition], k: int) -> Frontier:
            from alcore.coreset import Warm

            if self.warm is None:
                self.warm = Warm()
            return self.warm.frontier(keys, rows, covered, k, device)

        return continued

    def part(self, kind: str, key: str, read: Callable[..., T], *given: Any) -> T:
        """What `read` makes of what is given, done once per artifact."""
        self.used.add((kind, key))
        if (kind, key) not in self.parts:
            self.parts[kind, key] = read(*given)
        found: T = self.parts[kind, key]
        return found

    def forget_unused(self) -> None:
        """Drop what the last job did not ask for."""
        self.parts = {name: part for name, part in self.parts.items() if name in self.used}
        self.used = set()


@dataclass(frozen=True)
class Assembled:
    """A pool, and who its positions are: embedding artifacts in order, the first position of each, notes for people."""

    pool: Pool
    keys: tuple[str, ...]
    firsts: Positions
    indexed: int
    notes: list[str]

    def place(self, position: int) -> tuple[str, int]:
        """(embedding key, row) of a position."""
        i = int(np.searchsorted(self.firsts, position, side="right")) - 1
        return self.keys[i], int(position - self.firsts[i])

    def positions(self, rows: Mapping[str, Sequence[int]], what: str) -> Positions:
        """Positions of {embedding key: rows}. Raises PermanentError for a row that the pool does not have."""
        ends = dict(zip(self.keys, [*self.firsts[1:], len(self.pool)], strict=True))
        firsts = dict(zip(self.keys, self.firsts, strict=True))
        found: list[PoolPosition] = []
        for key, numbers in rows.items():
            for row in numbers:
                if key not in firsts or not 0 <= int(row) < ends[key] - firsts[key]:
                    raise PermanentError(f"{what} row {row} of embedding {key} is not among the embeddings of this job")
                found.append(PoolPosition(int(firsts[key]) + int(row)))
        return np.array(found, np.int64)


def assemble(
    embeddings: Sequence[Input],
    volumes: Sequence[Input],
    traits: Mapping[str, Input],
    predictions: Mapping[str, Input],
    ctx: Context,
    memory: Memory,
) -> Assembled:
    """The pool of these embedding artifacts. volumes: that of each, in the same order. traits, predictions: by embedding key.

    Raises PermanentError, naming the file, for what is damaged, of another length, or of different encoders.
    """
    if len(volumes) != len(embeddings):
        raise PermanentError(f"{len(embeddings)} embeddings came with {len(volumes)} volumes: each needs its own")
    keys = tuple(item.key for item in embeddings)
    if len(set(keys)) < len(keys):
        raise PermanentError(f"embedding {max(keys, key=keys.count)} was given more than once")
    encoder = _encoder(embeddings, memory)
    notes: list[str] = []
    matrix, counts, indexed = _matrix(embeddings, keys, encoder, ctx, memory, notes)
    boxes = []
    for item, volume in zip(embeddings, volumes, strict=True):
        found = memory.part("boxes", f"{volume.key} {volume.path}", read_boxes, volume.path)
        if len(found) != counts[item.key]:
            raise PermanentError(
                f"{item.path}: {counts[item.key]} embeddings for the {len(found)} patches of {volume.path}; {AGAIN}"
            )
        boxes.append(found)
    together = np.concatenate(boxes)
    sizes = np.array([counts[key] for key in keys], np.int64)
    pool = Pool(
        embeddings=matrix,
        volume=np.repeat(np.arange(len(keys)), sizes),
        start=together[:, 0],
        shape=together[:, 1],
        traits=_figures(keys, counts, traits, predictions, memory, notes),
        flat=_flat(embeddings, counts, memory),
        frontier=memory.frontier(keys, matrix, ctx.device),
    )
    memory.forget_unused()
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    return Assembled(pool, keys, firsts, indexed, notes)


def _matrix(
    embeddings: Sequence[Input],
    keys: tuple[str, ...],
    encoder: str,
    ctx: Context,
    memory: Memory,
    notes: list[str],
) -> tuple[Float32, Mapping[str, int], int]:
    """(pool matrix, rows of each artifact, rows in the index); the index is brought up to date with exactly these."""
    if memory.matrix is not None and memory.matrix.keys == keys:
        kept = memory.matrix
        return kept.rows, kept.counts, len(kept.rows)
    directory = ctx.cache / "index"
    index, note = PoolIndex.load(directory, encoder, read_rows(embeddings[0]).shape[1], ctx.device)
    notes += [note] if note else []
    before = dict(index.counts)
    for key in before:
        if key not in keys:
            index.remove(key)
    for i, item in enumerate(embeddings):
        if item.key not in before:
            index.add(item.key, read_rows(item))
            ctx.progress(0.4 * i / len(embeddings), "indexing embeddings")
    counts = dict(index.counts)
    if counts != before:
        try:
            index.save(directory)
        except OSError as e:  # only a cache: the answer does not depend on it
            notes.append(f"the pool index could not be saved and will be built again ({e})")
    matrix = index.vectors(keys)
    memory.matrix = Matrix(keys, matrix, counts)
    return matrix, counts, len(index)


def _encoder(embeddings: Sequence[Input], memory: Memory) -> str:
    """Key of the one encoder that made all of these."""
    encoders = {
        item.key: memory.part("manifest", item.key, read_manifest, item.path).inputs["encoder"][0]
        for item in embeddings
    }
    if len(set(encoders.values())) > 1:
        found = ", ".join(f"{key} by {encoder}" for key, encoder in encoders.items())
        raise PermanentError(f"embeddings of different encoders cannot be compared: {found}")
    return next(iter(encoders.values()))


def read_rows(item: Input) -> npt.NDArray[Any]:
    """embeddings.npy of an embedding artifact, not yet checked for its values."""
    path = item.path / "embeddings.npy"
    try:
        rows: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as e:
        raise PermanentError(f"{path}: not a readable array ({e}); {AGAIN}") from e
    if rows.ndim != 2:
        raise PermanentError(f"{path}: has shape {rows.shape}, not (N, D); {AGAIN}")
    return rows


def read_boxes(volume: Path) -> Positions:
    """(N, 2, 3) start and shape (z, y, x) of a volume's patches."""
    path = volume / "patches.json"
    try:
        boxes = json.loads(path.read_text())
        return np.array([[box["start"], box["shape"]] for box in boxes], np.int64).reshape(len(boxes), 2, 3)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise PermanentError(f"{path}: not a readable list of patches ({e}); {AGAIN}") from e


def read_arrays(path: Path, names: Sequence[str], n: int) -> dict[str, Float32]:
    """Those arrays of an .npz that are there, by name, each (n,) float32; infinities become NaN."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in names if name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as e:
        raise PermanentError(f"{path}: not readable ({e}); {AGAIN}") from e
    for name, values in found.items():
        if values.shape != (n,) or values.dtype.kind not in "fiu":
            raise PermanentError(
                f"{path}: {name} is {values.shape} {values.dtype}, the volume has {n} patches; {AGAIN}"
            )
    return {name: np.where(np.isfinite(values), values, np.nan).astype(np.float32) for name, values in found.items()}


def _figures(
    keys: Sequence[str],
    counts: Mapping[str, int],
    traits: Mapping[str, Input],
    predictions: Mapping[str, Input],
    memory: Memory,
    notes: list[str],
) -> dict[str, Float32]:
    """All traits of the pool by name, NaN where nobody knows."""
    names = sorted({*FROM_IMAGE, *FROM_MODEL})
    columns: dict[str, list[Float32]] = {name: [] for name in names}
    old = 0
    for key in keys:
        n = counts[key]
        row = {name: np.full(n, np.nan, np.float32) for name in names}
        if key in traits:
            item = traits[key]
            row |= memory.part("traits", item.key, read_arrays, item.path / "traits.npz", FROM_IMAGE, n)
        if key in predictions:
            item = predictions[key]
            path = item.path / "patches.npz"
            if path.exists():
                seen = memory.part("prediction", item.key, read_arrays, path, FROM_MODEL, n)
                row |= {name: np.where(np.isfinite(v), v, row[name]) for name, v in seen.items()}
            else:
                old += 1
        for name in names:
            columns[name].append(row[name])
    if old:
        notes.append(f"{old} predictions are of an older version and say nothing about single patches")
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def _flat(embeddings: Sequence[Input], counts: Mapping[str, int], memory: Memory) -> Mask:
    """(N,) bool: patches that the embedding found without direction."""
    columns = []
    for item in embeddings:
        rows = memory.part("manifest", item.key, read_manifest, item.path).result.get("flat", [])
        column = np.zeros(counts[item.key], bool)
        column[[row for row in rows if 0 <= row < len(column)]] = True
        columns.append(column)
    return np.concatenate(columns)
