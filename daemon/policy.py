"""The rules of the house, as pure functions: priorities, defaults for the device, when a round opens."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from daemon.clock import Window
from daemon.config import Encoder, Settings
from daemon.config_training import Schedule
from daemon.machine import LONGEST_WAIT_S

PRIORITY: Mapping[str, int] = {
    # what an annotator waits for
    "label": 95,
    "truth": 92,
    "package": 90,
    "suggestions": 85,
    # new volumes
    "volume": 80,
    "descriptor": 78,
    "embedding": 75,
    "novelty": 74,  # the sample may still be on the stage
    "traits": 72,
    "pseudo": 70,
    "sam_embedding": 68,
    "mae": 65,
    "backlog": 60,
    "agreement": 52,
    # results
    "evaluate": 50,
    "latent_map": 46,
    "gate_pictures": 45,
    "report": 44,
    "predict": 40,
    # training
    "finetune": 35,
    "pretrain": 30,
    # what there may be ten thousand of: no round waits for that
    "predict_old": 28,
    "repredict": 26,
    "control": 20,
}
"""descriptor and mae are the two kinds of encoders. predict is of volumes that came since the model is in use, predict_old of those
that were there before and that no model has segmented, repredict of those that another model has segmented."""

ENCODER_DEFAULTS: Mapping[str, Mapping[str, float | str]] = {
    "cpu": {
        "size": "micro",
        "epochs": 10,
        "warmup_epochs": 1,
        "image_px": 64,
        "batch": 8,
        "max_slices": 1024,
        "base_lr": 0.064,
    },
    "cuda": {
        "size": "tiny",
        "epochs": 400,
        "warmup_epochs": 40,
        "image_px": 224,
        "batch": 256,
        "max_slices": 20000,
        "base_lr": 1e-3,
    },
}
"""base_lr is for a batch of 256 (He et al. 2022). Zhao et al. 2025 train 400 epochs with 40 of warm-up at 1e-3 on a GPU; the
CPU row is what serves within a minute or two: small images, small batches, a rate per image that is high in return."""

DESCRIPTOR_STEP_PX = 4
"""The side of a descriptor's images is a whole multiple of this, at least two (see `alcore.stages.encoder`)."""

SCHEDULE_DEFAULTS: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("tiny", "pretrain"): {"epochs": 12, "iterations": 25, "lr": 3e-3},
    ("tiny", "finetune"): {"epochs": 20, "iterations": 25, "lr": 2e-3},
    ("default", "pretrain"): {"epochs": 200, "iterations": 250, "lr": 1e-2},
    ("default", "finetune"): {"epochs": 50, "iterations": 100, "lr": 1e-3},
}


def digest(*parts: Any) -> str:
    """A short name for a set of parameters: equal parts, equal name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def encoder_kind(encoder: Encoder, device: str) -> str:
    """The kind of encoder that is to select in the end: "mae" or "descriptor".

    What an autoencoder learns on a CPU in minutes was not better than the descriptor on any pool that was measured
    (docs/decisions/0006): unless config.toml names its size, it is trained on a GPU only.
    """
    if encoder.size == "auto":
        return "mae" if device == "cuda" else "descriptor"
    return "descriptor" if encoder.size == "descriptor" else "mae"


def idle_encoder_settings(encoder: Encoder, device: str) -> list[str]:
    """Keys of config.toml that were set and act on an autoencoder only, where none is trained."""
    if encoder_kind(encoder, device) != "descriptor":
        return []
    names = ("pretrained", "epochs", "batch", "base_lr", "accumulate", "mask_ratio", "weight_decay")
    usual = {name: field.default for name, field in type(encoder).model_fields.items()}
    return [f"encoder.{name}" for name in names if getattr(encoder, name) != usual[name]]


def encoder_params(encoder: Encoder, kind: str, device: str, seed: int) -> dict[str, Any]:
    """Parameters of the `encoder` stage for a kind, "descriptor" or "mae": what config.toml says, else what suits the device."""
    # a descriptor computes on the processor wherever it is, and more pixels were not better
    params: dict[str, Any] = dict(ENCODER_DEFAULTS["cpu" if kind == "descriptor" else device])
    for name in ("epochs", "image_px", "batch", "max_slices", "base_lr"):
        if getattr(encoder, name):
            params[name] = getattr(encoder, name)
    if kind == "descriptor":
        px = max(2, int(params["image_px"]) // DESCRIPTOR_STEP_PX) * DESCRIPTOR_STEP_PX
        return {
            "kind": kind,
            "image_px": px,
            "max_slices": params["max_slices"],
            "pooling": encoder.pooling,
            "seed": seed,
        }
    if encoder.size not in ("auto", "descriptor"):
        params["size"] = encoder.size
    if encoder.epochs:
        params["warmup_epochs"] = min(max(1, encoder.epochs // 10), encoder.epochs - 1)
    return params | {
        "kind": kind,
        "mask_ratio": encoder.mask_ratio,
        "weight_decay": encoder.weight_decay,
        "pooling": encoder.pooling,
        "pretrained": encoder.pretrained,
        "accumulate": encoder.accumulate,
        "seed": seed,
    }


def design(params: Mapping[str, Any]) -> str:
    """Name of how an encoder was made, from the parameters of its job: the same on any pool."""
    return digest({name: value for name, value in params.items() if name != "read"})


def plan_name(settings: Settings, device: str) -> str:
    """nnU-Net's own plan on a GPU, the tiny one on a CPU, unless config.toml says otherwise."""
    if settings.training.plan != "auto":
        return settings.training.plan
    return "default" if device == "cuda" else "tiny"


