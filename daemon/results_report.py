"""What a finished report changes in the store: little; it is remembered that it was made, and not what of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.results_truth import TruthResults
from daemon.store.rows import JobRow
from daemon.wording import count


class ReportResults(TruthResults):
    """Applies results of the stages latent_map and report."""

    def _latent_map_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        self.store.jobs.forget(job.id)

    def _report_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        self.store.jobs.forget(job.id)
        text = f"a report of {count(int(result['n_patches']), 'patch', 'patches')} is written: report/report.html"
        self.store.state.event("report", text, now)
