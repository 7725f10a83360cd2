"""What run.json tells about a run, in sentences, and how much of it was asked for. Anything may be missing in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alcore.errors import PermanentError
from alcore.simulation.arms import Arm, Asked


def read_told(path: Path) -> dict[str, Any]:
    """run.json, {} where there is none. Raises PermanentError for one that is no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise PermanentError(f"{path}: cannot be read ({e}); play the simulation again") from e
    if not isinstance(found, dict):
        raise PermanentError(f"{path}: holds no JSON object; play the simulation again")
    return found


def asked(told: Mapping[str, Any]) -> Asked | None:
    """How many runs and which arms the finished table has; None where run.json does not say."""
    try:
        arms = frozenset(Arm(str(s), int(p)) for s in told["strategies"] for p in told["pretrained"])
        regions = sum(len(pool["regions"]) for pool in told["pools"].values())
        return Asked(str(told["learner"]), len(told["seeds"]) * regions, arms)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def about(told: Mapping[str, Any]) -> str:
    """One line: images, regions, seeds, learner."""
    pools = told.get("pools") or {}
    seeds = told.get("seeds") or []
    parts = [
        f"{name}: {_x(pool['shape'][-3:])} voxels, {pool['n_objects']} objects, patches of {_x(pool['patch_px'])}"
        for name, pool in pools.items()
        if {"shape", "n_objects", "patch_px"} <= set(pool)
    ]
    parts += [f"seeds {min(seeds)} to {max(seeds)}"] if seeds else []
    parts += [f"alscope {told['alscope']}"] if "alscope" in told else []
    return " · ".join(parts)


def concerns(told: Mapping[str, Any]) -> list[str]:
    """What was found wrong with the labels of the pools."""
    return [str(said) for pool in (told.get("pools") or {}).values() for said in pool.get("concerns", ())]


def played(told: Mapping[str, Any]) -> list[str]:
    """How it was played, one sentence each: split, patches, expert, start, scores."""
    settings = told.get("settings") or {}
    expert = settings.get("expert") or {}
    found = [
        "A test region is a slab across the whole image. Patches nearer to it than the gap, at least a patch wide, are not used at "
        "all, so that no voxel next to a test voxel is ever learned from.",
        "Patches of a pool do not overlap: 12.5 % of the patches are 12.5 % of the voxels (their lengths differ by at most "
        "one voxel along an axis). The paper's crops overlap by half along each axis: a voxel lies in up to eight of them, and 12.5 % of "
        "the crops, drawn at random, show 66 % of the voxels (1 - 0.875^8), so that its shares of the labels are not like for like.",
        "Every strategy gets the same pool, seed and learner, and the same number of labels at each step. What a model says of the pool "
        "is used only by strategies that look at it, and always comes from the labels of the step before.",
        "Scores are on the test region alone, objects matched one to one at an IoU above 0.5. Nothing was tuned on it.",
        "The oracle draws by the true foreground of a patch, which nobody has outside of a simulation.",
    ]
    if expert:
        errors = [
            f"{100 * expert.get('missed', 0):g} % of the objects are missed",
            f"{100 * expert.get('label_noise', 0):g} % false ones are drawn beside them",
            f"boundaries are off by {expert.get('boundary_jitter_px', 0):g} voxels (s.d.)",
        ]
        errs = any(expert.get(name) for name in ("missed", "label_noise", "boundary_jitter_px"))
        per_patch, per_object = expert.get("minutes_base", 0), expert.get("minutes_per_object", 0)
        how = ", ".join(errors) if errs else "it draws the truth without an error"
        found.append(
            f"The simulated expert takes {per_patch:g} min for a patch and {per_object:g} min for each object in it; {how}."
        )
    if told.get("left_out"):
        found.append(f"Left out, without a partner in the folder: {', '.join(map(str, told['left_out']))}.")
    for name, pool in (told.get("pools") or {}).items():
        if pool.get("voxel_um", ()) is None:
            found.append(f"{name}: the image states no voxel size; its voxels are taken to be as deep as wide.")
        scores = [s.get("f1") for s in pool.get("pseudo_labels", []) if s.get("f1") is not None]
        if scores:
            mean = sum(scores) / len(scores)
            found.append(
                f"{name}: the pseudo-labels, which pre-training learns from, have an F1 of {mean:.3f} on the test regions."
            )
    return found


def _x(lengths: Any) -> str:
    return " x ".join(str(n) for n in lengths)
