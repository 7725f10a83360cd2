"""What the metadata of one zarr array say: its shape, its type, how it is cut into chunks and what their files are called."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alcore.volumes.port import REAL_DTYPES
from alcore.volumes.zarr_tree import Json, Node, Tree

CHUNK_LIMIT_BYTES = 1 << 30
"""No chunk decodes to more: it would be held in memory whole. A ratio would not do, constant chunks compress without end."""
MAX_INNER = 1 << 20
"""Chunks in one shard; the index of a shard is read whole."""
MAX_DIMENSIONS = 8
PLAIN = "save it in plain chunks, uncompressed or with a common compression such as zstd"
"""What to do about chunks that are stored in a way that cannot be read."""
MAX_SIZE = 1 << 40

V2_CODECS = ("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd")
V2_FILTERS = (
    "bitround",
    "crc32",
    "crc32c",
    "adler32",
    "fletcher32",
    "delta",
    "fixedscaleoffset",
    "quantize",
    "shuffle",
)
"""What may be undone to read a chunk: a list, because some of numcodecs (pickle) run code that is in the file."""
V3_CODECS = (
    "blosc",
    "bytes",
    "crc32c",
    "gzip",
    "transpose",
    "zstd",
    *(f"numcodecs.{n}" for n in V2_CODECS + V2_FILTERS),
)


@dataclass(frozen=True)
class ZarrArray:
    """One array. key: its folder in the tree. dtype: as stored. chunks: voxels of one file along each dimension (a shard's,
    where there are shards); inner: of what is decoded together. separator, prefix: how a file is named after its place.

    exact_bytes: size of every file of an array without compression, else None. least_bytes: no file is smaller.
    names: what the dimensions are called in the array itself, None where they are not.
    """

    key: str
    zarr_format: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    inner: tuple[int, ...]
    separator: str
    prefix: str
    exact_bytes: int | None
    least_bytes: int
    names: tuple[str, ...] | None

    @property
    def grid(self) -> tuple[int, ...]:
        """Files along each dimension."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def nbytes(self) -> int:
        """Decoded size of all of it."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def file_word(self) -> str:
        """What one file holds."""
        return "chunk" if self.chunks == self.inner else "shard"

    def file_of(self, place: Sequence[int]) -> str:
        """Name of the file at one place of the grid, relative to the folder of the array."""
        return self.prefix + self.separator.join(map(str, place))


def array_of(tree: Tree, node: Node) -> ZarrArray:
    """Understand the metadata of an array. Raises UnreadableVolumeError for what is invalid, absurd or not supported."""
    return _array3(tree, node) if node.zarr_format == 3 else _array2(tree, node)


def _array2(tree: Tree, node: Node) -> ZarrArray:
    d = node.document
    shape, chunks = _sizes(tree, node, d.get("shape"), "shape"), _sizes(tree, node, d.get("chunks"), "chunks")
    text = d.get("dtype")
    known = isinstance(text, str) and re.fullmatch(r"\|[iu]1|[<>][iu][1248]|[<>]f[248]", text)
    dtype = _dtype(tree, node, np.dtype(text) if known and isinstance(text, str) else None, text)
    _require_chunks(tree, node, shape, chunks, dtype)
    compressor, filters = d.get("compressor"), d.get("filters") or []
    if not isinstance(filters, list):
        raise tree.fault(f"array {node.key}: filters are no list")
    for codec, known_ids in [(compressor, V2_CODECS)] * (compressor is not None) + [(f, V2_FILTERS) for f in filters]:
        name = codec.get("id") if isinstance(codec, dict) else codec
        if name not in known_ids:
            raise tree.fault(f"array {node.key}: compression {str(name)[:60]!r} is not supported", PLAIN)
    exact = None if compressor is not None or filters else math.prod(chunks) * dtype.itemsize
    separator = _separator(tree, node, d.get("dimension_separator", "."))
    return ZarrArray(node.key, 2, shape, dtype, chunks, chunks, separator, "", exact, 1, None)


def _array3(tree: Tree, node: Node) -> ZarrArray:
    d = node.document
    shape = _sizes(tree, node, d.get("shape"), "shape")
    grid, settings = _named(tree, node, d.get("chunk_grid"), "chunk_grid")
    if grid != "regular":
        raise tree.fault(f"array {node.key}: a {grid!r} grid of chunks is not supported, only a regular one", PLAIN)
    chunks = _sizes(tree, node, settings.get("chunk_shape"), "chunk_shape")
    text = d.get("data_type")
    known = isinstance(text, str) and re.fullmatch(r"u?int(8|16|32|64)|float(16|32|64)", text)
    dtype = _dtype(tree, node, np.dtype(text) if known and isinstance(text, str) else None, text)
    if d.get("storage_transformers"):
        raise tree.fault(f"array {node.key}: storage transformers are not supported", PLAIN)
    encoding, how = _named(tree, node, d.get("chunk_key_encoding"), "chunk_key_encoding")
    if encoding not in ("default", "v2"):
        raise tree.fault(f"array {node.key}: chunk_key_encoding {encoding!r} is not supported", PLAIN)
    separator = _separator(tree, node, how.get("separator", "/" if encoding == "default" else "."))
    codecs = _codecs(tree, node, d.get("codecs"))
    inner, exact, least = chunks, None, 1
    if codecs[0][0] == "sharding_indexed":
        inner, least = _shard(tree, node, codecs, chunks)
    else:
        _require_known(tree, node, codecs)
        if all(name in ("bytes", "transpose", "crc32c") for name, _ in codecs):
            exact = math.prod(chunks) * dtype.itemsize + 4 * sum(name == "crc32c" for name, _ in codecs)
    _require_chunks(tree, node, shape, inner, dtype)
    _require_chunks(tree, node, shape, chunks, None)
    names = d.get("dimension_names")
    named = isinstance(names, list) and len(names) == len(shape) and all(isinstance(n, str) for n in names)
    told = tuple(names) if named and isinstance(names, list) else None
    prefix = f"c{separator}" if encoding == "default" else ""
    return ZarrArray(node.key, 3, shape, dtype, chunks, inner, separator, prefix, exact, least, told)


def _shard(
    tree: Tree, node: Node, codecs: list[tuple[str, Json]], chunks: tuple[int, ...]
) -> tuple[tuple[int, ...], int]:
    """(voxels of one chunk inside a shard, bytes of the index that each shard has)."""
    settings = codecs[0][1]
    if len(codecs) > 1:
        raise tree.fault(f"array {node.key}: shards that are compressed as a whole are not supported", PLAIN)
    inner = _sizes(tree, node, settings.get("chunk_shape"), "chunk_shape of its shards")
    if len(inner) != len(chunks) or any(c % i for c, i in zip(chunks, inner, strict=True)):
        raise tree.fault(f"array {node.key}: shards {chunks} are not made of whole chunks {inner}")
    n = math.prod(c // i for c, i in zip(chunks, inner, strict=True))
    if n > MAX_INNER:
        raise tree.fault(f"array {node.key}: {n} chunks in one shard, at most {MAX_INNER} are believed")
    _require_known(tree, node, _codecs(tree, node, settings.get("codecs")))
    index = _codecs(tree, node, settings.get("index_codecs"))
    if any(name not in ("bytes", "crc32c") for name, _ in index):
        raise tree.fault(f"array {node.key}: a compressed index of its shards is not supported", PLAIN)
    return inner, 16 * n + 4 * sum(name == "crc32c" for name, _ in index)


def _codecs(tree: Tree, node: Node, value: object) -> list[tuple[str, Json]]:
    if not isinstance(value, list) or not 0 < len(value) <= 32:
        raise tree.fault(f"array {node.key}: codecs are no list of codecs")
    return [_named(tree, node, codec, "codecs") for codec in value]


def _require_known(tree: Tree, node: Node, codecs: list[tuple[str, Json]]) -> None:
    for name, _ in codecs:
        if name not in V3_CODECS:
            raise tree.fault(f"array {node.key}: compression {name[:60]!r} is not supported", PLAIN)


def _named(tree: Tree, node: Node, value: object, what: str) -> tuple[str, Json]:
    """(name, configuration) of an extension point of zarr v3, which may be written as its name alone."""
    if isinstance(value, str):
        return value, {}
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        configuration = value.get("configuration", {})
        if isinstance(configuration, dict):
            return value["name"], configuration
    raise tree.fault(f"array {node.key}: {what} is missing or invalid")


def _sizes(tree: Tree, node: Node, value: object, what: str) -> tuple[int, ...]:
    """Positive whole numbers, at least two (an image has rows and columns)."""
    good = isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
    if not good or not isinstance(value, list) or not 2 <= len(value) <= MAX_DIMENSIONS:
        raise tree.fault(f"array {node.key}: {what} {str(value)[:60]} is no list of 2 to {MAX_DIMENSIONS} sizes")
    if any(not 0 < n <= MAX_SIZE for n in value):
        raise tree.fault(f"array {node.key}: {what} {str(tuple(value))[:100]} is empty, negative or beyond reason")
    return tuple(value)


def _require_chunks(
    tree: Tree, node: Node, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any] | None
) -> None:
    """Chunks have as many dimensions as the array; where they are decoded whole (dtype given), they are of sane size."""
    if len(chunks) != len(shape):
        raise tree.fault(f"array {node.key}: chunks {chunks} do not fit its shape {shape}")
    if dtype is not None and (decoded := math.prod(chunks) * dtype.itemsize) > CHUNK_LIMIT_BYTES:
        raise tree.fault(
            f"array {node.key}: one chunk {chunks} would decode to {decoded / 2**30:.3g} GB, more than "
            f"{CHUNK_LIMIT_BYTES >> 30} GB",
            "save it in smaller chunks",
        )


def _dtype(tree: Tree, node: Node, dtype: np.dtype[Any] | None, told: object) -> np.dtype[Any]:
    if dtype is None or dtype.name not in (*REAL_DTYPES, "float16"):
        name = str(told)[:60] if dtype is None else dtype.name
        raise tree.fault(f"{name} values are not supported", f"save it as one of {', '.join(REAL_DTYPES)}")
    return dtype


def _separator(tree: Tree, node: Node, value: object) -> str:
    if value not in (".", "/"):
        raise tree.fault(f"array {node.key}: {str(value)[:20]!r} is no separator of chunk names")
    return str(value)