def plan_request(settings: Settings, device: str) -> str | dict[str, str | float]:
    """What a training is asked to plan: see `alcore.nnunet.plan.PlanRequest`. Only what was set, so that keys stay stable."""
    name, training = plan_name(settings, device), settings.training
    if training.instances == "components":
        return name
    return {"name": name, "instances": training.instances, "border_um": training.border_um}


def schedule(chosen: Schedule, plan: str, what: str) -> dict[str, float | int]:
    """Length and learning rate of a training: what config.toml says, else what suits the plan."""
    usual = SCHEDULE_DEFAULTS[(plan, what)]
    return {
        "epochs": chosen.epochs or int(usual["epochs"]),
        "iterations": chosen.iterations or int(usual["iterations"]),
        "lr": chosen.lr or usual["lr"],
    }


def wants_encoder(n_patches: int, n_arriving: int, newest: int | None, encoder: Encoder) -> bool:
    """Train an encoder when enough patches exist and nothing is just arriving; again when the pool has grown enough.

    newest: patches in the pool when the newest encoder was trained, or None. A stream of arrivals that never pauses
    holds the training up only until four times the smallest pool is there.
    """
    if n_patches < encoder.min_patches or (n_arriving and n_patches < 4 * encoder.min_patches):
        return False
    return newest is None or n_patches >= newest * encoder.retrain_growth


LEAST_KNOWN = 8
"""Volumes whose novelty has to be known before one can be called unusual."""
MOST_USUAL = 50
"""What is usual is asked of at most so many volumes, the latest before it."""
FAR = 5.0
"""Robust standard deviations beyond the median that are (as in `alcore.arrays.drift`)."""
NOVELTY_FLOOR = 0.02
"""Spread, in cosine distance, below which volumes do not differ however alike those before were."""


def novelty_alarm(median: float | None, usual: Sequence[float]) -> str:
    """Words for a volume that is unlike all before it; "" for one like others.

    median: of the distances of its patches to the nearest patch known before; usual: that of the volumes before it. Far is
    beyond their median by 5 times 1.4826 times the median absolute deviation, which counts as 0.02 at least.
    """
    if median is None or len(usual) < LEAST_KNOWN:
        return ""
    middle = statistics.median(usual)
    limit = middle + FAR * max(1.4826 * statistics.median(abs(u - middle) for u in usual), NOVELTY_FLOOR)
    if median <= limit:
        return ""
    return (
        f"unlike everything before it: half of its patches lie farther than {median:.2f} from any known one (cosine distance; "
        f"usually {middle:.2f}, worth a word beyond {limit:.2f}); is it another specimen, stain or setting?"
    )


def suggestions_to_ask(waiting: int, depth: int, free: int) -> int:
    """How many patches to queue now: refill to the full depth once half of it has been answered, never churn."""
    if waiting > depth // 2:
        return 0
    return min(depth - waiting, free)


def backoff_s(attempts: int) -> float:
    """Seconds to wait before the next try of a job that failed for a passing reason."""
    return float(min(LONGEST_WAIT_S, 2.0 * 4 ** max(0, attempts - 1)))


def round_again_s(failures: int) -> float:
    """Seconds to wait before a round is tried again, after so many failures of rounds with no round between that ended well."""
    return float(min(86400.0, 3600.0 * 2 ** min(10, max(0, failures - 1))))


TRAINING = ("pretrain", "finetune", "encoder")
"""Stages that `training.window` speaks of, where they are long: a descriptor is made in seconds."""


def may_start(stage: str, long: bool, hours: Window | None, now: float, zone: tzinfo | None = None) -> bool:
    """May a job of this stage run now? hours: of training, None = always. zone: None = the machine's."""
    return hours is None or not long or stage not in TRAINING or hours.holds(now, zone)


def is_heavy(long: bool, priority: int) -> bool:
    """Does a job give way to the microscope? Short ones do not, nor those that a person waits for."""
    return long and priority < PRIORITY["suggestions"]


def to_preempt(
    running: Sequence[tuple[int, int, str]], wanted_priority: int, preemptible: Mapping[str, bool]
) -> int | None:
    """Which running job gives way to work of this priority: (job id, priority, stage) -> the least urgent preemptible one."""
    candidates = [(p, j) for j, p, s in running if preemptible[s] and p < wanted_priority]
    return min(candidates)[1] if candidates else None
