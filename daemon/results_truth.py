"""What the cutting of a whole mask changes in the store: a label for every patch that has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from alcore.arrays.splits import Assigned, Placed, assign_role
from alcore.types import Box
from daemon.results_selection import Failure, SelectionResults
from daemon.store.rows import JobRow
from daemon.wording import count
from daemon.workspace import Workspace


class TruthResults(SelectionResults):
    """Applies results of the stage truth. What people drew or work on is left alone, unless they said otherwise."""

    def _truth_done(self, job: JobRow, result: Mapping[str, Any], now: float) -> None:
        truth = self.store.truth.get(int(job.subject.split(":")[1]))
        if truth is None:
            return
        boxes = {p.row: p.box for p in self.store.volumes.patches(truth.volume_id)}
        placed, told = list(self.store.models.placed()), Counter[str]()
        for label in result["labels"]:
            row = int(label["row"])
            case = f"{job.key}/{label['folder']}"
            suggestion, current = self.store.truth.standing(truth.volume_id, row)
            if current == case:
                told["imported before"] += 1
            elif current is not None and not truth.options["replace"]:
                told["labelled already, left as they are (--replace)"] += 1
            elif suggestion is not None and suggestion.state in ("claimed", "submitted"):
                told["being worked on, left alone"] += 1
            elif (role := self._role(placed, str(truth.volume_id), boxes[row])) is None:
                told["left out: between training and held-out patches"] += 1
            else:
                made = self.store.truth.bring(truth, suggestion, case, self._file(case), label, role.role, now)
                self.store.models.set_role_reason(made, role.reason)
                told[f"{role.role} accepted"] += 1
        told.update(f"left out: {patch['why']}" for patch in result["skipped"])
        words = _words(told)
        self.store.truth.ended(truth.id, "done", words)
        name = self.store.volumes.name(truth.volume_id)
        self.store.state.event("label", f"labels imported for {name}: {words}", now)

    def _file(self, case: str) -> str:
        """Where the label of one patch lies, relative to the workspace."""
        workspace = Workspace(self.settings.workspace)
        return str((workspace.artifacts.path(case) / "label.tif").relative_to(workspace.root))

    def _role(self, placed: list[Placed], volume: str, box: Box) -> Assigned | None:
        """The role of one more label, which is put among those placed; None where it could have none."""
        training = self.settings.training
        try:
            found = assign_role(placed, volume, box, gate_share=training.gate_share, gate_max=training.gate_max_patches)
        except ValueError:
            return None
        if not any(name == volume and other == box for name, other, _ in placed):
            placed.append((volume, box, found.role))
        return found

    def _truth_failed(self, job: JobRow, failure: Failure, now: float) -> None:
        truth = self.store.truth.get(int(job.subject.split(":")[1]))
        if truth is not None:
            self.store.truth.ended(truth.id, "failed", failure.error)


def _words(told: Counter[str]) -> str:
    """What became of the patches, the labels first."""
    train, gate = told.pop("train accepted", 0), told.pop("gate accepted", 0)
    made = f"{count(train + gate, 'label')} accepted ({train} for training, {gate} held out)"
    return "; ".join([made, *(f"{count(n, 'patch', 'patches')} {why}" for why, n in sorted(told.items()))])
