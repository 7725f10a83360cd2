"""Stage pretrain: nnU-Net configures itself on the pseudo-labels and learns them: M_p (Zhao et al. 2025)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alcore.stage import Context, Inputs, Params, Stage


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write a model directory trained on pseudo-labelled patches.

    Inputs volume, source and pseudo are aligned. params: read (aligned), patches [{"volume", "start", "shape"}], plan
    ("tiny", "default", "resenc_m", "resenc_l", or {"name", "binning", "memory_gb"}), schedule, seed. Resumes from
    `ctx.scratch`. Raises PermanentError when no pseudo-label holds an object, Preempted after saving.
    """
    from alcore.nnunet import sources, training
    from alcore.nnunet.plan import PlanRequest
    from alcore.nnunet.schedule import Schedule

    cases = sources.pseudo_cases(
        inputs["volume"], inputs["source"], inputs["pseudo"], params["read"], params["patches"]
    )
    schedule, request = Schedule.from_json(params["schedule"]), PlanRequest.from_json(params["plan"])
    designed = training.design(request, cases, ctx)
    mixture = training.Mixture(cases)
    return training.train(designed, mixture, schedule, int(params["seed"]), None, out, ctx, {"kind": "pretrained"})


STAGE = Stage("pretrain", 1, run, long=True, isolated=True, preemptible=True)
