"""The backend micro_sam: Segment Anything for Microscopy (Archit et al. 2025), slice by slice, joined to 3D by its multicut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from alcore.pseudo import options as checks
from alcore.pseudo import packages
from alcore.pseudo.micro_sam_settings import Thresholds, thresholds_of
from alcore.pseudo.planes import SliceOptions
from alcore.pseudo.port import LabelArray, PseudoLabels
from alcore.pseudo.slicewise import label_slices
from alcore.pseudo.warm import warm
from alcore.stage import Context
from alcore.types import VolumeInfo
from alcore.volumes import VolumeReader
from alcore.weights.places import digest, need


@dataclass(frozen=True)
class MicroSamOptions(SliceOptions):
    """Besides those of `SliceOptions`:

    model: a name of the catalogue (`alscope models fetch`). checkpoint, decoder: files of one's own instead; then model only
    chooses the thresholds. weights_folder: where weights lie, None = the default places. mode: "auto" takes the decoder
    (AIS) where there is one, else a grid of points (AMG). The thresholds, None = what the model was validated with.
    """

    model: str = "vit_b_lm"
    checkpoint: str | None = None
    decoder: str | None = None
    weights_folder: str | None = None
    mode: str = "auto"
    points_per_side: int = 32
    foreground: float = 0.5
    center_distance: float | None = None
    boundary_distance: float | None = None
    distance_smoothing: float | None = None
    pred_iou: float | None = None
    stability: float | None = None
    min_size: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that cannot be."""
        super().__post_init__()
        checks.choice("mode", self.mode, ("auto", "ais", "amg"))
        checks.whole("points_per_side", self.points_per_side, 1, 256)
        checks.number("foreground", self.foreground, 0, 1)
        for name in ("center_distance", "boundary_distance", "distance_smoothing", "pred_iou", "stability", "min_size"):
            value = getattr(self, name)
            if value is not None:
                checks.number(name, value, -100, 1e9)
        if self.decoder is not None and self.checkpoint is None:
            raise ValueError("option decoder needs option checkpoint, whose decoder it is")

    def thresholds(self) -> Thresholds:
        """Those of the model, but for what is set."""
        own = {f.name: getattr(self, f.name) for f in fields(Thresholds) if getattr(self, f.name) is not None}
        return replace(thresholds_of(self.model), **own)

    def files(self) -> tuple[Path, ...]:
        """The checkpoint, and the decoder where it is a file of its own. Raises PermanentError when they are not here."""
        if self.checkpoint is not None:
            return (Path(self.checkpoint), *([Path(self.decoder)] if self.decoder else []))
        return need(self.model, "micro_sam", Path(self.weights_folder) if self.weights_folder else None)


class MicroSamLabeler:
    """See `alcore.pseudo.port`. Never touches the network: what is not here is an error that says how to fetch it."""

    name = "micro_sam"
    version = 1

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = checks.parse(MicroSamOptions, options, self.name)

    def label(self, volume: VolumeReader, info: VolumeInfo, labels: LabelArray, ctx: Context) -> PseudoLabels:
        """See the port. Raises PermanentError for weights that are missing or wrong, or a CPU that would take too long."""
        packages.need(self.name)
        import torch

        torch.set_num_threads(ctx.threads)
        o = self.options
        files = o.files()
        key = (self.name, o, ctx.device, tuple(digest(f) for f in files))
        return label_slices(warm(key, lambda: self._load(files, ctx.device)), o, volume, info, labels, ctx)

    def _load(self, files: tuple[Path, ...], device: str) -> Any:
        from alcore.pseudo.micro_sam_model import MicroSamModel

        o = self.options
        about = {"model": o.model if o.checkpoint is None else Path(o.checkpoint).name}
        return MicroSamModel(files, o.mode, o.thresholds(), o.foreground, o.points_per_side, device, about)
