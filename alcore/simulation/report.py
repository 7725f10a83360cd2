"""The files of a run: results.csv, picks.csv, latent.npz and run.json, made from the cells, and made anew whenever more are there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alcore.artifact import write_atomic
from alcore.simulation import cell as cells
from alcore.simulation.cell import Cell, Curve, Played
from alcore.simulation.pool import LabelledPool
from alcore.types import Box

if TYPE_CHECKING:
    from alcore.simulation.game import Game
    from alcore.simulation.worker import Run

COLUMNS = (
    "pool",
    "split",
    "seed",
    "strategy",
    "pretrained",
    "learner",
    "n_labels",
    "n_pool",
    "label_fraction",
    "f1",
    "accuracy",
    "panoptic_quality",
    "precision",
    "recall",
    "ap75",
    "dice",
    "minutes",
    "n_selected_objects",
    "seconds",
    "radius",
    "distance",
    "foreground",
)
"""Of results.csv, one line for each cell; "none" and "all" in place of a strategy serve every one. pretrained: 0 or 1.
label_fraction: of the voxels of the pool. Scores are at IoU 0.5 on the test region. minutes: of the simulated expert. See
`cell.Played` for the others; empty where nothing is known."""
PICKS = ("pool", "split", "seed", "strategy", "pretrained", "learner", "order", "patch", "z", "y", "x", "minutes")
"""Of picks.csv, one line for each labelled patch of the longest curve that chooses. order: from 1. patch: row of latent.npz.
z, y, x: its first voxel."""


def write(out: Path, games: Sequence[Game], played: Sequence[Curve], told: Mapping[str, Any]) -> int:
    """Write the four files from what is there of these curves; returns the rows of results.csv. told: see `about`."""
    rows, picks = [], []
    by_name = {game.pool.pair.name: game for game in games}
    for curve in played:
        game = by_name[curve.first.pool]
        found = [p for cell in curve.cells if (p := cells.read(cell, game.folder)) is not None]
        rows += [_row(p) for p in found]
        if found and curve.first.strategy not in (cells.NONE, cells.ALL):
            picks += _picks(found[-1], game.pool.boxes)
    write_atomic(out / "results.csv", _csv(COLUMNS, rows))
    write_atomic(out / "picks.csv", _csv(PICKS, picks))
    _latent(out / "latent.npz", [game.pool for game in games])
    write_atomic(out / "run.json", (json.dumps(told, indent=1, allow_nan=False) + "\n").encode())
    return len(rows)


def about(run: Run, games: Sequence[Game]) -> dict[str, Any]:
    """What run.json says: settings, seeds, versions, digests of the inputs, where test regions lie, and how good the pseudo-labels
    are there."""
    import alcore

    pools = {}
    for game in games:
        pool = game.pool
        pools[pool.pair.name] = {
            "image": {"name": pool.pair.image.name, "key": pool.source.key},
            "labels": {"name": pool.pair.labels.name, "key": pool.labels.key},
            "shape": list(pool.info.shape),
            "voxel_um": pool.info.voxel_um,
            "patch_px": list(pool.patch_px),
            "n_pool": pool.size,
            "n_objects": int(pool.truth.max()),
            "foreground": float((pool.truth > 0).mean()),
            "regions": [split.region.to_json() for split in pool.splits],
            "concerns": pool.concerns,
            "pseudo_labels": [scores.to_json() for scores in game.pseudo_scores],
            "cells": game.folder.name,
        }
    return {
        "alscope": alcore.__version__,
        "versions": games[0].pool.versions(run.learner),
        "settings": run.settings.to_json(),
        "strategies": list(run.strategies),
        "pretrained": [int(start) for start in run.starts],
        "seeds": list(run.seeds),
        "learner": run.learner,
        "device": run.device,
        "left_out": list(run.left_out),
        "pools": pools,
    }


def _who(cell: Cell) -> dict[str, Any]:
    return {
        "pool": cell.pool,
        "split": cell.split,
        "seed": cell.seed,
        "strategy": cell.strategy,
        "pretrained": int(cell.pretrained),
        "learner": cell.learner,
    }


def _row(played: Played) -> dict[str, Any]:
    scores = played.scores
    return {
        **_who(played.cell),
        "n_labels": len(played.picks),
        "n_pool": played.n_pool,
        "label_fraction": played.label_fraction,
        "f1": scores.f1,
        "accuracy": scores.accuracy,
        "panoptic_quality": scores.panoptic,
        "precision": scores.precision,
        "recall": scores.recall,
        "ap75": scores.ap75,
        "dice": scores.dice,
        "minutes": played.minutes,
        "n_selected_objects": played.n_selected_objects,
        "seconds": played.seconds,
        "radius": played.radius,
        "distance": played.distance,
        "foreground": played.foreground,
    }


def _picks(played: Played, boxes: Sequence[Box]) -> list[dict[str, Any]]:
    rows = []
    for order, (patch, minutes) in enumerate(zip(played.picks, played.pick_minutes, strict=True), 1):
        z, y, x = boxes[patch].start
        rows.append({**_who(played.cell), "order": order, "patch": patch, "z": z, "y": y, "x": x, "minutes": minutes})
    return rows


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _latent(path: Path, pools: Sequence[LabelledPool]) -> None:
    """For pool number i of `pools` (names): embeddings_i (N, D) unit vectors, start_i and shape_i (N, 3) voxels of every patch,
    foreground_i (N,) its true share; region_i (splits, 2, 3) start and shape of the test regions."""
    arrays: dict[str, Any] = {"pools": np.array([pool.pair.name for pool in pools])}
    for i, pool in enumerate(pools):
        start, shape = pool.places(np.arange(len(pool.boxes)))
        regions = [(split.region.start, split.region.shape) for split in pool.splits]
        arrays |= {
            f"embeddings_{i}": pool.embeddings,
            f"start_{i}": start,
            f"shape_{i}": shape,
            f"foreground_{i}": pool.true_traits["foreground"],
            f"region_{i}": np.array(regions, np.int64),
        }
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_atomic(path, file.getvalue())
