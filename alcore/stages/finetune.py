"""Stage finetune: the pre-trained model learns from all expert labels so far: M_f (Zhao et al. 2025)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from alcore.kinds import MadeFor
from alcore.stage import Context, Inputs, Params, Stage, one


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write a model directory trained on labels, starting from the model in inputs (none: from scratch).

    Inputs: model (0 or 1), label[], and for rehearsal against forgetting volume[], source[], pseudo[] (aligned) with
    params patches and read. params: schedule, seed, plan (used from scratch; a model to start from must tell objects apart in
    the way it says), mix_share (share of training crops that come from pseudo-labelled patches), min_confidence (of those),
    validation_share (of the labels, held out to say when to stop; see `alcore.nnunet.holdout`). Labels that the model's frozen
    plan does not take (other channels or voxel size) are left out. The result's "data" is the kind of data that the model takes,
    "share" how far it lies from the model to start from (see `alcore.nnunet.blending`). Resumes from `ctx.scratch`. Raises
    PermanentError when there is no label or no label holds an object, Preempted after saving.
    """
    from alcore.errors import PermanentError
    from alcore.nnunet import confidence, holdout, model, sources, training
    from alcore.nnunet.plan import PlanRequest
    from alcore.nnunet.schedule import Schedule

    if not inputs["label"]:
        raise PermanentError("fine-tuning needs at least one label: annotate a suggested patch first")
    share = float(params.get("mix_share", 0.0))
    if not 0 <= share < 1:
        raise PermanentError(f"mix_share must be at least 0 and below 1, got {share}")
    patches: list[Any] = []
    if share and params.get("patches"):
        with contextlib.suppress(PermanentError):  # none is sure enough: then there is nothing to rehearse
            patches, _ = confidence.sure_enough(
                inputs["pseudo"], params["patches"], float(params.get("min_confidence", 0.0))
            )
    start = one(inputs, "model") if inputs.get("model") else None
    request = PlanRequest.from_json(params["plan"]) if start is None or "plan" in params else None
    kinds = [sources.label_kind(item.path) for item in inputs["label"]]
    if start is not None:
        designed = model.load_design(start)
        made_for = designed.made_for
        if request is not None and request.instances != designed.instances:
            raise PermanentError(
                f"the model to start from tells objects apart by {designed.instances}, but training.instances = "
                f'"{request.instances}": `alscope train --replan` makes one that does it so'
            )
    else:
        made_for = MadeFor(max(kinds, key=kinds.count))
    fitting = [item for item, kind in zip(inputs["label"], kinds, strict=True) if made_for.takes(kind)]
    if not fitting:
        raise PermanentError(
            f"no label is of the data that the model was made for ({made_for.kind}), the first is of {kinds[0]}: "
            "`alscope train --replan` makes a model for them"
        )
    labels, held_out = holdout.split(sources.label_cases(fitting), float(params.get("validation_share", 0.0)))
    if start is None:
        assert request is not None
        designed = training.design(request, labels, ctx)
    schedule = Schedule.from_json(params["schedule"])
    volumes, images, found = (inputs.get(name, []) for name in ("volume", "source", "pseudo"))
    pseudo = sources.pseudo_cases(volumes, images, found, params.get("read", []), patches)
    mixture = training.Mixture(labels, pseudo, share if pseudo else 0.0, held_out)
    about = {"kind": "finetuned", "n_labels": len(fitting)}
    result = training.train(designed, mixture, schedule, int(params["seed"]), start, out, ctx, about)
    n_other = len(kinds) - len(fitting)
    if n_other:
        result["notes"].append(f"{n_other} labels of other data than {made_for.kind} were left out")
    if params.get("validation_share") and not held_out:
        result["stop"] = (
            f"trained to the end: {len(fitting)} labels are too few to hold any out that would say when to stop"
        )
    return {**result, "n_other": n_other, "data": designed.made_for.kind.to_json()}


STAGE = Stage("finetune", 5, run, long=True, isolated=True, preemptible=True, checkpoint="checkpoints/latest.pt")
