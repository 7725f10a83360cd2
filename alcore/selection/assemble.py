"""The pool of a job from its artifacts: embeddings through the index, boxes, traits and predictions; kept between jobs.

Artifacts never change, so what was read of one is kept in the process by its key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from alcore.artifact import read_manifest
from alcore.errors import PermanentError
from alcore.index import PoolIndex
from alcore.index.artifact import AGAIN, PATCHES, patches_of, read_vectors
from alcore.selection.artifacts import read_arrays, read_boxes
from alcore.selection.port import Float32, Mask, Pool, Positions
from alcore.stage import Context, Input
from alcore.types import PoolPosition

if TYPE_CHECKING:
    from alcore.coreset import Frontier, Warm

T = TypeVar("T")

FROM_IMAGE = ("foreground", "border", "n_objects", "confidence", "sharpness", "contrast", "clipped", "blank")
FROM_MODEL = ("entropy_bg", "entropy_fg", "foreground", "border", "n_objects")
"""Arrays of traits.npz, and of patches.npz; where both have a figure, the model's counts."""
FIGURES = tuple(sorted({*FROM_IMAGE, *FROM_MODEL}))


@dataclass(frozen=True)
class Matrix:
    """The (N, D) rows of these embedding artifacts one after the other, and how many each has."""

    keys: tuple[str, ...]
    rows: Float32
    counts: Mapping[str, int]


@dataclass
class Memory:
    """What a warm process remembers, only of what its last job used: parts by (kind, artifact key), the pool matrix,
    and the index as it is on the disk."""

    index: PoolIndex | None = None
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
class Share:
    """What an embedding artifact gives to the pool: which of its vectors, the patches of their volume that these are of (both
    (n,), ascending), and their boxes (n, 2, 3). n_vectors: that it has; n_patches: of the volume."""

    key: str
    vectors: Positions
    patches: Positions
    boxes: Positions
    n_vectors: int
    n_patches: int


@dataclass(frozen=True)
class Assembled:
    """A pool, and who its positions are: what each embedding artifact gave, in order, the first position of each, and notes
    for people."""

    pool: Pool
    shares: tuple[Share, ...]
    firsts: Positions
    indexed: int
    notes: list[str]

    def place(self, position: int) -> tuple[str, int]:
        """(embedding key, patch of its volume) of a position."""
        i = int(np.searchsorted(self.firsts, position, side="right")) - 1
        return self.shares[i].key, int(self.shares[i].patches[position - self.firsts[i]])

    def rows(self, positions: Positions) -> dict[str, list[int]]:
        """{embedding key: patches of its volume} of ascending positions: the inverse of `positions`."""
        parts = np.split(positions, np.searchsorted(positions, self.firsts[1:]))
        return {
            share.key: share.patches[part - first].tolist()
            for share, first, part in zip(self.shares, self.firsts, parts, strict=True)
            if len(part)
        }

    def positions(self, rows: Mapping[str, Sequence[int]], what: str) -> Positions:
        """Positions of {embedding key: patches}. Raises PermanentError for a patch that the pool does not have."""
        shares = {share.key: (first, share.patches) for share, first in zip(self.shares, self.firsts, strict=True)}
        found: list[PoolPosition] = []
        for key, numbers in rows.items():
            first, patches = shares.get(key, (0, np.empty(0, np.int64)))
            for row in numbers:
                at = int(np.searchsorted(patches, int(row)))
                if at == len(patches) or patches[at] != int(row):
                    raise PermanentError(f"{what} row {row} of embedding {key} is not among the embeddings of this job")
                found.append(PoolPosition(int(first) + at))
        return np.array(found, np.int64)


