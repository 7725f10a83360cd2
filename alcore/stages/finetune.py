"""Stage finetune: the pre-trained model learns from all expert labels so far: M_f (Zhao et al. 2025)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alcore.stage import Context, Inputs, Params, Stage, one


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write a model directory trained on labels, starting from the model in inputs (none: from scratch).

    Inputs: model (0 or 1), label[], and for rehearsal against forgetting volume[], source[], pseudo[] (aligned) with
    params patches and read. params: schedule, seed, plan (used from scratch only), mix_share (share of training crops
    that come from pseudo-labelled patches). Resumes from `ctx.scratch`. Raises PermanentError when there is no label or
    no label holds an object, Preempted after saving.
    """
    from alcore.errors import PermanentError
    from alcore.nnunet import model, sources, training
    from alcore.nnunet.plan import PlanRequest
    from alcore.nnunet.schedule import Schedule

    labels = sources.label_cases(inputs["label"])
    if not labels:
        raise PermanentError("fine-tuning needs at least one label: annotate a suggested patch first")
    pseudo = sources.pseudo_cases(
        inputs.get("volume", []),
        inputs.get("source", []),
        inputs.get("pseudo", []),
        params.get("read", []),
        params.get("patches", []),
    )
    share = float(params.get("mix_share", 0.0)) if pseudo else 0.0
    if not 0 <= share < 1:
        raise PermanentError(f"mix_share must be at least 0 and below 1, got {share}")
    schedule = Schedule.from_json(params["schedule"])
    if inputs.get("model"):
        start = one(inputs, "model")
        designed = model.load_design(start)
    else:
        start = None
        designed = training.design(PlanRequest.from_json(params["plan"]), labels, ctx)
    about = {"kind": "finetuned", "n_labels": len(labels)}
    mixture = training.Mixture(labels, pseudo if share else [], share)
    return training.train(designed, mixture, schedule, int(params["seed"]), start, out, ctx, about)


STAGE = Stage("finetune", 1, run, long=True, isolated=True, preemptible=True)
