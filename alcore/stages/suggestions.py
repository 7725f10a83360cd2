"""Stage suggestions: which patches to annotate next, and which look broken."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import PermanentError
from alcore.stage import Context, Inputs, Params, Stage

if TYPE_CHECKING:
    from alcore.selection import Choice, Request, Selection
    from alcore.selection.assemble import Assembled, Memory

_kept: dict[Path, Memory] = {}
"""What this process remembers between jobs, by the cache folder of the workspace."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write suggestions.json and return the same.

    Inputs: page (see `alcore.pages`; rows name embedding, which may be a kept_embedding, volume, and traits and prediction of some).
    params: strategy, n, covered {embedding key: [rows]} (ever suggested: never again), labelled {embedding key: [rows]} (accepted),
    held {embedding key: [rows]} (held back because they looked broken), initial (random seeds of the core-set), seed,
    control_share, n_before (suggestions ever made), volume_share, minutes {"base", "per_object"}, n_gated (labels behind the model of
    the predictions), avoid and nothing {embedding key: [rows]} (skipped as broken, as holding nothing), only {embedding key: [rows]}
    (of volumes that cannot be read any more: no other patch of theirs can be suggested), waiting {embedding key: [rows]} (of the covered:
    suggestions to be compared with what would be chosen now; then n does not count), queue [[embedding key, row]] (of the
    covered: suggestions of the strategy that nobody has begun, the next one first; default none).

    Returns pool, indexed, eligible (counts), suggestions in rank order [{embedding, row, rank, arm, distance (cosine, to the
    nearest covered or earlier pick), reason, nearest, neighbours (at most 3 nearest labelled), why}], qc [{embedding, row,
    reason, score}], duplicates, notes, judged ({embedding: [rows]}: those of `held` of which qc tells whether they look broken, or which
    cannot be chosen anyway), taken_back [{embedding, row, reason}] (of those that wait; the suggestions are what
    takes their place), order [{embedding, row, distance, nearest}] (the queue and the new suggestions of the strategy, the next
    one first, what is taken back last; see `alcore.selection.in_order`). Fewer than n come back when the pool runs out; `notes`
    says so. Raises PermanentError for embeddings that are damaged or of different encoders, rows that do not exist, and params that
    mean nothing.
    """
    from alcore.index import remembered
    from alcore.selection import choose, reconsider
    from alcore.selection.assemble import Memory, assemble

    if not inputs["page"]:
        return _write(out, _told(None, None, [], {}))
    memory = _kept.setdefault(ctx.cache, Memory(remembered(ctx.cache / "index")))
    assembled = assemble(inputs["page"], params.get("only", {}), ctx, memory)
    ctx.progress(0.5, f"{assembled.indexed} embeddings indexed")
    request = _request(params, assembled)
    waiting = assembled.positions(params.get("waiting", {}), "waiting")
    taken_back = []
    try:
        if len(waiting):
            found = reconsider(assembled.pool, request, waiting, str(params["strategy"]))
            selection, choices = found.selection, found.instead
            taken_back = [{**_place(assembled, position), "reason": why} for position, why in found.taken_back]
        else:
            selection = choose(assembled.pool, request, str(params["strategy"]))
            choices = selection.choices
    except ValueError as e:
        raise PermanentError(f"suggestions: {e}") from e
    ctx.progress(1.0, f"{len(choices)} patches chosen")
    suggestions = [_suggestion(rank, choice, assembled, request) for rank, choice in enumerate(choices, start=1)]
    order = _order(params, assembled, request, choices, [(str(t["embedding"]), int(t["row"])) for t in taken_back])
    told = _told(assembled, selection, suggestions, params.get("held", {}))
    return _write(out, told | {"taken_back": taken_back, "order": order})


def _order(
    params: Params, assembled: Assembled, request: Request, choices: Sequence[Choice], gone: Sequence[tuple[str, int]]
) -> list[dict[str, Any]]:
    """The queue as it is to stand, see `run`."""
    import numpy as np

    from alcore.selection import in_order

    queue = [(str(key), int(row)) for key, row in params.get("queue", ())]
    waits = [int(assembled.positions({key: [row]}, "queue")[0]) for key, row in queue if (key, row) not in gone]
    waits += [int(choice.position) for choice in choices if choice.arm == "selected"]
    standing = [int(assembled.positions({key: [row]}, "queue")[0]) for key, row in queue]
    others = np.setdiff1d(request.covered, standing).astype(np.int64)
    found = [
        {
            **_place(assembled, q.position),
            "distance": q.distance,
            "nearest": None if q.nearest is None else _place(assembled, q.nearest),
        }
        for q in in_order(assembled.pool, request, waits, others, str(params["strategy"]))
    ]
    return [*found, *({"embedding": key, "row": row, "distance": None, "nearest": None} for key, row in gone)]


def _request(params: Params, assembled: Assembled) -> Request:
    from alcore.selection import Request

    minutes = params.get("minutes") or {}
    covered = assembled.positions(params["covered"], "covered")
    labelled = assembled.positions(params.get("labelled", {}), "labelled")
    figures = {
        "control_share": float(params.get("control_share", 0.0)),
        "volume_share": float(params.get("volume_share", 1.0)),
        "minutes_base": float(minutes.get("base", 1.0)),
        "minutes_per_object": float(minutes.get("per_object", 0.0)),
    }
    for name, figure in figures.items():
        if not math.isfinite(figure) or figure < 0:
            raise PermanentError(f"suggestions: {name} is {figure}; it has to be a number of at least 0")
    return Request(
        n=int(params["n"]),
        covered=covered,
        labelled=labelled,
        seed=int(params["seed"]),
        initial=int(params.get("initial", 3)),
        n_before=int(params.get("n_before", 0)),
        n_gated=int(params.get("n_gated", 0)),
        avoid=assembled.positions(params.get("avoid", {}), "avoid"),
        nothing=assembled.positions(params.get("nothing", {}), "nothing"),
        **figures,
    )


def _suggestion(rank: int, choice: Choice, assembled: Assembled, request: Request) -> dict[str, Any]:
    from alcore.selection.batch import nearest_labelled

    neighbours = nearest_labelled(assembled.pool, choice.position, request.labelled)
    return {
        **_place(assembled, choice.position),
        "rank": rank,
        "arm": choice.arm,
        "distance": None if choice.distance is None else max(0.0, choice.distance),
        "reason": choice.reason,
        "nearest": None if choice.nearest is None else _place(assembled, choice.nearest),
        "neighbours": [{**_place(assembled, position), "distance": distance} for position, distance in neighbours],
        "why": {name: round(value, 6) for name, value in choice.why.items() if math.isfinite(value)},
    }


def _place(assembled: Assembled, position: int) -> dict[str, Any]:
    key, row = assembled.place(position)
    return {"embedding": key, "row": row}


def _told(
    assembled: Assembled | None,
    selection: Selection | None,
    suggestions: list[dict[str, Any]],
    held: Mapping[str, Sequence[int]],
) -> dict[str, Any]:
    if assembled is None or selection is None:
        return {
            "pool": 0,
            "indexed": 0,
            "eligible": 0,
            "suggestions": [],
            "qc": [],
            "duplicates": 0,
            "notes": ["no volume is embedded yet"],
            "judged": {},
            "taken_back": [],
            "order": [],
        }
    return {
        "pool": len(assembled.pool),
        "indexed": assembled.indexed,
        "eligible": selection.eligible,
        "suggestions": suggestions,
        "qc": [
            {**_place(assembled, flaw.position), "reason": flaw.reason, "score": round(flaw.score, 4)}
            for flaw in selection.qc
        ],
        "duplicates": selection.duplicates,
        "notes": [*assembled.notes, *selection.notes],
        "judged": _judged(assembled, selection, held),
    }


def _judged(assembled: Assembled, selection: Selection, held: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Of these patches those that were looked at."""
    import numpy as np

    found: dict[str, list[int]] = {}
    positions = assembled.positions(held, "held")
    looked_at = selection.looked_at
    for position in positions if looked_at is None else positions[np.isin(positions, looked_at)]:
        key, row = assembled.place(int(position))
        found.setdefault(key, []).append(row)
    return found


def _write(out: Path, result: dict[str, Any]) -> dict[str, Any]:
    (out / "suggestions.json").write_text(json.dumps(result))
    return result


STAGE = Stage(name="suggestions", version=8, run=run)