def assemble(
    embeddings: Sequence[Input],
    volumes: Sequence[Input],
    traits: Mapping[str, Input],
    predictions: Mapping[str, Input],
    only: Mapping[str, Sequence[int]],
    ctx: Context,
    memory: Memory,
) -> Assembled:
    """The pool of these embedding artifacts. volumes: that of each, in the same order. traits, predictions: by embedding key.
    only: of the volumes of these embeddings, by key, no other patches than these.

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
    shares = tuple(
        _share(item, volume, counts[item.key], only.get(item.key), memory)
        for item, volume in zip(embeddings, volumes, strict=True)
    )
    sizes = np.array([len(share.vectors) for share in shares], np.int64)
    of = keys
    if sizes.sum() < len(matrix):
        begins = np.cumsum([0, *(share.n_vectors for share in shares)])
        matrix = matrix[np.concatenate([share.vectors + n for share, n in zip(shares, begins, strict=False)])]
        of = (json.dumps({key: list(only[key]) for key in keys if key in only}), *keys)
    boxes = np.concatenate([share.boxes for share in shares])
    pool = Pool(
        embeddings=matrix,
        volume=np.repeat(np.arange(len(keys)), sizes),
        start=boxes[:, 0],
        shape=boxes[:, 1],
        traits=_figures(shares, traits, predictions, memory, notes),
        flat=_flat(embeddings, shares, memory),
        frontier=memory.frontier(of, matrix, ctx.device),
    )
    memory.forget_unused()
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    return Assembled(pool, shares, firsts, indexed, notes)


def _share(item: Input, volume: Input, n_vectors: int, only: Sequence[int] | None, memory: Memory) -> Share:
    """What one artifact gives. Raises PermanentError where its vectors are not of the volume's patches."""
    boxes = memory.part("boxes", f"{volume.key} {volume.path}", read_boxes, volume.path)
    patches = memory.part("patches", item.key, patches_of, item.path, n_vectors)
    if (n_vectors != len(boxes) and not (item.path / PATCHES).exists()) or (len(patches) and patches[-1] >= len(boxes)):
        raise PermanentError(
            f"{item.path}: {n_vectors} embeddings for the {len(boxes)} patches of {volume.path}; {AGAIN}"
        )
    vectors = np.arange(n_vectors) if only is None else np.flatnonzero(np.isin(patches, list(only)))
    return Share(item.key, vectors, patches[vectors], boxes[patches[vectors]], n_vectors, len(boxes))


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
    directory, index = ctx.cache / "index", memory.index
    if index is None or index.encoder != encoder or not index.is_in(directory):
        index, note = PoolIndex.load(directory, encoder, read_vectors(embeddings[0].path).shape[1], ctx.device)
        notes += [note] if note else []
    before, wanted = dict(index.counts), set(keys)
    for key in before:
        if key not in wanted:
            index.remove(key)
    for i, item in enumerate(embeddings):
        if item.key not in before:
            index.add(item.key, read_vectors(item.path))
            ctx.progress(0.4 * i / len(embeddings), "indexing embeddings")
    counts, memory.index = dict(index.counts), None
    if counts != before:
        try:
            index.save(directory)
            memory.index = index
        except OSError as e:  # only a cache: the answer does not depend on it
            notes.append(f"the pool index could not be saved and will be built again ({e})")
    else:
        memory.index = index
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


def _figures(
    shares: Sequence[Share],
    traits: Mapping[str, Input],
    predictions: Mapping[str, Input],
    memory: Memory,
    notes: list[str],
) -> dict[str, Float32]:
    """All traits of the pool by name, NaN where nobody knows."""
    blocks, old = [], 0
    for share in shares:
        known, seen = traits.get(share.key), predictions.get(share.key)
        named = f"{known.key if known else ''} {seen.key if seen else ''} {share.n_patches}"
        block, silent = memory.part("figures", named, _block, known, seen, share.n_patches)
        blocks.append(block if len(share.patches) == share.n_patches else block[:, share.patches])
        old += silent
    if old:
        notes.append(f"{old} predictions are of an older version and say nothing about single patches")
    return dict(zip(FIGURES, np.concatenate(blocks, axis=1), strict=True))


def _block(traits: Input | None, prediction: Input | None, n: int) -> tuple[Float32, bool]:
    """(F, n) `FIGURES` of the patches of a volume, and whether its prediction is too old to know any."""
    rows: dict[str, Float32] = {}
    silent = False
    if traits is not None:
        rows |= read_arrays(traits.path / "traits.npz", FROM_IMAGE, n)
    if prediction is not None:
        path = prediction.path / "patches.npz"
        silent = not path.exists()
        for name, values in ({} if silent else read_arrays(path, FROM_MODEL, n)).items():
            rows[name] = np.where(np.isfinite(values), values, rows[name]) if name in rows else values
    unknown = np.full(n, np.nan, np.float32)
    return np.stack([rows.get(name, unknown) for name in FIGURES]), silent


def _flat(embeddings: Sequence[Input], shares: Sequence[Share], memory: Memory) -> Mask:
    """(N,) bool: patches that the embedding found without direction."""
    columns = []
    for item, share in zip(embeddings, shares, strict=True):
        rows = memory.part("manifest", item.key, read_manifest, item.path).result.get("flat", [])
        column = np.zeros(share.n_vectors, bool)
        column[[row for row in rows if 0 <= row < len(column)]] = True
        columns.append(column[share.vectors])
    return np.concatenate(columns)
