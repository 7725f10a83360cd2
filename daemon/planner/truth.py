"""What ought to become of the mask of a whole volume that somebody brought."""

from __future__ import annotations

import json
from collections.abc import Sequence

from alcore.fileset import Fingerprint
from alcore.stage import Input
from daemon.planner.base import Recipes
from daemon.policy import PRIORITY, digest
from daemon.store.rows import PatchRow, VolumeRow, Wanted, path_of
from daemon.store.truth import TruthRow


class TruthRecipes(Recipes):
    """From the mask of a whole volume to the labels of its patches."""

    def truth(self, truth: TruthRow, volume: VolumeRow, patches: Sequence[PatchRow], pseudo: str | None) -> Wanted:
        """A mask ought to be cut into the patches of its volume. pseudo: the pseudo-labels to compare it with, if any."""
        fingerprint = Fingerprint.from_json(json.loads(truth.fingerprint))
        return Wanted(
            stage="truth",
            subject=f"truth:{truth.id}",
            inputs={
                "truth": [Input(path_of(truth.path), f"file:{digest(fingerprint.content)}", fingerprint.content)],
                "volume": [self.artifact(volume.artifact)],
                "source": [self.source(volume)],
                "pseudo": [self.artifact(pseudo)] if pseudo else [],
            },
            params={
                "read": dict(volume.read),
                "patches": [{"row": p.row, **p.box.to_json()} for p in patches],
                "skip_empty": bool(truth.options["skip_empty"]),
                "not_looked_at": self.settings.annotation.not_looked_at,
                "limit_gb": self.settings.run.max_volume_gb,
            },
            priority=PRIORITY["truth"],
            spec="",
        )
