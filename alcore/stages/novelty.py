"""Stage novelty: how far each new volume's patches lie from everything known before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore import pages
from alcore.errors import PermanentError, Preempted
from alcore.stage import Context, Inputs, Params, Stage

if TYPE_CHECKING:
    from alcore.index import PoolIndex

BATCH = 4096
"""Patches looked up together, before asking whether to stop."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write nothing; return {"novelty": {key: {"max", "median", "row", "nearest", "duplicates"}}}.

    Input page (see `alcore.pages`; rows name embedding): the pool of one encoder. params: new [keys among them]. For each new one,
    cosine distances of its patches to the nearest patch of all that are not new, and of the new ones before it in the list: the
    largest, and whose ("row", and its "nearest" {embedding, row}; rows are patches of their volume), the median, and how many are
    near-duplicates of a known patch.
    The very first volume, and one without patches, has null figures. Raises PermanentError for a key that is not there,
    and for embeddings that are damaged or of different lengths.

    Rows that the pool index of the workspace has are read there, in one file: thousands of open files are not allowed.
    """
    from alcore.index import remembered
    from alcore.index.artifact import encoder_of, read_vectors

    items = {row["embedding"]: page for page in inputs["page"] for row in pages.read(page)}
    new = list(dict.fromkeys(str(key) for key in params["new"]))
    missing = [key for key in new if key not in items]
    if missing:
        raise PermanentError(f"novelty: {missing[0]} is not among the embeddings given to this job")
    if not items:
        return {"novelty": {}}
    path_of = lambda key: pages.on_page(items[key], key).path  # noqa: E731
    first, memory = path_of(next(iter(items))), remembered(ctx.cache / "index")
    index, _ = memory.take(ctx.cache / "index", encoder_of(first), read_vectors(first).shape[1], ctx.device)
    fresh = set(new)
    before, indexed, known = [key for key in items if key not in fresh], index.counts, index.only(index.counts)
    memory.keep(index)
    for key in before:
        if key not in indexed:
            known.add(key, read_vectors(path_of(key)))
    known = known.only(before)
    found: dict[str, Any] = {}
    for number, key in enumerate(new):
        ctx.progress(number / len(new), f"{number} of {len(new)} volumes compared with {len(known)} patches")
        rows = read_vectors(path_of(key))
        found[key] = _novelty(known, key, rows, ctx)
        if found[key]["nearest"]:
            found[key]["nearest"] = _patch(path_of, **found[key]["nearest"])
        known.add(key, rows)
    return {"novelty": found}


def _novelty(known: PoolIndex, key: str, rows: Any, ctx: Context) -> dict[str, Any]:
    import numpy as np

    from alcore.index import NEAR_DUPLICATE, check_embeddings

    check_embeddings(key, rows, known.dim)
    if not len(rows) or not len(known):
        return {"max": None, "median": None, "row": None, "nearest": None, "duplicates": 0}
    distances, numbers = [], []
    for begin in range(0, len(rows), BATCH):
        if ctx.should_stop():
            raise Preempted("novelty is measured again")
        products, near = known.nearest(rows[begin : begin + BATCH], 1)
        distances.append(np.maximum(0.0, 1.0 - products[:, 0].astype(np.float64)))
        numbers.append(near[:, 0])
    distance, number = np.concatenate(distances), np.concatenate(numbers)
    row = int(distance.argmax())
    embedding, near_row = known.where(number[row])
    return {
        "max": float(distance[row]),
        "median": float(np.median(distance)),
        "row": row,
        "nearest": {"embedding": embedding, "row": near_row},
        "duplicates": int((distance < NEAR_DUPLICATE).sum()),
    }


def _patch(path_of: Callable[[str], Path], embedding: str, row: int) -> dict[str, Any]:
    """The same place with the patch of the volume that the vector in this row is of."""
    from alcore.index.artifact import patches_of, read_vectors

    path = path_of(embedding)
    return {"embedding": embedding, "row": int(patches_of(path, len(read_vectors(path)))[row])}


STAGE = Stage(name="novelty", version=2, run=run, preemptible=True)
