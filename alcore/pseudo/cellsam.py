"""The backend cellsam: CellSAM (Marks et al. 2025), slice by slice, joined to 3D. Non-commercial academic use only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alcore.pseudo import options as checks
from alcore.pseudo import packages
from alcore.pseudo.planes import SliceOptions
from alcore.pseudo.port import LabelArray, PseudoLabels
from alcore.pseudo.slicewise import label_slices
from alcore.pseudo.warm import warm
from alcore.stage import Context
from alcore.types import VolumeInfo
from alcore.volumes import VolumeReader
from alcore.weights.places import digest, need


@dataclass(frozen=True)
class CellSamOptions(SliceOptions):
    """Besides those of `SliceOptions`: model, a name of the catalogue; checkpoint, a file of one's own instead;
    weights_folder, None = the default places; bbox_threshold, how sure a box must be: higher finds fewer cells.

    With two channels the first is the nuclei and the second the whole cells.
    """

    model: str = "cellsam_general"
    checkpoint: str | None = None
    weights_folder: str | None = None
    bbox_threshold: float = 0.4

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that cannot be."""
        super().__post_init__()
        checks.number("bbox_threshold", self.bbox_threshold, 0, 1)

    def file(self) -> Path:
        """The weights. Raises PermanentError when they are not here."""
        if self.checkpoint is not None:
            return Path(self.checkpoint)
        return need(self.model, "cellsam", Path(self.weights_folder) if self.weights_folder else None)[0]


class CellSamLabeler:
    """See `alcore.pseudo.port`. Never touches the network: what is not here is an error that says how to fetch it."""

    name = "cellsam"
    version = 1

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = checks.parse(CellSamOptions, options, self.name)

    def label(self, volume: VolumeReader, info: VolumeInfo, labels: LabelArray, ctx: Context) -> PseudoLabels:
        """See the port. Raises PermanentError for weights that are missing or wrong, or a CPU that would take too long."""
        packages.need(self.name)
        import torch

        torch.set_num_threads(ctx.threads)
        o = self.options
        file = o.file()
        key = (self.name, o, ctx.device, digest(file))
        return label_slices(warm(key, lambda: self._load(file, ctx.device)), o, volume, info, labels, ctx)

    def _load(self, file: Path, device: str) -> Any:
        from alcore.pseudo.cellsam_model import CellSamModel

        o = self.options
        about = {"model": o.model if o.checkpoint is None else file.name}
        return CellSamModel(file, o.bbox_threshold, device, about)
