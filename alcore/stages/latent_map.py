"""Stage latent_map: where every patch of the pool lies in two dimensions (UMAP, as in Fig. 4 of Zhao et al. 2025).

Maps of a growing pool stay readable: patches that an earlier map knows keep their places, new ones are put among the known
patches most like them, and the projection is computed anew only when the pool has outgrown it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import PermanentError, Preempted
from alcore.stage import Context, Input, Inputs, Params, Stage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

OUTGROWN = 1.5
"""A pool so many times larger than what its map was computed of gets a new one."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write map.npz: keys (K,) of the embeddings, and of N patches: xy (N, 2) float32, of (N,) which embedding, row (N,) which patch
    of its volume, start and shape (N, 3) z, y, x.

    Inputs: embedding (of one encoder), volume (aligned), before (none or one earlier map of that encoder). params: seed. Returns
    n, n_fitted (patches that the projection was computed for), n_placed (put among them since), method (in words). The same
    inputs give the same map. Raises PermanentError for embeddings that are damaged or of different lengths.
    """
    import numpy as np

    from alcore.index import check_embeddings
    from alcore.index.artifact import patches_of, read_vectors
    from alcore.latent import project
    from alcore.selection.artifacts import read_boxes

    def stop() -> None:
        if ctx.should_stop():
            raise Preempted("the map is made again")

    items, volumes = inputs["embedding"], inputs["volume"]
    if len(items) != len(volumes):
        raise PermanentError(f"{len(items)} embeddings came with {len(volumes)} volumes: each needs its own")
    parts = [read_vectors(item.path) for item in items]
    for item, part in zip(items, parts, strict=True):
        check_embeddings(item.key, part, parts[0].shape[1])
    rows = [patches_of(item.path, len(part)) for item, part in zip(items, parts, strict=True)]
    boxes = [read_boxes(volume.path)[row] for volume, row in zip(volumes, rows, strict=True)]
    vectors = np.concatenate([np.empty((0, parts[0].shape[1] if parts else 1), np.float32), *parts])
    ctx.progress(0.05, f"{len(vectors)} embeddings read")
    found = _continued(inputs.get("before", []), items, rows, vectors, ctx)
    if found is None:
        ctx.progress(0.1, f"projecting {len(vectors)} patches")
        made = project(vectors, int(params["seed"]), ctx.device, stop)
        found = made.xy, {"n_fitted": len(vectors), "n_placed": 0, "method": made.method}
    xy, told = found
    box = np.concatenate([np.empty((0, 2, 3), np.int64), *boxes])
    np.savez(
        out / "map.npz",
        keys=np.array([item.key for item in items], dtype=np.str_),
        xy=xy,
        of=np.repeat(np.arange(len(items)), [len(part) for part in parts]).astype(np.int32),
        row=np.concatenate([np.empty(0, np.int64), *rows]),
        start=box[:, 0],
        shape=box[:, 1],
    )
    return {"n": len(xy), **told}


def _continued(
    before: Sequence[Input],
    items: Sequence[Input],
    rows: Sequence[npt.NDArray[np.int64]],
    vectors: npt.NDArray[np.float32],
    ctx: Context,
) -> tuple[npt.NDArray[np.float32], dict[str, Any]] | None:
    """The earlier map with the new patches put into it; None where there is none, or the pool has outgrown it."""
    import numpy as np

    from alcore.artifact import read_manifest
    from alcore.latent import among

    if not before:
        return None
    told = read_manifest(before[0].path).result
    n_fitted = int(told["n_fitted"])
    xy = _kept_places(before[0].path / "map.npz", items, rows)
    new = np.isnan(xy[:, 0])
    if len(xy) > OUTGROWN * n_fitted or 2 * new.sum() > len(xy):
        return None

    def stop() -> None:
        if ctx.should_stop():
            raise Preempted("the map is made again")

    if new.any():
        ctx.progress(0.2, f"placing {new.sum()} new patches")
        xy[new] = among(vectors[~new], xy[~new], vectors[new], ctx.device, stop)
    return xy, {"n_fitted": n_fitted, "n_placed": int(new.sum()), "method": str(told["method"])}


def _kept_places(path: Path, items: Sequence[Input], rows: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
    """(N, 2) where the patches lay in a map, NaN for those that it does not know."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            keys, of, row, places = (stored[name] for name in ("keys", "of", "row", "xy"))
    except (OSError, ValueError, KeyError, EOFError) as e:
        raise PermanentError(f"{path}: not a readable map ({e}); remove the artifact and it is made again") from e
    ends = np.searchsorted(of, np.arange(len(keys) + 1))
    spans = {str(key): (int(ends[i]), int(ends[i + 1])) for i, key in enumerate(keys)}
    found = []
    for item, patches in zip(items, rows, strict=True):
        first, end = spans.get(item.key, (0, 0))
        at = np.searchsorted(row[first:end], patches)
        known = at < end - first
        known[known] = row[first:end][at[known]] == patches[known]
        xy = np.full((len(patches), 2), np.nan, np.float32)
        xy[known] = places[first:end][at[known]]
        found.append(xy)
    return np.concatenate([np.empty((0, 2), np.float32), *found])


STAGE = Stage("latent_map", 1, run, long=True, isolated=True, preemptible=True)
