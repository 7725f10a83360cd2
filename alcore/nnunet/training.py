"""Train a model on cases: design it (or take a design over), preprocess what is new, train, write a model directory."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alcore.nnunet import model
from alcore.nnunet.case import Case
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.schedule import Schedule
from alcore.stage import Context

PREPARED = 0.1
"""Share of the progress bar for planning and preprocessing."""


def design(plan: str, cases: Sequence[Case], ctx: Context) -> model.Design:
    """Fingerprint and plan from the cases. Raises PermanentError without any object or for an unknown plan."""
    with nnunet_process(ctx.scratch, ctx.device, ctx.threads, planning=True):
        from alcore.nnunet import planning

        ctx.progress(0.0, "reading the training patches")
        binning = planning.choose_binning(plan, cases)
        found = planning.fingerprint(cases, binning)
        image, _ = cases[0].load()
        dataset = planning.dataset_json(len(image), len(cases))
        plans, configuration = planning.make_plan(plan, found, dataset)
        return model.Design(plan, configuration, binning, plans, dataset, found)


def train(
    designed: model.Design,
    cases: Sequence[Case],
    schedule: Schedule,
    seed: int,
    start: Path | None,
    out: Path,
    ctx: Context,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Train on all cases and write a model directory into `out`; returns loss, Dice, epochs and seconds.

    start: a model directory whose complete weights (segmentation heads too) training begins from; None = from scratch.
    Resumes from `ctx.scratch` after a stop or a kill. Two runs with one seed on a CPU give the same weights.
    Raises Preempted when asked to stop, after saving.
    """
    began = time.monotonic()
    log = ctx.scratch / model.LOG
    with nnunet_process(ctx.scratch, ctx.device, ctx.threads):
        import torch

        from alcore.nnunet import preprocessing, seeding
        from alcore.nnunet.trainer import Trainer

        folder, new = preprocessing.prepare(
            cases,
            designed.plans,
            designed.configuration,
            designed.binning,
            designed.dataset,
            ctx.cache,
            lambda share, note: ctx.progress(PREPARED * share, note),
        )
        prepared_s = time.monotonic() - began
        with seeding.seeded(seed):
            plans = copy.deepcopy(dict(designed.plans)) | {"continue_training": False}
            if schedule.batch is not None:
                plans["configurations"][designed.configuration]["batch_size"] = schedule.batch
            trainer = Trainer(plans, designed.configuration, "all", dict(designed.dataset), torch.device(ctx.device))
            trainer.configure(folder, [case.id for case in cases], schedule, ctx, log, (PREPARED, 1.0))
            if start is not None:
                trainer.network.load_state_dict(model.load_weights(start))
            if trainer.resume() == 0:
                log.unlink(missing_ok=True)
            else:
                _truncate(log, trainer.current_epoch)
            trainer.run_training()
        loss, dice, ema = (
            float(trainer.logger.get_value(k, step=-1)) for k in ("train_losses", "mean_fg_dice", "ema_fg_dice")
        )
        result = {
            "n_cases": len(cases),
            "n_preprocessed": len(new),
            "epochs": schedule.epochs,
            "loss": round(loss, 5),
            "dice": round(dice, 5),
            "ema_dice": round(ema, 5),
            "prepare_s": round(prepared_s, 2),
            "train_s": round(time.monotonic() - began - prepared_s, 2),
        }
        weights = trainer.network.state_dict()
        model.save(out, designed, weights, log, {**about, "schedule": schedule.to_json(), "seed": seed})
        del trainer
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return {**result, "plan": designed.summary()}


def _truncate(log: Path, epochs: int) -> None:
    """Drop rows of epochs that were trained after the checkpoint was saved and are trained again now."""
    if log.exists():
        log.write_text("".join(line + "\n" for line in log.read_text().splitlines()[:epochs]))
