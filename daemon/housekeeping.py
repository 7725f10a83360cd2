"""Removes what can be made again and nobody needs: checkpoints of trainings that are over, prepared patches that none uses."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from daemon.caches import CASE, remove_case
from daemon.retention import expired_between, unused_cases
from daemon.store.store import Store
from daemon.workspace import Workspace

CASES_EVERY_S = 3600.0


@dataclass
class Housekeeping:
    """The hands of `daemon.retention`; the artifacts, and with them every model, are out of their reach. Called by the engine."""

    store: Store
    workspace: Workspace
    keep_days: float
    jobs_seen: float = 0.0
    cases_seen: float = 0.0

    def run(self, now: float) -> int:
        """Remove what is due; returns how many jobs' scratch and prepared patches."""
        n = self._scratch(now)
        if now - self.cases_seen >= CASES_EVERY_S and not self.store.training.is_training():
            n += self._cases(now)
            self.cases_seen = now
        return n

    def _scratch(self, now: float) -> int:
        n = 0
        ended = self.store.training.ended(expired_between(self.jobs_seen, now, self.keep_days))
        there = set(os.listdir(self.workspace.places.jobs)) if ended else set()  # of all jobs ever, at the first look
        for job_id in ended:
            if self.workspace.places.job(job_id).name not in there:
                continue
            scratch = self.workspace.places.job(job_id) / "scratch"
            if scratch.is_dir():
                shutil.rmtree(scratch, ignore_errors=True)
                n += 1
        self.jobs_seen = now
        return n

    def _cases(self, now: float) -> int:
        n = 0
        for folder in (self.workspace.places.cache / "nnunet").glob("cases-*"):
            used = {p.name: p.stat().st_mtime for p in folder.glob(f"*{CASE}") if not p.name.endswith("_seg.b2nd")}
            for name in unused_cases(used, now, self.keep_days):
                remove_case(folder, name.removesuffix(CASE))
                n += 1
            if not any(folder.iterdir()):
                folder.rmdir()
        for half_made in (self.workspace.places.cache / "nnunet").glob(".cases-*"):  # by a worker that was killed
            shutil.rmtree(half_made, ignore_errors=True)
        return n
