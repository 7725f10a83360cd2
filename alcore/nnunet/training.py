"""Train a model on cases: design it (or take a design over), preprocess what is new, train, write a model directory."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alcore.nnunet import model, room
from alcore.nnunet.binning import MAX_CASES_LOOKED_AT
from alcore.nnunet.case import Case
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.killed import Attempt
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.remedies import DivergedError, Remedies, out_of_memory
from alcore.nnunet.schedule import Schedule
from alcore.nnunet.targets import border_for, with_ignore
from alcore.stage import Context

if TYPE_CHECKING:
    from alcore.nnunet.trainer import Trainer


@dataclass(frozen=True)
class Mixture:
    """What training crops are drawn from: cases, and for a `share` of them rehearsal cases (pseudo-labelled).

    held_out: cases that no crop is drawn from; they say when to stop.
    """

    cases: Sequence[Case]
    rehearsal: Sequence[Case] = ()
    share: float = 0.0
    held_out: Sequence[Case] = ()

    @property
    def all(self) -> list[Case]:
        """Every case once."""
        return [*self.cases, *self.rehearsal, *self.held_out]

    def drawn_ids(self) -> list[str]:
        """Case ids for uniform drawing: repeated so often that the share comes out, to whole repetitions."""
        ids, others = [c.id for c in self.cases], [c.id for c in self.rehearsal]
        if not others or not self.share:
            return ids
        ratio = (1 - self.share) / self.share * len(others) / len(ids)
        return ids * max(1, round(ratio)) + others * max(1, round(1 / ratio))


SPECKS, MOST_SMALL = 0.01, 0.25
"""Shares of the foreground, and of the objects, that objects which are too small to be one may have."""
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
        voxel_um = planning.reference_voxel(cases)
        border = border_for(request.instances, request.border_um, voxel_um, binning)
        dataset = planning.dataset_json(len(image), len(cases), border)
        plans, configuration = planning.make_plan(request, found, dataset)
        return model.Design(request.name, configuration, binning, plans, dataset, found, voxel_um, border=border)


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

    start: a model directory whose complete weights (segmentation heads too) training begins from; None = from scratch. What is
    written lies between those and what training arrived at (see `blending`): as far from the start as held-out labels find
    best, or as the number of cases allows.
    Resumes from `ctx.scratch` after a stop or a kill. Two runs with one seed on a CPU give the same weights, however often
    they were interrupted. Out of memory, it goes on with a smaller batch, also when Linux has killed the attempt before (see
    `killed`); when the loss is no number any more, from the last checkpoint with half the learning rate; both are said in the
    result's notes. Raises Preempted when asked to stop, after saving, DiskFullError before it begins without room,
    PermanentError when no remedy is left.
    """
    began = time.monotonic()
    schedule = schedule.resolved(designed.plan)
    with nnunet_process(ctx.scratch, ctx.device, ctx.threads):
        import torch

        from alcore.nnunet import preprocessing, seeding

        folder, new = preprocessing.prepare(
            mixture.all,
            designed,
            ctx.cache,
            lambda share, note: ctx.progress(PREPARED * share, note),
        )
        prepared_s = time.monotonic() - began
        with seeding.seeded(seed):
            trainer = _through(designed, mixture, schedule, seed, start, folder, ctx)
        loss, dice, ema = (
            float(trainer.logger.get_value(k, step=-1)) for k in ("train_losses", "mean_fg_dice", "ema_fg_dice")
        )
        notes = [*trainer.remedies.notes]
        best = trainer.best
        if best is not None and trainer.over:
            n = len(mixture.held_out)
            notes.append(
                f"stopped after epoch {trainer.current_epoch} of {schedule.epochs}: {n} held-out labels say that it was best "
                f"after epoch {best['epoch']}"
            )
        result = {
            "n_cases": len(mixture.all),
            "n_held_out": len(mixture.held_out),
            "n_preprocessed": len(new),
            "epochs": trainer.current_epoch,
            "best_epoch": best["epoch"] if best is not None else None,
            "loss": round(loss, 5),
            "dice": round(best["dice"] if best is not None else dice, 5),
            "ema_dice": round(ema, 5),
            "batch": trainer.batch_size,
            "notes": notes,
            "prepare_s": round(prepared_s, 2),
            "train_s": round(time.monotonic() - began - prepared_s, 2),
        }
        weights, share = _blended(trainer, start, len(mixture.cases))
        kept = {} if share is None else {"share": round(share, 3)}
        result |= kept
        about = {**about, **kept, "schedule": schedule.to_json(), "seed": seed}
        about |= {"min_voxels": _least_voxels([*mixture.cases, *mixture.held_out], start, share)}
        model.save(out, designed, weights, ctx.scratch / model.LOG, about)
        del trainer
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return {**result, "plan": designed.summary()}


