"""The pool of embeddings of one encoder in faiss: incremental, and a cache on disk that can always be rebuilt."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.artifact import fsync_dir, write_atomic
from alcore.errors import PermanentError

Float32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

FORMAT = 1
BINARY, SIDECAR = "pool.faiss", "pool.json"
"""A directory holds the index of one encoder at a time: the next encoder's replaces it."""
ROW_BITS = 32
"""An id is (slot of the embedding artifact << ROW_BITS) + row, so that one artifact is one range of ids."""
NORM_TOLERANCE = 1e-3


class PoolIndex:
    """Exact inner-product index over the unit rows of embedding artifacts, all made by one encoder.

    Embeddings are addressed by (artifact key, row); faiss ids are private to one index and resolved with `where`.
    """

    def __init__(self, encoder: str, dim: int, device: str = "cpu") -> None:
        import faiss

        self.encoder, self.dim, self.device = encoder, dim, device
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
        self._slots: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._next_slot = 0
        self._searcher: Any = None

    @classmethod
    def load(cls, directory: Path, encoder: str, dim: int, device: str = "cpu") -> tuple[PoolIndex, str]:
        """The index saved in `directory` if it is of this encoder, and ""; else an empty one, and why."""
        index = cls(encoder, dim, device)
        try:
            index._restore(directory)
        except FileNotFoundError:
            return cls(encoder, dim, device), "no pool index yet: built"
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as e:
            return cls(encoder, dim, device), f"pool index in {directory} is not usable ({e}): rebuilt"
        return index, ""

    def _restore(self, directory: Path) -> None:
        import faiss

        binary, sidecar = directory / BINARY, directory / SIDECAR
        about = json.loads(sidecar.read_text())
        for name, wanted in {"format": FORMAT, "encoder": self.encoder, "dim": self.dim}.items():
            if about[name] != wanted:
                raise ValueError(f"{name} is {about[name]!r}, expected {wanted!r}")
        if _sha256(binary) != about["sha256"]:
            raise ValueError("checksum differs")
        self._index = faiss.read_index(str(binary))
        self._slots = {str(key): int(slot) for key, (slot, _) in about["embeddings"].items()}
        self._counts = {str(key): int(count) for key, (_, count) in about["embeddings"].items()}
        self._next_slot = int(about["next_slot"])
        if self._index.d != self.dim or self._index.ntotal != len(self):
            raise ValueError(f"it holds {self._index.ntotal} vectors of {self._index.d}, not {len(self)} of {self.dim}")

    def save(self, directory: Path) -> None:
        """Replace the saved index; a crash at any point leaves an old, a new or a detectably damaged one."""
        import faiss

        directory.mkdir(parents=True, exist_ok=True)
        binary, sidecar = directory / BINARY, directory / SIDECAR
        tmp = binary.with_name(f".{binary.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            try:
                faiss.write_index(self._index, str(tmp))
            except RuntimeError as e:  # faiss reports a full disk this way
                raise OSError(f"{tmp}: cannot write the pool index ({e})") from e
            with open(tmp, "rb") as f:
                os.fsync(f.fileno())
            about = {
                "format": FORMAT,
                "encoder": self.encoder,
                "dim": self.dim,
                "sha256": _sha256(tmp),
                "next_slot": self._next_slot,
                "embeddings": {key: [slot, self._counts[key]] for key, slot in self._slots.items()},
            }
            os.replace(tmp, binary)
        finally:
            tmp.unlink(missing_ok=True)
        fsync_dir(directory)
        write_atomic(sidecar, json.dumps(about).encode())

    def __len__(self) -> int:
        return sum(self._counts.values())

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of rows of each embedding artifact in the index."""
        return dict(self._counts)

    def add(self, key: str, rows: Float32) -> None:
        """Add the (N, D) float32 unit rows of embedding artifact `key`; one that is already there is left alone.

        Raises PermanentError for rows of another shape or type, not finite, or not of length one.
        """
        if key in self._slots:
            return
        check_embeddings(key, rows, self.dim)
        slot, self._next_slot = self._next_slot, self._next_slot + 1
        ids = (np.int64(slot) << ROW_BITS) + np.arange(len(rows), dtype=np.int64)
        self._index.add_with_ids(np.ascontiguousarray(rows), ids)
        self._slots[key], self._counts[key] = slot, len(rows)
        self._searcher = None

    def remove(self, key: str) -> None:
        """Take the rows of embedding artifact `key` out; unknown keys are ignored."""
        import faiss

        if key not in self._slots:
            return
        slot = self._slots.pop(key)
        if self._counts.pop(key):
            self._index.remove_ids(faiss.IDSelectorRange(slot << ROW_BITS, (slot + 1) << ROW_BITS))
        self._searcher = None

    def vectors(self, keys: Iterable[str]) -> Float32:
        """(N, D) rows of these artifacts one after the other: the pool matrix in this order."""
        ids = [self._ids(key) for key in keys]
        wanted = np.concatenate(ids) if ids else np.empty(0, np.int64)
        if not len(wanted):
            return np.empty((0, self.dim), np.float32)
        found: Float32 = self._index.reconstruct_batch(wanted)
        return found

    def where(self, identifier: int) -> tuple[str, int]:
        """(artifact key, row) of a faiss id."""
        slot, row = divmod(int(identifier), 1 << ROW_BITS)
        for key, known in self._slots.items():
            if known == slot and row < self._counts[key]:
                return key, row
        raise KeyError(f"no embedding has the id {identifier}")

    def nearest(self, queries: Float32, k: int) -> tuple[Float32, Ids]:
        """The `k` most similar embeddings of each query row: (Q, k) inner products, descending, and (Q, k) faiss ids.

        Fewer than `k` columns come back from a pool that is smaller. Runs on a GPU where `device` and faiss allow it.
        """
        import faiss

        k = min(k, len(self))
        if k < 1:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        if self._searcher is None:
            flat = faiss.downcast_index(self._index.index)
            on_gpu = self.device == "cuda" and faiss.get_num_gpus() > 0
            self._searcher = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, flat) if on_gpu else flat
        similarity, positions = self._searcher.search(np.ascontiguousarray(queries, np.float32), k)
        return similarity, faiss.vector_to_array(self._index.id_map)[positions]

    def nearest_of(self, pool: Float32, covered: Sequence[int]) -> Float32:
        """(N,) largest inner product of each row of the pool matrix with the rows at the positions `covered`.

        The roles are swapped (few vectors indexed, the whole pool as queries): one blocked matrix product. Always on
        the CPU, in IEEE float32, because `farthest_first` relies on its rounding error.
        """
        import faiss

        similarity, _ = faiss.knn(pool, np.ascontiguousarray(pool[list(covered)]), 1, metric=faiss.METRIC_INNER_PRODUCT)
        found: Float32 = similarity[:, 0]
        return found

    def _ids(self, key: str) -> Ids:
        return (np.int64(self._slots[key]) << ROW_BITS) + np.arange(self._counts[key], dtype=np.int64)


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


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
