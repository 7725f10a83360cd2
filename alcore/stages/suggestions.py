"""Stage suggestions: which patches to annotate next, by greedy core-set over the pool of embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import PermanentError
from alcore.stage import Context, Input, Inputs, Params, Stage
from alcore.types import PoolPosition

if TYPE_CHECKING:
    from alcore.arrays.coreset import Pick
    from alcore.index import PoolIndex


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write suggestions.json and return the same: pool, indexed, suggestions in rank order, notes.

    params: covered {embedding key: [rows]} (labelled, queued or skipped: never suggested again), n, initial (random
    seeds while nothing is covered, 3 unless given), seed. Fewer than n come back when the pool runs out.
    Raises PermanentError for embeddings that are damaged or of different encoders, and for covered rows that do not
    exist.
    """
    import numpy as np

    from alcore.arrays.coreset import farthest_first

    embeddings = {item.key: item for item in inputs["embedding"]}
    if not embeddings:
        return _write(out, {"pool": 0, "indexed": 0, "suggestions": [], "notes": []})
    index, notes = _indexed(list(embeddings.values()), ctx)
    ctx.progress(0.6, f"{len(index)} embeddings indexed")

    places = [(key, row) for key in embeddings for row in range(index.counts[key])]
    position = {place: PoolPosition(i) for i, place in enumerate(places)}
    covered = _covered(params["covered"], position)
    pool = index.vectors(embeddings)
    picks = farthest_first(
        pool,
        int(params["n"]),
        covered,
        np.random.default_rng(int(params["seed"])),
        initial=int(params.get("initial", 3)),
        similarity=index.nearest_of(pool, covered) if covered else None,
    )
    ranks = {pick.position: rank for rank, pick in enumerate(picks, start=1)}
    n_random = sum(pick.random for pick in picks)
    suggestions = []
    for rank, pick in enumerate(picks, start=1):
        key, row = places[pick.position]
        nearest = None if pick.nearest is None else places[pick.nearest]
        suggestions.append(
            {
                "embedding": key,
                "row": row,
                "rank": rank,
                "distance": None if pick.distance is None else max(0.0, pick.distance),
                "reason": _reason(pick, rank, n_random, ranks),
                "nearest": None if nearest is None else {"embedding": nearest[0], "row": nearest[1]},
            }
        )
    return _write(out, {"pool": len(pool), "indexed": len(index), "suggestions": suggestions, "notes": notes})


def _write(out: Path, result: dict[str, Any]) -> dict[str, Any]:
    (out / "suggestions.json").write_text(json.dumps(result, indent=1))
    return result


def _indexed(embeddings: list[Input], ctx: Context) -> tuple[PoolIndex, list[str]]:
    """The cached index of their encoder, brought up to date with exactly these artifacts, and notes for people."""
    from alcore.index import PoolIndex

    encoder = _encoder(embeddings)
    directory = ctx.cache / "index"
    index, note = PoolIndex.load(directory, encoder, _rows(embeddings[0]).shape[1], ctx.device)
    notes = [note] if note else []
    before = index.counts
    wanted = {item.key for item in embeddings}
    for key in before:
        if key not in wanted:
            index.remove(key)
    for i, item in enumerate(embeddings):
        if item.key not in before:
            index.add(item.key, _rows(item))
            ctx.progress(0.5 * i / len(embeddings), "indexing embeddings")
    if index.counts != before:
        try:
            index.save(directory)
        except OSError as e:  # only a cache: the answer does not depend on it
            notes.append(f"the pool index could not be saved and will be built again ({e})")
    return index, notes


def _encoder(embeddings: list[Input]) -> str:
    """Key of the one encoder that made all of these."""
    from alcore.artifact import read_manifest

    encoders = {item.key: read_manifest(item.path).inputs["encoder"][0] for item in embeddings}
    if len(set(encoders.values())) > 1:
        found = ", ".join(f"{key} by {encoder}" for key, encoder in encoders.items())
        raise PermanentError(f"embeddings of different encoders cannot be compared: {found}")
    return next(iter(encoders.values()))


def _rows(item: Input) -> Any:
    """embeddings.npy of an embedding artifact, not yet checked for its values."""
    import numpy as np

    path = item.path / "embeddings.npy"
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as e:
        raise PermanentError(f"{path}: not a readable array ({e}); remove the artifact and it is made again") from e
    if rows.ndim != 2:
        raise PermanentError(f"{path}: has shape {rows.shape}, not (N, D); remove the artifact and it is made again")
    return rows


def _covered(covered: Any, position: dict[tuple[str, int], PoolPosition]) -> list[PoolPosition]:
    """Pool positions of the covered rows."""
    places = [(str(key), int(row)) for key, rows in covered.items() for row in rows]
    unknown = [place for place in places if place not in position]
    if unknown:
        key, row = unknown[0]
        raise PermanentError(f"covered row {row} of embedding {key} is not among the embeddings given to this job")
    return [position[place] for place in places]


def _reason(pick: Pick, rank: int, n_random: int, ranks: dict[PoolPosition, int]) -> str:
    """Why this patch, in words."""
    if pick.random:
        return f"random seed {rank} of {n_random} (nothing is labelled yet)"
    if pick.nearest in ranks:
        which = f"its nearest one, number {ranks[pick.nearest]} of these suggestions"
    else:
        which = "its nearest labelled or queued patch"
    return f"farthest from everything labelled or queued: cosine distance {pick.distance:.3f} to {which}"


STAGE = Stage(name="suggestions", version=1, run=run)
