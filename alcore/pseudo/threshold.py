"""The backend that needs no weights: local contrast, thresholds at many levels, compact components that stand apart."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from alcore.errors import PermanentError
from alcore.pseudo import options as checks
from alcore.pseudo.blocks import Checkpoints
from alcore.pseudo.grid import Grid
from alcore.pseudo.paint import paint
from alcore.pseudo.passes import Blocks, find_objects
from alcore.pseudo.port import LabelArray, PseudoLabels
from alcore.pseudo.survey import Wanted, describe, survey
from alcore.pseudo.tree import Criteria
from alcore.stage import Context
from alcore.types import VolumeInfo
from alcore.volumes import VolumeReader

FILLED_FROM = 1 / 3
"""From this share of the volume inside objects, what lies between them is walls: the objects grow until they meet."""


@dataclass(frozen=True)
class ThresholdOptions:
    """Everything is inferred from the data unless set; one set of defaults serves every kind of image.

    polarity: "auto", "bright" or "dark" objects. channel: None takes the one whose objects stand out most.
    radius_px: radius of the largest ball that fits into the thinnest object, in in-plane voxels; None infers it between
    min_diameter_um and max_diameter_um (of that ball). min_contrast: least contrast of an object to its surround,
    discounted for leaks, in local standard deviations. max_leak: share of an object's surface beyond which what is
    beyond belongs to it as well. min_size, max_size: volume of an object in volumes of that ball. levels: thresholds.
    fill: whether objects grow until they meet, as cells between membranes do. block_voxels: most voxels read at a time.
    """

    polarity: str = "auto"
    channel: int | None = None
    radius_px: float | None = None
    min_diameter_um: float = 0.1
    max_diameter_um: float = 50.0
    min_contrast: float = 0.2
    max_leak: float = 0.45
    min_size: float = 1.2
    max_size: float = 400.0
    levels: int = 24
    fill: str = "auto"
    block_voxels: int = 1 << 24

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that cannot be."""
        checks.choice("polarity", self.polarity, ("auto", "bright", "dark"))
        checks.choice("fill", self.fill, ("auto", "yes", "no"))
        if self.channel is not None:
            checks.whole("channel", self.channel, 0, 1 << 16)
        if self.radius_px is not None:
            checks.number("radius_px", self.radius_px, 1, 10_000)
        checks.number("min_diameter_um", self.min_diameter_um, 0, 1e6)
        checks.number("max_diameter_um", self.max_diameter_um, self.min_diameter_um, 1e6)
        checks.number("min_contrast", self.min_contrast, 0, 100)
        checks.number("max_leak", self.max_leak, 0.01, 1)
        checks.number("min_size", self.min_size, 0, 1e9)
        checks.number("max_size", self.max_size, self.min_size, 1e9)
        checks.whole("levels", self.levels, 2, 250)
        checks.whole("block_voxels", self.block_voxels, 1 << 12, 1 << 32)


class ThresholdLabeler:
    """Instances by a component tree over thresholds of locally normalised contrast. See `alcore.pseudo.port`.

    The volume is averaged to a working grid (about five voxels across the thinnest object), normalised by local mean
    and contrast, smoothed, thresholded at many levels, each opened by the ball of the object radius (a grey opening, so
    that membranes and bridges go), and the components that stand apart from their surround best are the objects.
    """

    name = "threshold"
    version = 2

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = checks.parse(ThresholdOptions, options, self.name)

    def label(self, volume: VolumeReader, info: VolumeInfo, labels: LabelArray, ctx: Context) -> PseudoLabels:
        """See the port. Raises PermanentError for a channel that the volume does not have."""
        o = self.options
        if o.channel is not None and o.channel >= info.shape[0]:
            raise PermanentError(
                f"option channel is {o.channel}, but the volume has {info.shape[0]} channel(s), from 0"
            )
        criteria = Criteria(o.min_contrast, o.max_leak, o.min_size, o.max_size)
        wanted = Wanted(
            channel=o.channel,
            polarity={"auto": None, "bright": 1, "dark": -1}[o.polarity],
            radius=None if o.radius_px is None else o.radius_px * min(info.spacing[1:]),
            min_radius_um=o.min_diameter_um / 2,
            max_radius_um=o.max_diameter_um / 2,
            n_thresholds=o.levels,
        )
        unbinned = Blocks.of(ctx.ram_bytes, o.block_voxels, info, (1, 1, 1))
        finding, notes = survey(volume, info, wanted, criteria, unbinned.read, ctx, 0.15)
        if finding is None:
            reason = "nothing stands out from its surround: no pseudo-labels for this volume"
            return PseudoLabels(0, 0.0, (), {"options": asdict(o)}, (*notes, reason))
        blocks = Blocks.of(ctx.ram_bytes, o.block_voxels, info, Grid.of(info.zyx, info.spacing, finding.radius).factor)
        recipe = [self.version, asdict(o), info.to_json(), asdict(blocks)]
        kept = Checkpoints(ctx.scratch / f"threshold-{_digest(recipe)}")
        try:
            objects = find_objects(volume, info, finding, criteria, blocks, kept, ctx, (0.15, 0.75))
            share = objects.voxels / math.prod(objects.grid.shape)
            fill = o.fill == "yes" or (o.fill == "auto" and share >= FILLED_FROM)
            sizes = paint(objects, fill, labels, ctx, (0.75, 1.0))
        finally:
            kept.close()
        strength = objects.strength
        if not len(strength):
            notes.append("nothing in the volume passed the criteria: no pseudo-labels for this volume")
        return PseudoLabels(
            n_objects=len(strength),
            foreground_fraction=float(sizes.sum() / math.prod(info.zyx)),
            confidence=tuple(round(float(s / (1 + s)), 4) for s in strength),
            parameters={"options": asdict(o), "found": describe(finding, info), "fill": fill},
            notes=tuple(notes),
        )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
