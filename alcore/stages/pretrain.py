"""Stage pretrain: nnU-Net configures itself on the pseudo-labels and learns them: M_p (Zhao et al. 2025)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alcore.stage import Context, Inputs, Params, Stage


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write a model directory trained on pseudo-labelled patches.

    Inputs volume, source and pseudo are aligned. params: read (aligned), patches [{"volume", "start", "shape"}], plan
    ("tiny", "default", "resenc_m", "resenc_l", or {"name", "binning", "memory_gb"}), schedule, seed, min_confidence (patches
    that are less sure are left out; 0 = none). The result's "data" is the kind of data that the plan, frozen here, takes.
    Resumes from `ctx.scratch`. Raises PermanentError when no pseudo-label holds an object or is sure enough, Preempted after
    saving.
    """
    from alcore.nnunet import confidence, sources, training
    from alcore.nnunet.plan import PlanRequest
    from alcore.nnunet.schedule import Schedule

    pseudo = inputs["pseudo"]
    patches, n_unsure = confidence.sure_enough(pseudo, params["patches"], float(params.get("min_confidence", 0.0)))
    cases = sources.pseudo_cases(inputs["volume"], inputs["source"], pseudo, params["read"], patches)
    schedule, request = Schedule.from_json(params["schedule"]), PlanRequest.from_json(params["plan"])
    designed = training.design(request, cases, ctx)
    about = {"kind": "pretrained"}
    mixture = training.Mixture(cases)
    result = training.train(designed, mixture, schedule, int(params["seed"]), None, out, ctx, about)
    if n_unsure:
        result["notes"].append(f"{n_unsure} pseudo-labelled patches were left out: not sure enough")
    return {**result, "n_unsure": n_unsure, "data": designed.made_for.kind.to_json()}


STAGE = Stage("pretrain", 4, run, long=True, isolated=True, preemptible=True, checkpoint="checkpoints/latest.pt")
