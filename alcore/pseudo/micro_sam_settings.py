"""Thresholds that each model of micro_sam was validated with; its annotator applies them, its library calls do not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """AIS: center_distance, boundary_distance, distance_smoothing (pixels). AMG: pred_iou, stability. min_size: pixels."""

    center_distance: float = 0.5
    boundary_distance: float = 0.5
    distance_smoothing: float = 1.6
    pred_iou: float = 0.88
    stability: float = 0.95
    min_size: int = 0


PUBLISHED = {
    "vit_b_lm": Thresholds(0.4, 0.5, 2.0, 0.65, 0.7, 100),
    "vit_l_lm": Thresholds(0.4, 0.4, 1.6, 0.65, 0.73, 100),
    "vit_b_em_organelles": Thresholds(0.3, 0.4, 1.2, 0.75, 0.75, 100),
    "vit_l_em_organelles": Thresholds(0.3, 0.4, 1.2, 0.8, 0.8, 100),
}
"""By model; others, and checkpoints of one's own, start from the defaults of the library."""


def thresholds_of(model: str) -> Thresholds:
    """Thresholds for a model by name."""
    return PUBLISHED.get(model, Thresholds())
