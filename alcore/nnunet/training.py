"""Train a model on cases: design it (or take a design over), preprocess what is new, train, write a model directory."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.nnunet import model
from alcore.nnunet.binning import MAX_CASES_LOOKED_AT
from alcore.nnunet.case import Case
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.schedule import Schedule
from alcore.stage import Context


@dataclass(frozen=True)
class Mixture:
    """What training crops are drawn from: cases, and for a `share` of them rehearsal cases (pseudo-labelled)."""

    cases: Sequence[Case]
    rehearsal: Sequence[Case] = ()
    share: float = 0.0

    @property
    def all(self) -> list[Case]:
        """Every case once."""
        return [*self.cases, *self.rehearsal]

    def drawn_ids(self) -> list[str]:
        """Case ids for uniform drawing: repeated so often that the share comes out, to whole repetitions."""
        ids, others = [c.id for c in self.cases], [c.id for c in self.rehearsal]
        if not others or not self.share:
            return ids
        ratio = (1 - self.share) / self.share * len(others) / len(ids)
        return ids * max(1, round(ratio)) + others * max(1, round(1 / ratio))


PREPARED = 0.1
"""Share of the progress bar for planning and preprocessing."""


def design(request: PlanRequest, cases: Sequence[Case], ctx: Context) -> model.Design:
    """Fingerprint and plan from the cases. Raises PermanentError when no case holds an object."""
    with nnunet_process(ctx.scratch, ctx.device, ctx.threads, planning=True):
        from alcore.nnunet import planning

        ctx.progress(0.0, "reading the training patches")
        binning = planning.choose_binning(request, cases)
        found = planning.fingerprint(cases, binning)
        image, _ = cases[0].load()
        dataset = planning.dataset_json(len(image), len(cases))
        plans, configuration = planning.make_plan(request, found, dataset)
        return model.Design(
            request.name, configuration, binning, plans, dataset, found, planning.reference_voxel(cases)
        )


def train(
    designed: model.Design,
    mixture: Mixture,
    schedule: Schedule,
    seed: int,
    start: Path | None,
    out: Path,
    ctx: Context,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Train on the cases and write a model directory into `out`; returns loss, Dice, epochs and seconds.

    start: a model directory whose complete weights (segmentation heads too) training begins from; None = from scratch.
    Resumes from `ctx.scratch` after a stop or a kill. Two runs with one seed on a CPU give the same weights.
    Raises Preempted when asked to stop, after saving.
    """
    began = time.monotonic()
    schedule = schedule.resolved(designed.plan)
    log = ctx.scratch / model.LOG
    with nnunet_process(ctx.scratch, ctx.device, ctx.threads):
        import torch

        from alcore.nnunet import preprocessing, seeding
        from alcore.nnunet.trainer import Trainer

        folder, new = preprocessing.prepare(
            mixture.all,
            designed,
            ctx.cache,
            lambda share, note: ctx.progress(PREPARED * share, note),
        )
        prepared_s = time.monotonic() - began
        with seeding.seeded(seed):
            plans = copy.deepcopy(dict(designed.plans)) | {"continue_training": False}
            if schedule.batch is not None:
                plans["configurations"][designed.configuration]["batch_size"] = schedule.batch
            trainer = Trainer(plans, designed.configuration, "all", dict(designed.dataset), torch.device(ctx.device))
            trainer.configure(folder, mixture.drawn_ids(), schedule, ctx, log, (PREPARED, 1.0))
            if start is not None:
                trainer.network.load_state_dict(model.load_weights(start))
            done = trainer.resume()
            rows = log.read_text().splitlines(keepends=True) if log.exists() else []
            log.write_text("".join(rows[:done]))
            seeding.reseed(seed + done)  # a resumed run must not draw the crops of its beginning again
            trainer.run_training()
        loss, dice, ema = (
            float(trainer.logger.get_value(k, step=-1)) for k in ("train_losses", "mean_fg_dice", "ema_fg_dice")
        )
        result = {
            "n_cases": len(mixture.all),
            "n_preprocessed": len(new),
            "epochs": schedule.epochs,
            "loss": round(loss, 5),
            "dice": round(dice, 5),
            "ema_dice": round(ema, 5),
            "prepare_s": round(prepared_s, 2),
            "train_s": round(time.monotonic() - began - prepared_s, 2),
        }
        weights = trainer.network.state_dict()
        about = {**about, "schedule": schedule.to_json(), "seed": seed}
        model.save(out, designed, weights, log, {**about, "min_voxels": smallest_object_voxels(mixture.cases)})
        del trainer
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return {**result, "plan": designed.summary()}


def smallest_object_voxels(cases: Sequence[Case]) -> int:
    """Fewest voxels a predicted object should have: the 10th percentile of the objects in the cases, cut ones included.

    Most smaller ones are specks, and less than a tenth of the objects is lost. 0 where the cases hold no object.
    """
    sizes: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    for case in cases[:: -(-len(cases) // MAX_CASES_LOOKED_AT)]:
        _, labels = case.load()
        sizes.append(np.unique(labels[labels > 0], return_counts=True)[1].astype(np.int64))
    all_sizes = np.concatenate(sizes)
    return int(np.percentile(all_sizes, 10)) if all_sizes.size else 0
