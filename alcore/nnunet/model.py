"""A model directory: weights, plans, dataset.json, fingerprint, and what prediction has to know about them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alcore.errors import PermanentError
from alcore.nnunet.binning import Factors
from alcore.nnunet.case import voxel_size
from alcore.types import VoxelSize

LARGEST_RATIO = 1.6
"""A network copes with objects this much larger or smaller than those it learned from; augmentation covers 0.7 to 1.4."""


@dataclass(frozen=True)
class Design:
    """Everything about a model but its weights: how images become network input and back.

    plan: the name it was asked for by. configuration: nnU-Net's ("3d_fullres" or "2d"). binning: acquisition voxels
    per network voxel (z, y, x). voxel_um: of the acquisitions it was designed for, None where unknown. min_voxels:
    smaller components are no objects.
    """

    plan: str
    configuration: str
    binning: Factors
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    voxel_um: VoxelSize | None
    min_voxels: int = 0

    @property
    def n_channels(self) -> int:
        """Image channels the network takes."""
        return len(self.dataset["channel_names"])

    @property
    def patch_px(self) -> tuple[int, ...]:
        """The network's patch in network voxels: (z, y, x), or (y, x) for a 2D configuration."""
        return tuple(int(n) for n in self.plans["configurations"][self.configuration]["patch_size"])

    def binning_of(self, voxel_um: VoxelSize | None) -> Factors:
        """Binning that brings an image of this voxel size closest to the network grid; the model's own where unknown.

        What remains (less than a factor of `LARGEST_RATIO`) is left to the network, in training and prediction alike.
        Raises PermanentError where more remains along an axis.
        """
        if voxel_um is None or self.voxel_um is None:
            return self.binning
        wanted = [m * f / v for m, f, v in zip(self.voxel_um, self.binning, voxel_um, strict=True)]
        fy, fx = (max(1, 2 ** round(math.log2(w))) for w in wanted[1:])
        if any(not 1 / LARGEST_RATIO <= w / f <= LARGEST_RATIO for w, f in zip(wanted, (1, fy, fx), strict=True)):
            raise PermanentError(
                f"voxel size (z, y, x) {voxel_um} um is too far from {self.voxel_um} um, which the model was made for: "
                "set the right voxel size, or train a model on such volumes"
            )
        return (1, fy, fx)

    def summary(self) -> dict[str, Any]:
        """A few figures for people and manifests."""
        plan = self.plans["configurations"][self.configuration]
        return {
            "name": self.plan,
            "configuration": self.configuration,
            "binning": list(self.binning),
            "patch_px": list(self.patch_px),
            "spacing": [round(float(s), 6) for s in plan["spacing"]],
            "features": list(plan["architecture"]["arch_kwargs"]["features_per_stage"]),
            "batch": plan["batch_size"],
        }


WEIGHTS = "weights.pt"
LOG = "training.jsonl"


def save(folder: Path, design: Design, weights: Mapping[str, Any], log: Path, extra: Mapping[str, Any]) -> None:
    """Write a model directory: plain JSON, and weights that load with weights_only=True."""
    import torch

    for name, value in (
        ("plans.json", design.plans),
        ("dataset.json", design.dataset),
        ("dataset_fingerprint.json", design.fingerprint),
        ("model.json", {**extra, **design.summary(), "plan": design.plan, "voxel_um": design.voxel_um}),
    ):
        (folder / name).write_text(json.dumps(value, indent=1))
    torch.save({"network_weights": {k: v.detach().cpu() for k, v in weights.items()}}, folder / WEIGHTS)
    shutil.copyfile(log, folder / LOG)


def load_design(folder: Path) -> Design:
    """The design of a model directory. Raises PermanentError when a file is missing or damaged."""
    try:
        about = json.loads((folder / "model.json").read_text())
        z, y, x = about["binning"]
        return Design(
            plan=about["plan"],
            configuration=about["configuration"],
            binning=(int(z), int(y), int(x)),
            plans=json.loads((folder / "plans.json").read_text()),
            dataset=json.loads((folder / "dataset.json").read_text()),
            voxel_um=voxel_size(about["voxel_um"]),
            min_voxels=int(about["min_voxels"]),
            fingerprint=json.loads((folder / "dataset_fingerprint.json").read_text()),
        )
    except (OSError, ValueError, KeyError) as e:
        raise PermanentError(f"{folder}: not a readable model directory ({e!r}); train the model again") from e


def load_weights(folder: Path) -> dict[str, Any]:
    """The full state_dict of a model directory, on the CPU."""
    import torch

    try:
        state: dict[str, Any] = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)["network_weights"]
    except Exception as e:  # torch raises a different class for every kind of damage
        raise PermanentError(f"{folder / WEIGHTS}: weights cannot be read ({e}); train the model again") from e
    return state
