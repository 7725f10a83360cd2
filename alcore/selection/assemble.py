"""The pool of a job from its pages: embeddings through the index, boxes, traits and predictions; kept between jobs.

Artifacts never change, so what was read of the artifacts of one page is kept by its key: in the process, and in a file for the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from alcore import pages
from alcore.errors import PermanentError
from alcore.index import PoolIndex, Remembered
from alcore.index.artifact import encoder_of, read_vectors
from alcore.selection import blocks
from alcore.selection.blocks import FIGURES, Block
from alcore.selection.port import Float32, Pool, Positions
from alcore.selection.usual import joined
from alcore.stage import Context, Input
from alcore.types import PoolPosition

if TYPE_CHECKING:
    from alcore.coreset import Frontier, Warm

GROWTH = 16
"""A copy of the matrix has room for so large a part of it more."""


@dataclass
class Matrix:
    """The (N, D) rows of these embedding artifacts one after the other: a part of the mapped file of the index, or where it has gaps
    (volumes left) a copy, in which there is room for more."""

    keys: tuple[str, ...]
    rows: Float32
    room: Float32 | None = None

    @classmethod
    def of(cls, index: PoolIndex, keys: tuple[str, ...], before: Matrix | None) -> Matrix:
        """That of these keys. before: the last one, whose copy goes on where it grew."""
        rows = index.mapped(keys)
        if rows is not None:
            return cls(keys, rows)
        n = 0
        if before is not None and before.room is not None and keys[: len(before.keys)] == before.keys:
            room, n, more = before.room, len(before.rows), index.vectors(keys[len(before.keys) :])
        else:
            room, more = np.empty((0, index.dim), np.float32), index.vectors(keys)
        end = n + len(more)
        if end > len(room):
            grown = np.empty((end + end // GROWTH, index.dim), np.float32)
            grown[:n] = room[:n]
            room = grown
        room[n:end] = more
        return cls(keys, room[:end], room)


@dataclass
class Memory:
    """What a warm process remembers, only of what its last job used: blocks by the key of their page, the pool matrix, and the index
    as it is on the disk."""

    index: Remembered = field(default_factory=Remembered)
    blocks: dict[str, Block] = field(default_factory=dict)
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


@dataclass(frozen=True)
class Assembled:
    """A pool, and who its positions are. keys (K): embedding artifacts; firsts (K,): the position of the first patch of each; patches
    (N,): of its volume. indexed: vectors in the index. notes: for people."""

    pool: Pool
    keys: tuple[str, ...]
    firsts: Positions
    patches: Positions
    indexed: int
    notes: list[str]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys)}

    def place(self, position: int) -> tuple[str, int]:
        """(embedding key, patch of its volume) of a position."""
        i = int(np.searchsorted(self.firsts, position, side="right")) - 1
        return self.keys[i], int(self.patches[position])

    def positions(self, rows: Mapping[str, Sequence[int]], what: str) -> Positions:
        """Positions of {embedding key: patches}. Raises PermanentError for a patch that the pool does not have."""
        found: list[PoolPosition] = []
        for key, numbers in rows.items():
            begin, patches = self._patches_of(key)
            for row in numbers:
                at = int(np.searchsorted(patches, int(row)))
                if at == len(patches) or patches[at] != int(row):
                    raise PermanentError(f"{what} row {row} of embedding {key} is not among the embeddings of this job")
                found.append(PoolPosition(begin + at))
        return np.array(found, np.int64)

    def _patches_of(self, key: str) -> tuple[int, Positions]:
        """The first position of an artifact, and which patches of its volume it has."""
        i = self._numbers.get(key)
        if i is None:
            return 0, np.empty(0, np.int64)
        begin = int(self.firsts[i])
        return begin, self.patches[begin : int(self.firsts[i + 1]) if i + 1 < len(self.firsts) else None]


def assemble(given: Sequence[Input], only: Mapping[str, Sequence[int]], ctx: Context, memory: Memory) -> Assembled:
    """The pool of these pages, whose rows name embedding, volume (aligned: the boxes), and where there are any traits and prediction.
    only: of the volumes of these embeddings, by key, no other patches than these.

    Raises PermanentError, naming the file, for what is damaged, of another length, or of different encoders.
    """
    folder = ctx.cache / pages.BLOCKS
    known = {page.key: memory.blocks.get(page.key) or blocks.load(folder, page.key) for page in given}
    rows = {
        page.key: found.rows if (found := known[page.key]) is not None else tuple(pages.read(page)) for page in given
    }
    keys = tuple(row["embedding"] for page in given for row in rows[page.key])
    if len(set(keys)) < len(keys):
        raise PermanentError(f"embedding {max(keys, key=keys.count)} was given more than once")
    notes: list[str] = []
    _refresh(given, rows, known, ctx, memory, notes)
    whole = blocks.joined([memory.blocks[page.key] for page in given])
    _one_encoder(whole)
    matrix, indexed = _matrix(given, rows, keys, ctx, memory, notes)
    if len(matrix) != len(whole.patches):
        raise PermanentError(f"{ctx.cache}: is not what the embeddings say; remove the folder and it is made again")
    if whole.silent.any():
        notes.append(
            f"{int(whole.silent.sum())} predictions are of an older version and say nothing about single patches"
        )
    sizes, of = whole.n_vectors, keys
    patches, boxes, figures, flat = whole.patches, whole.boxes, whole.figures, whole.flat
    if only:
        kept, sizes = _kept(whole, only)
        matrix, patches, boxes, figures, flat = matrix[kept], patches[kept], boxes[kept], figures[:, kept], flat[kept]
        of = (json.dumps({key: list(only[key]) for key in keys if key in only}), *keys)
    pool = Pool(
        embeddings=matrix,
        volume=np.repeat(np.arange(len(keys)), sizes),
        start=boxes[:, 0],
        shape=boxes[:, 1],
        traits=dict(zip(FIGURES, figures, strict=True)),
        flat=flat,
        frontier=memory.frontier(of, matrix, ctx.device),
        usual=joined([memory.blocks[page.key].usual for page in given]),
    )
    return Assembled(pool, keys, np.cumsum(sizes) - sizes, patches, indexed, notes)


def _kept(whole: Block, only: Mapping[str, Sequence[int]]) -> tuple[Positions, Positions]:
    """(vectors that take part, how many of each artifact), where of some only these patches do."""
    takes_part = np.ones(len(whole.patches), bool)
    sizes = whole.n_vectors.copy()
    for i, (key, begin, n) in enumerate(zip(whole.keys, whole.begins, whole.n_vectors, strict=True)):
        if key in only:
            theirs = np.isin(whole.patches[begin : begin + n], list(only[key]))
            takes_part[begin : begin + n] = theirs
            sizes[i] = theirs.sum()
    return np.flatnonzero(takes_part), sizes


def _refresh(
    given: Sequence[Input],
    rows: Mapping[str, Sequence[pages.Row]],
    known: Mapping[str, Block | None],
    ctx: Context,
    memory: Memory,
    notes: list[str],
) -> None:
    """Let the memory hold the blocks of exactly these pages. Of a page that is new only what is new is read."""
    folder, fresh, found = ctx.cache / pages.BLOCKS, [], {}
    before = dict(blocks.parts_of([block for key, block in memory.blocks.items() if key not in rows]))
    for number, page in enumerate(given):
        block = known[page.key]
        if block is None:
            parts = []
            for row in rows[page.key]:
                there = before.get(blocks.identity(row))
                parts.append(blocks.read(page, row) if there is None else there[0].part(there[1]))
            block = blocks.joined(parts)
            fresh.append(page.key)
            ctx.progress(0.2 * number / len(given), "reading what is known of the patches")
        found[page.key] = block
    memory.blocks = found
    try:
        for key in fresh:
            blocks.save(folder, key, found[key])
        if fresh:
            blocks.forget_others(folder, found)
    except OSError as e:  # only a cache: the answer does not depend on it
        notes.append(f"what is known of the patches could not be kept and will be read again ({e})")


def _matrix(
    given: Sequence[Input],
    rows: Mapping[str, Sequence[pages.Row]],
    keys: tuple[str, ...],
    ctx: Context,
    memory: Memory,
    notes: list[str],
) -> tuple[Float32, int]:
    """(pool matrix, rows in the index); the index is brought up to date with exactly these."""
    if memory.matrix is not None and memory.matrix.keys == keys:
        return memory.matrix.rows, len(memory.matrix.rows)
    directory, first = ctx.cache / "index", pages.on_page(given[0], keys[0]).path
    index, note = memory.index.take(directory, encoder_of(first), read_vectors(first).shape[1], ctx.device)
    notes += [note] if note else []
    before = set(index.counts)
    for key in before.difference(keys):
        index.remove(key)
    done = 0
    for page in given:
        for row in rows[page.key]:
            if row["embedding"] not in before:
                item = pages.on_page(page, row["embedding"])
                index.add(item.key, read_vectors(item.path))
                ctx.progress(0.2 + 0.3 * done / len(keys), "indexing embeddings")
            done += 1
    if index.counts.keys() != before:
        try:
            index.save(directory)
            memory.index.keep(index)
        except OSError as e:  # only a cache: the answer does not depend on it
            notes.append(f"the pool index could not be saved and will be built again ({e})")
    else:
        memory.index.keep(index)
    memory.matrix = Matrix.of(index, keys, memory.matrix)
    return memory.matrix.rows, len(index)


def _one_encoder(whole: Block) -> None:
    """Raise PermanentError unless all of these were made by one encoder."""
    if len(set(whole.encoders)) > 1:
        found = ", ".join(f"{key} by {encoder}" for key, encoder in zip(whole.keys, whole.encoders, strict=True))
        raise PermanentError(f"embeddings of different encoders cannot be compared: {found}")
