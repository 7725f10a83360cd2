"""A model directory: weights, plans, dataset.json, fingerprint, and what prediction has to know about them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alcore.artifact import as_written, canonical_json
from alcore.errors import PermanentError
from alcore.kinds import Kind, MadeFor
from alcore.nnunet.binning import Factors
from alcore.nnunet.case import voxel_size
from alcore.nnunet.targets import Border, classes_of
from alcore.types import VoxelSize

LEAST_CORE = 4
"""A core of less than this part (one fourth) of the smallest objects is a speck within a border."""


@dataclass(frozen=True)
class Design:
    """Everything about a model but its weights: how images become network input and back.

    plan: the name it was asked for by. configuration: nnU-Net's ("3d_fullres" or "2d"). binning: acquisition voxels
    per network voxel (z, y, x). voxel_um: of the acquisitions it was designed for, None where unknown. min_voxels:
    smaller components are no objects. border: of objects that are told apart by core and border, None = by components.
    """

    plan: str
    configuration: str
    binning: Factors
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    voxel_um: VoxelSize | None
    min_voxels: int = 0
    border: Border | None = None

    @property
    def instances(self) -> str:
        """How objects are told apart: one of `targets.INSTANCES`."""
        return "components" if self.border is None else "border-core"

    @property
    def n_classes(self) -> int:
        """Outputs of the network, background included."""
        return len(classes_of(self.dataset))

    @property
    def least_core(self) -> int:
        """Cores of fewer voxels are no objects of their own."""
        return self.min_voxels // LEAST_CORE

    @property
    def grid_spacing(self) -> VoxelSize:
        """Spacing (z, y, x) of the network grid, in um where the voxel size is known."""
        z, y, x = (float(s) for s in self.fingerprint["spacings"][0])
        return (z, y, x)

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
        factors = self.made_for.binning_of(voxel_um)
        if factors is None:
            raise PermanentError(
                f"voxel size (z, y, x) {voxel_um} um is too far from {self.voxel_um} um, which the model was made for: "
                "set the right voxel size, or train a model on such volumes"
            )
        return factors

    @property
    def made_for(self) -> MadeFor:
        """The data that it takes."""
        return MadeFor(Kind(self.n_channels, self.voxel_um), self.binning, self.instances)

    @property
    def digest(self) -> str:
        """Hash of everything that shapes network, input and output: models of one plan have the same."""
        plan = self.plans["configurations"][self.configuration]
        parts = [self.configuration, plan, list(self.binning), self.voxel_um, self.dataset["channel_names"]]
        if self.border is not None:
            parts.append(self.border.to_json())
        return hashlib.sha256(canonical_json([*parts, classes_of(self.dataset)]).encode()).hexdigest()[:16]

    def summary(self) -> dict[str, Any]:
        """A few figures for people and manifests."""
        plan = self.plans["configurations"][self.configuration]
        return {
            "name": self.plan,
            "digest": self.digest,
            "configuration": self.configuration,
            "binning": list(self.binning),
            "patch_px": list(self.patch_px),
            "spacing": [round(float(s), 6) for s in plan["spacing"]],
            "features": list(plan["architecture"]["arch_kwargs"]["features_per_stage"]),
            "batch": plan["batch_size"],
            "instances": self.instances,
        }


WEIGHTS = "weights.pt"
NETWORKS = ("dynamic_network_architectures.", "torch.nn.")
"""Where networks and their parts come from."""
LOG = "training.jsonl"


def save(folder: Path, design: Design, weights: Mapping[str, Any], log: Path, extra: Mapping[str, Any]) -> None:
    """Write a model directory: plain JSON, and weights that load with weights_only=True."""
    import torch

    for name, value in (
        ("plans.json", design.plans),
        ("dataset.json", design.dataset),
        ("dataset_fingerprint.json", design.fingerprint),
        ("model.json", {**extra, **design.summary(), "plan": design.plan, **_target(design)}),
    ):
        (folder / name).write_text(json.dumps(value, indent=1))
    torch.save({"network_weights": {k: v.detach().cpu() for k, v in weights.items()}}, folder / WEIGHTS)
    shutil.copyfile(log, folder / LOG)


def _target(design: Design) -> dict[str, Any]:
    return {"voxel_um": design.voxel_um, "border": None if design.border is None else design.border.to_json()}


def load_design(folder: Path) -> Design:
    """The design of a model directory. Raises PermanentError when a file is missing or damaged, or the frozen plan changed."""
    as_written(folder, "model.json", "plans.json", "dataset.json", "dataset_fingerprint.json")
    try:
        about = json.loads((folder / "model.json").read_text())
        z, y, x = about["binning"]
        design = Design(
            plan=about["plan"],
            configuration=about["configuration"],
            binning=(int(z), int(y), int(x)),
            plans=json.loads((folder / "plans.json").read_text()),
            dataset=json.loads((folder / "dataset.json").read_text()),
            voxel_um=voxel_size(about["voxel_um"]),
            min_voxels=int(about["min_voxels"]),
            border=Border.from_json(about.get("border")),
            fingerprint=json.loads((folder / "dataset_fingerprint.json").read_text()),
        )
    except (OSError, ValueError, KeyError) as e:
        raise PermanentError(f"{folder}: not a readable model directory ({e!r}); train the model again") from e
    if about.get("digest", design.digest) != design.digest:
        raise PermanentError(
            f"{folder / 'plans.json'}: is not the plan {about['digest']} that this model was trained with; bring back its files"
        )
    if foreign := _foreign(design.plans):
        raise PermanentError(f"{folder / 'plans.json'}: names {foreign!r}, which is no network; train the model again")
    return design


def _foreign(plans: Mapping[str, Any]) -> str:
    """What a plan has nnU-Net import that is no part of a network, or "": it imports and calls whatever is named."""
    for configuration in plans["configurations"].values():
        about = configuration.get("architecture", {})
        arguments = about.get("arch_kwargs", {})
        wanted = [str(arguments[name]) for name in about.get("_kw_requires_import", ()) if arguments.get(name)]
        for name in (str(about.get("network_class_name", NETWORKS[0])), *wanted):
            if not name.startswith(NETWORKS):
                return name
    return ""


def load_weights(folder: Path) -> dict[str, Any]:
    """The full state_dict of a model directory, on the CPU."""
    import torch

    as_written(folder, WEIGHTS)
    try:
        state: dict[str, Any] = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)["network_weights"]
    except Exception as e:  # torch raises a different class for every kind of damage
        raise PermanentError(f"{folder / WEIGHTS}: weights cannot be read ({e}); train the model again") from e
    return state
