"""Who pseudo-labels the volumes that come now: what config.toml says, or what "auto" chooses by what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from alcore.pseudo.choice import Choice, Measured, Situation, choose
from daemon.config import Settings
from daemon.pseudo_choice import device_of, labeler, situation
from daemon.store.rows import Labeler
from daemon.store.store import Store


@dataclass
class PseudoPlans:
    """Looks at the scores again when there are new ones or another model was promoted; a choice holds for the volumes that
    have no pseudo-labels yet (decision 0008)."""

    store: Store
    settings: Settings
    _chosen: Choice | None = field(default=None, init=False)
    _seen: tuple[str, int] | None = field(default=None, init=False)

    def labeler(self, now: float) -> Labeler:
        """How a volume without pseudo-labels is labelled. A new choice of "auto" is recorded, with the reason."""
        pseudo = self.settings.pseudo
        if pseudo.backend != "auto":
            self.store.state.pseudo_choice(None, "", now)
            return Labeler(pseudo.backend, pseudo.options_of(pseudo.backend))
        promoted = self.store.learning.promoted()
        level = (promoted.version if promoted else "", self.store.learning.n_evaluations())
        if self._chosen is None or level != self._seen:
            self._chosen, self._seen = choose(self._situation(level[0])), level
            name = self._chosen.weights if self._chosen.backend == "nnunet" else self._chosen.backend
            self.store.state.pseudo_choice(name, self._chosen.why, now)
        return labeler(pseudo, self._chosen, promoted.artifact if promoted else "")

    def without_model(self) -> Labeler:
        """How a volume is labelled that the promoted model could not."""
        return labeler(self.settings.pseudo, choose(self._situation("")))

    def _situation(self, promoted: str) -> Situation:
        measured = {
            b.backend: Measured(b.scores["f1"], b.n, b.model_scores["f1"] if b.model_scores else None)
            for b in self.store.learning.backend_scores()
        }
        here = situation(self.settings.pseudo, device_of(self.settings))
        return replace(here, promoted=promoted or None, measured=measured)
