"""Stage novelty: how far each new volume's patches lie from everything known before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alcore.errors import PermanentError, Preempted
from alcore.stage import Context, Inputs, Params, Stage

NEAR_DUPLICATE = 1e-3
"""Cosine distance below which two patches show the same."""
BLOCK = 1024


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write nothing; return {"novelty": {key: {"max", "median", "row", "nearest", "duplicates"}}}.

    Input embedding: the pool of one encoder. params: new, keys among them. The known patches are those of all other
    embeddings, and of the new ones earlier in the list; figures are None for the first volume ever. Raises PermanentError for
    a key that is not there and for embeddings of different lengths.
    """
    import numpy as np

    rows = {item.key: np.load(item.path / "embeddings.npy", allow_pickle=False) for item in inputs["embedding"]}
    new = [str(key) for key in params["new"]]
    unknown = [key for key in new if key not in rows]
    if unknown:
        raise PermanentError(f"novelty: {unknown[0]} is not among the embeddings given to this job")
    if len({r.shape[1] for r in rows.values()}) > 1:
        raise PermanentError("novelty: embeddings of different lengths cannot be compared")
    known = [key for key in rows if key not in set(new)]
    places = [(key, row) for key in [*known, *new] for row in range(len(rows[key]))]
    pool = np.concatenate([rows[key] for key in [*known, *new]])
    end = sum(len(rows[key]) for key in known)
    found: dict[str, Any] = {}
    for number, key in enumerate(new):
        if ctx.should_stop():
            raise Preempted("it is measured again")
        ctx.progress(number / len(new), f"{number} of {len(new)} volumes")
        best, at = np.full(len(rows[key]), -np.inf, np.float32), np.zeros(len(rows[key]), np.int64)
        for begin in range(0, end, BLOCK):
            similarity = rows[key] @ pool[begin : min(end, begin + BLOCK)].T
            near = similarity.argmax(axis=1)
            value = similarity[np.arange(len(near)), near]
            better = value > best
            best[better], at[better] = value[better], near[better] + begin
        found[key] = dict.fromkeys(("max", "median", "row", "nearest")) | {"duplicates": 0}
        if end:
            distance = np.maximum(0.0, 1.0 - best.astype(np.float64))
            row = int(distance.argmax())
            near_key, near_row = places[int(at[row])]
            found[key] = {
                "max": float(distance[row]),
                "median": float(np.median(distance)),
                "row": row,
                "nearest": {"embedding": near_key, "row": near_row},
                "duplicates": int((distance < NEAR_DUPLICATE).sum()),
            }
        end += len(rows[key])
    return {"novelty": found}


STAGE = Stage("novelty", 1, run, preemptible=True)