def _blended(trainer: Trainer, start: Path | None, n: int) -> tuple[Mapping[str, Any], float | None]:
    """The weights to keep, and how far they lie on the way from `start` to what training arrived at; None without a start."""
    from alcore.nnunet import blending

    new = {name: w.detach().clone() for name, w in trainer.network.state_dict().items()}
    if start is None:
        return new, None
    old, held_out = model.load_weights(start), trainer.held_out
    if held_out is None:
        share = blending.share_of(n)
        return blending.between(old, new, share), share

    def score(weights: dict[str, Any]) -> float:
        trainer.network.load_state_dict(weights)
        return held_out.dice(trainer.network, trainer.device)

    share, _ = blending.best_share(old, new, score)
    return blending.between(old, new, share), share


def _through(
    designed: model.Design,
    mixture: Mixture,
    schedule: Schedule,
    seed: int,
    start: Path | None,
    folder: Path,
    ctx: Context,
) -> Trainer:
    """A trainer that has reached the end, with as many remedies as it takes."""
    import torch

    from alcore.nnunet.trainer import Trainer

    dataset = with_ignore(designed.dataset, any(case.seen is not None for case in mixture.all))
    remedies, attempt = Remedies.load(ctx.scratch), Attempt(ctx.scratch)
    fatal = attempt.fatal_batch()
    if fatal is not None and fatal > 1:  # with a single crop it can only be tried again
        remedies = remedies.smaller(fatal, "the attempt before was killed")
        remedies.save(ctx.scratch)
        attempt.passed()  # this is not to be said twice
    log = ctx.scratch / model.LOG
    while True:
        plans = copy.deepcopy(dict(designed.plans)) | {"continue_training": False}
        plan = plans["configurations"][designed.configuration]
        plan["batch_size"] = remedies.batch or schedule.batch or plan["batch_size"]
        if ctx.device == "cuda":
            remedies = _fitted(remedies, int(plan["batch_size"]), designed)
            plan["batch_size"] = remedies.batch or plan["batch_size"]
        trainer = Trainer(plans, designed.configuration, "all", dataset, torch.device(ctx.device))
        try:
            trainer.configure(folder, mixture.drawn_ids(), schedule, seed, remedies, ctx, log, (PREPARED, 1.0))
            if mixture.held_out:
                trainer.hold_out(folder, [case.id for case in mixture.held_out])
            trainer.check_disk()
            if start is not None:
                trainer.network.load_state_dict(model.load_weights(start))
            done = trainer.resume()
            rows = log.read_text().splitlines(keepends=True) if log.exists() else []
            log.write_text("".join(rows[:done]))
            trainer.run_training()
            return trainer
        except DivergedError as e:
            remedies = remedies.gentler(e)
        except (RuntimeError, MemoryError) as e:
            if not out_of_memory(e):
                raise
            remedies = remedies.smaller(int(plan["batch_size"]), str(e).splitlines()[0])
        # outside of the handlers, which hold on to what the failed step had in memory
        remedies.save(ctx.scratch)
        ctx.progress(PREPARED, remedies.notes[-1])
        del trainer
        gc.collect()
        if ctx.device == "cuda":
            torch.cuda.empty_cache()


def _fitted(remedies: Remedies, batch: int, designed: model.Design) -> Remedies:
    """With a batch for which the GPU has room now. Raises TransientError where it has none for a single crop."""
    import torch

    from alcore.nnunet.planning import PLANNERS

    _, memory_gb = PLANNERS[designed.plan]
    planned = memory_gb * 2**30 * batch / designed.plans["configurations"][designed.configuration]["batch_size"]
    free, _ = torch.cuda.mem_get_info()
    fits = room.batch_for_gpu(batch, planned, free)
    if fits >= batch:
        return remedies
    note = f"batch of {fits}: the GPU has {free / 2**30:.1f} GiB free, {batch} crops take {planned / 2**30:.1f} GiB"
    return replace(remedies, batch=fits, notes=(*remedies.notes, note))


def _least_voxels(cases: Sequence[Case], start: Path | None, share: float | None) -> int:
    """Of an object that the model finds: as far from what its start said as its weights are. Few labels hold few objects."""
    own = smallest_object_voxels(cases)
    if start is None or share is None:
        return own
    return round((1 - share) * model.load_design(start).min_voxels + share * own)


def smallest_object_voxels(cases: Sequence[Case]) -> int:
    """Fewest voxels a predicted object should have, from the objects in the cases, cut ones included.

    All smaller ones together hold `SPECKS` of the foreground, and are no more than `MOST_SMALL` of the objects: networks leave
    many specks, whose number, unlike their volume, ruins every score of objects. 0 where the cases hold no object.
    """
    sizes: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    for case in cases[:: -(-len(cases) // MAX_CASES_LOOKED_AT)]:
        _, labels = case.load()
        sizes.append(np.unique(labels[labels > 0], return_counts=True)[1].astype(np.int64))
    found = np.sort(np.concatenate(sizes))
    if not found.size:
        return 0
    below = np.cumsum(found) - found  # voxels of all objects before each
    by_volume = int(np.searchsorted(below, SPECKS * found.sum(), side="right")) - 1
    return int(found[min(by_volume, int(MOST_SMALL * len(found)))])
