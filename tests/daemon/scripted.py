"""An executor that makes artifacts without any science, so that the engine can be tested in milliseconds.

It stands behind the same port as the real executors, and is itself run through the part of their contract that needs no
processes (see test_scripted.py).
"""

from __future__ import annotations

import hashlib
import json
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alcore.artifact import ArtifactStore
from alcore.run import stage
from alcore.selection.control import is_control
from daemon.executors.port import Finished, Order
from tests.pages import rows_of

Script = Callable[[Order], Finished | dict[str, Any] | None]

NOVELTY = {"max": 0.3, "median": 0.2, "row": 0, "nearest": None, "duplicates": 0}
AGREEMENT = {
    "counts": {
        "n_true": 4,
        "n_predicted": 6,
        "n_matched": 3,
        "true_voxels": 100,
        "predicted_voxels": 80,
        "common_voxels": 60,
    },
    "scores": {"f1": 0.6, "dice": 2 / 3},
}
CONTROL = {"n": 0, "n_gate": 0, "metric": "Dice", "words": "5 more labels are needed"} | dict.fromkeys(
    ("selected", "control", "difference", "low", "high")
)
BOXES = [{"start": [0, 0, 16 * i], "shape": [8, 64, 16]} for i in range(4)]


class ScriptedExecutor:
    """Ends every order at once as `script` says: with a Finished, with an artifact of this result, or (None) not at all."""

    def __init__(self, artifacts: ArtifactStore, script: Script | None = None) -> None:
        self.reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.orders: list[Order] = []
        self.stopped: list[int] = []
        self.can_hold = False
        self.groups = (None,)
        self.held: dict[int, bool] = {}
        self.slots = {False: 100, True: 100}
        self._artifacts = artifacts
        self.script = script or results

    def holds(self, stage: str) -> bool:
        return self.can_hold

    def free(self, long: bool, stage: str) -> bool:
        return self.slots[long] > 0

    def start(self, order: Order) -> None:
        self.orders.append(order)
        said = self.script(order)
        if said is None:
            return
        if isinstance(said, Finished):
            self.reports.put(said)
            return
        self._artifacts.create(
            order.key,
            order.stage,
            stage(order.stage).version,
            order.params,
            order.inputs,
            lambda out: _fill(out, order, said),
        )
        self.reports.put(Finished(order.job_id, order.fence, "done"))

    def stop(self, job_id: int) -> None:
        self.stopped.append(job_id)

    def hold(self, job_id: int, held: bool) -> None:
        self.held[job_id] = held

    def kill(self, job_id: int) -> None:
        self.stop(job_id)

    def shutdown(self, grace_s: float) -> None:
        pass


def volume_result(sha256: str) -> dict[str, Any]:
    """What the stage volume says of a file with one volume of four patches."""
    volume = {
        "info": {"sha256": sha256, "shape": [1, 8, 64, 64], "dtype": "uint8", "voxel_um": None},
        "read": {},
        "part": "",
        "folder": "",
        "patches": BOXES,
        "notes": [],
        "quality": {},
    }
    return {"sha256": sha256, "volumes": [volume], "refused": []}


def results(order: Order) -> dict[str, Any]:
    """A plausible result for every stage."""
    table: dict[str, Callable[[], dict[str, Any]]] = {
        "volume": lambda: volume_result(hashlib.sha256(order.inputs["source"][0].path.read_bytes()).hexdigest()),
        "pseudo": lambda: {"n_objects": 3, "foreground_fraction": 0.1, "backend": "threshold"},
        "traits": lambda: {"n": 4},
        "encoder": lambda: {
            "dim": 8,
            "kind": order.params["kind"],
            "selftest": {"self_retrieval": 1.0, "failures": []},
        },
        "embedding": lambda: {"n": 4, "dim": 8, "flat": []},
        "kept_embedding": lambda: {"n": len(order.params["rows"]), "dim": 8, "flat": []},
        "novelty": lambda: {"novelty": dict.fromkeys(order.params["new"], NOVELTY)},
        "suggestions": lambda: {"suggestions": _picks(order), "qc": [], "duplicates": 0, "notes": []},
        "package": lambda: {},
        "label": lambda: {"n_objects": 2, "foreground_fraction": 0.1, "warnings": []},
        "pretrain": lambda: {"n_cases": 4},
        "finetune": lambda: {"n_cases": 4},
        "evaluate": lambda: evaluation(order, 0.5),
        "predict": lambda: {"n_objects": 5, "foreground_fraction": 0.1},
        "control": lambda: CONTROL,
        "agreement": lambda: AGREEMENT,
        "latent_map": lambda: {"n": 4, "n_fitted": 4, "n_placed": 0, "method": "UMAP"},
        "gate_pictures": lambda: {"patches": []},
        "report": lambda: {"n_patches": 4, "n_pictures": 2, "n_bytes": 9},
    }
    return table[order.stage]()


def evaluation(order: Order, f1: float) -> dict[str, Any]:
    """What the stage evaluate says of a model with this F1, the same on every held-out label."""
    counts = {"n_true": 100, "n_predicted": 100, "n_matched": round(100 * f1), "sum_iou": 60 * f1}
    voxels = {"true_voxels": 1000, "predicted_voxels": 1000, "common_voxels": 500}
    rows = [{"label": i.key, "volume": "v", "counts": counts | voxels} for i in order.inputs["label"]]
    return {"scores": {"f1": f1, "dice": 0.5}, "per_label": rows}


def _picks(order: Order) -> list[dict[str, Any]]:
    covered, share = order.params["covered"], order.params["control_share"]
    labelled = [(key, row) for key, rows in order.params["labelled"].items() for row in rows]
    free = [
        (key, row)
        for key in [known["embedding"] for known in rows_of(order)]
        for row in range(4)
        if row not in covered.get(key, []) and key not in order.params.get("only", {})
    ]
    return [
        {
            "embedding": key,
            "row": row,
            "rank": i,
            "arm": "control" if is_control(order.params["n_before"] + i - 1, share) else "selected",
            "distance": 0.5,
            "reason": "far",
            "nearest": None,
            "neighbours": [{"embedding": k, "row": r, "distance": 0.25} for k, r in labelled[:3]],
            "why": {"minutes": 2.0},
        }
        for i, (key, row) in enumerate(free[: order.params["n"]], start=1)
    ]


def _fill(out: Path, order: Order, result: dict[str, Any]) -> dict[str, Any]:
    for name in ("image.tif", "pseudo_label.tif", "preview.png", "suggestion.json", "label.tif", "instances.tif"):
        (out / name).write_bytes(order.key.encode())
    if order.stage == "package":
        (out / "suggestion.json").write_text(json.dumps(order.params["suggestion"]))
    if order.stage == "truth":
        for label in result["labels"]:
            (out / label["folder"]).mkdir()
            (out / label["folder"] / "label.tif").write_bytes(order.key.encode())
    if order.stage == "report":
        (out / "report.html").write_text(order.key)
        (out / f"{order.params['content']['made'][:4]}.csv").write_text("year")
        (out / "figures").mkdir()
        (out / "figures" / "latent_map.svg").write_text(order.key)
    return result
