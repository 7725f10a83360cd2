"""What ought to lie before the expert: suggestions, their folders, and the checks of what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alcore.pages import STAGE as PAGE
from alcore.pages import paged
from alcore.stage import Input
from daemon.effort import Effort
from daemon.planner.base import Recipes
from daemon.policy import PRIORITY, digest
from daemon.store.rows import Neighbour, PoolVolume, ReceivedRow, SuggestionRow, VolumeRow, Wanted
from daemon.store.selection import PoolSize, by_key

LEVEL_GROWTH = 1.25
"""Waiting suggestions are looked at again when the pool, or the number of answers, has grown by this factor."""


@dataclass(frozen=True)
class Said:
    """What people taught the choice besides labels. effort: minutes that a patch takes them. avoid, nothing: rows by volume id of
    patches skipped as broken, as holding nothing.
    held: of patches held back because they look broken. waiting: of suggestions to be compared with the pool. level: its name. queue:
    (volume id, row) of the strategy's suggestions that nobody has begun, the next one first."""

    effort: Effort
    avoid: Mapping[int, Sequence[int]]
    nothing: Mapping[int, Sequence[int]]
    held: Mapping[int, Sequence[int]]
    level: str
    waiting: Mapping[int, Sequence[int]] = field(default_factory=dict)
    queue: Sequence[tuple[int, int]] = ()


class SelectionRecipes(Recipes):
    """From the embedded pool to the label that came back."""

    def suggestions(
        self,
        pool: Sequence[PoolVolume],
        covered: Mapping[int, Sequence[int]],
        labelled: Mapping[int, Sequence[int]],
        n: int,
        n_before: int,
        n_gated: int,
        spec: str,
        said: Said,
    ) -> Wanted:
        """The queue ought to be full: `n` more patches of the pool. Or, where `said.waiting` names suggestions that nobody has
        begun: they ought to be compared with what would be chosen now.

        covered, labelled: rows by volume id. n_before: suggestions ever made. n_gated: labels behind the promoted model,
        0 if it never passed the gate. Of a volume that cannot be read only what is covered takes part.
        """
        pool = [v for v in pool if v.readable or covered.get(v.id)]
        known = {v.id: v for v in pool}
        covered_keys = by_key(covered, pool)
        pages = paged([(v.id, v.page_row) for v in pool])
        return Wanted(
            stage="suggestions",
            subject=f"pool:{len(pool)}:{sum(len(rows) for rows in covered_keys.values())}",
            inputs={PAGE: [self.artifact(key) for key in pages]},
            params=self._strategy()
            | {
                "n": n,
                "covered": covered_keys,
                "labelled": by_key(labelled, pool),
                "held": by_key(said.held, [v for v in pool if v.readable]),
                "n_before": n_before,
                "n_gated": n_gated,
                "minutes": {"base": said.effort.base, "per_object": said.effort.per_object},
                "avoid": by_key(said.avoid, pool),
                "nothing": by_key(said.nothing, pool),
                "waiting": by_key(said.waiting, pool),
                "level": said.level,
                "queue": [[known[v].embedding, row] for v, row in said.queue if v in known and known[v].has(row)],
                "only": by_key(covered, [v for v in pool if not v.readable]),
            },
            priority=PRIORITY["suggestions"],
            spec=spec,
            pages=pages,
        )

    def _strategy(self) -> dict[str, Any]:
        selection = self.settings.selection
        return {
            "strategy": selection.strategy,
            "initial": selection.initial_seeds,
            "seed": self.settings.run.seed,
            "control_share": selection.control_share,
            "volume_share": selection.volume_share,
            "minutes": {"base": selection.minutes_base, "per_object": selection.minutes_per_object},
        }

    def suggestions_spec(self, embedding: str, size: PoolSize, n: int) -> str:
        """Name of choosing `n` patches from such a pool as config.toml says. embedding: the spec of the embeddings."""
        pool = [size.volumes, size.patches, size.covered, size.ids]
        return self.spec("suggestions", embedding, pool, n, self._strategy())

    def level(self, embedding: str, predict: str, n_embedded: int, n_answered: int, n_avoid: int) -> str:
        """Name of what suggestions are compared with: the encoder, the promoted model (its spec of predictions), the size of the
        pool and the number of answers in steps of `LEVEL_GROWTH`, and how many patches were skipped as broken."""
        return digest(embedding, predict, _step(n_embedded), _step(n_answered), n_avoid, self._strategy())

    def package(
        self, suggestion: SuggestionRow, volume: VolumeRow, pseudo: str | None, neighbours: Sequence[Neighbour]
    ) -> Wanted:
        """A suggestion ought to have a folder with everything that the expert needs, the labelled patches most like it among
        it."""
        shown = [n for n in neighbours if n.package]
        return Wanted(
            stage="package",
            subject=f"suggestion:{suggestion.id}",
            inputs={
                "volume": [self.artifact(volume.artifact)],
                "source": [self.source(volume)],
                "pseudo": [self.artifact(pseudo)] if pseudo else [],
                "neighbour": [self.artifact(n.package) for n in shown if n.package],
            },
            params={
                "read": dict(volume.read),
                "box": suggestion.patch.box.to_json(),
                "margin": list(self.settings.annotation.margin_px),
                "suggestion": {
                    "id": suggestion.id,
                    "distance": suggestion.distance,
                    "reason": suggestion.reason,
                    "volume_name": volume.name,
                    "arm": suggestion.arm,
                    "why": dict(suggestion.why),
                },
                "neighbours": [
                    {
                        "suggestion": n.suggestion,
                        "volume_name": n.volume_name,
                        "box": n.box.to_json(),
                        "distance": n.distance,
                    }
                    for n in shown
                ],
            },
            priority=PRIORITY["package"],
            spec="",
            volume_id=volume.id,
        )

    def label(self, received: ReceivedRow, volume_artifact: str, package: str | None) -> Wanted:
        """A label file that somebody saved ought to be checked. package: what was shown, or an earlier label of the patch."""
        seen = received.seen
        return Wanted(
            stage="label",
            subject=f"received:{received.id}",
            inputs={
                "file": [Input(self.workspace / received.file, f"sha256:{received.sha256}")],
                "seen": [Input(self.workspace / seen.file, f"sha256:{seen.sha256}")] if seen is not None else [],
                "package": [self.artifact(package)] if package else [],
                "volume": [self.artifact(volume_artifact)],
            },
            params={
                "suggestion": received.suggestion.id,
                "box": received.suggestion.patch.box.to_json(),
                "confirm_empty": received.confirm_empty,
                "seen": received.note.get("seen"),
                "not_looked_at": self.settings.annotation.not_looked_at,
                "received": received.id,
            },
            priority=PRIORITY["label"],
            spec="",
        )


def _step(n: int) -> int:
    """The same for numbers that differ by less than `LEVEL_GROWTH`."""
    return math.floor(math.log(n, LEVEL_GROWTH)) if n > 0 else -1
