"""The pool of embeddings of one encoder: grows and shrinks by artifacts, searched exactly, kept on disk as a cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError
from alcore.index import stored
from alcore.index.search import Searcher

Float32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

NORM_TOLERANCE = 1e-3
NEAR_DUPLICATE = 1e-3
"""Cosine distance below which two patches show the same."""


class PoolIndex:
    """The unit rows of embedding artifacts, all made by one encoder, addressed by (artifact key, row).

    What `nearest` finds has numbers that hold until the index changes; `where` resolves them.
    """

    def __init__(self, encoder: str, dim: int, device: str = "cpu") -> None:
        self.encoder, self.dim, self.device = encoder, dim, device
        self._rows: dict[str, Float32] = {}
        """In memory as they were added, or a part of the mapped file; in the order of the numbers."""
        self._on_disk: tuple[Path, stored.Mapped] | None = None
        self._unchanged: set[str] = set()
        """Artifacts whose rows are those on disk."""
        self._searcher: Searcher | None = None

    @classmethod
    def load(cls, directory: Path, encoder: str, dim: int, device: str = "cpu") -> tuple[PoolIndex, str]:
        """The index saved in `directory` if it is of this encoder and undamaged, and ""; else an empty one, and why."""
        index = cls(encoder, dim, device)
        try:
            index._adopt(directory, stored.read(directory, encoder, dim))
        except FileNotFoundError:
            return index, "no pool index yet: built"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            return index, f"pool index in {directory} is not usable ({e}): rebuilt"
        return index, ""

    def _adopt(self, directory: Path, mapped: stored.Mapped) -> None:
        """Let go of what was in memory: it is on disk now."""
        self._rows = {key: mapped.rows[s.first : s.first + s.n] for key, s in mapped.stored.segments.items()}
        self._on_disk, self._unchanged, self._searcher = (directory, mapped), set(self._rows), None

    def is_in(self, directory: Path) -> bool:
        """Is what was loaded from there, or saved there last, what lies there now? Another process may have written its own."""
        return (
            self._on_disk is not None
            and self._on_disk[0] == directory
            and stored.still(directory, self._on_disk[1].stored)
        )

    def save(self, directory: Path) -> None:
        """Bring the saved index up to date; only new rows are written, unless most of the file is of no use any more.

        A kill at any point leaves the old index or the new one. Raises OSError where it cannot be written.
        """
        before = self._on_disk[1] if self._on_disk and self._on_disk[0] == directory else None
        written = stored.write(directory, self.encoder, self.dim, self._rows, before, self._unchanged)
        self._adopt(directory, written)

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows.values())

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of rows of each embedding artifact in the index."""
        return {key: len(rows) for key, rows in self._rows.items()}

    def add(self, key: str, rows: Float32) -> None:
        """Add the (N, D) float32 unit rows of embedding artifact `key`; one that is already there is left alone.

        The rows are kept, not copied. Raises PermanentError for rows of another shape or type, not finite, or not of length one.
        """
        if key in self._rows:
            return
        check_embeddings(key, rows, self.dim)
        self._rows[key] = np.ascontiguousarray(rows)
        if self._searcher is not None:
            self._searcher.append(self._rows[key])

    def remove(self, key: str) -> None:
        """Take the rows of embedding artifact `key` out; unknown keys are ignored."""
        if self._rows.pop(key, None) is not None:
            self._unchanged.discard(key)
            self._searcher = None

    def only(self, keys: Iterable[str]) -> PoolIndex:
        """These artifacts, numbered in this order: the same rows, where they lie. Raises KeyError for one that is not there."""
        found = PoolIndex(self.encoder, self.dim, self.device)
        found._rows, found._on_disk = {key: self._rows[key] for key in keys}, self._on_disk
        found._unchanged = self._unchanged & found._rows.keys()
        return found

    def vectors(self, keys: Iterable[str]) -> Float32:
        """(N, D) rows of these artifacts one after the other: the pool matrix in this order. A view where they lie so on disk."""
        parts = self._parts(keys)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.empty((0, self.dim), np.float32), *parts])

    def mapped(self, keys: Iterable[str]) -> Float32 | None:
        """The same where they follow each other in the file, which is not read now; else None."""
        parts = self._parts(keys)
        return (
            parts[0]
            if len(parts) == 1 and self._on_disk and np.shares_memory(parts[0], self._on_disk[1].rows)
            else None
        )

    def _parts(self, keys: Iterable[str]) -> list[Float32]:
        """The rows of these artifacts in as few arrays as possible: those that follow each other in the file are one."""
        segments = self._on_disk[1].stored.segments if self._on_disk else {}
        whole = self._on_disk[1].rows if self._on_disk else np.empty((0, self.dim), np.float32)
        found: list[Float32] = []
        begin = end = 0
        for key in keys:
            segment = segments.get(key) if key in self._unchanged else None
            if segment is not None and segment.first == end > begin:
                end += segment.n
                continue
            if end > begin:
                found.append(whole[begin:end])
            begin = end = 0
            if segment is not None:
                begin, end = segment.first, segment.first + segment.n
            elif len(self._rows[key]):
                found.append(self._rows[key])
        if end > begin:
            found.append(whole[begin:end])
        return found

    def where(self, number: int) -> tuple[str, int]:
        """(artifact key, row) of a number that `nearest` gave. Raises KeyError for one that it cannot have given."""
        row = int(number)
        for key, rows in self._rows.items():
            if 0 <= row < len(rows):
                return key, row
            row -= len(rows)
        raise KeyError(f"no embedding has the number {number}")

    def nearest(self, queries: Float32, k: int) -> tuple[Float32, Ids]:
        """The `k` most similar embeddings of each query row: (Q, k) inner products, descending, and (Q, k) their numbers.

        Fewer than `k` columns come back from a pool that is smaller. Exact; on a GPU where `device` and faiss allow it. Raises
        ValueError for queries that are not (Q, D).
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ValueError(f"queries must be (Q, {self.dim}), got {queries.shape}")
        if self._searcher is None:
            self._searcher = Searcher(self._parts(self._rows), self.device)
        return self._searcher.nearest(queries, k)


def check_embeddings(name: str, rows: npt.NDArray[Any], dim: int) -> None:
    """Raise PermanentError unless `rows` is (N, dim) float32 with finite rows of length one."""
    again = "remove the artifact and it is made again"
    if rows.ndim != 2 or rows.shape[1] != dim or rows.dtype != np.float32:
        raise PermanentError(f"{name}: embeddings are {rows.shape} {rows.dtype}, expected (N, {dim}) float32; {again}")
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if not np.isfinite(norms).all():
        raise PermanentError(
            f"{name}: the embedding in row {int(np.argmin(np.isfinite(norms)))} is not finite; {again}"
        )
    wrong = np.abs(norms - 1) > NORM_TOLERANCE
    if wrong.any():
        row = int(np.argmax(wrong))
        raise PermanentError(f"{name}: the embedding in row {row} has length {norms[row]:.4g}, expected 1; {again}")
