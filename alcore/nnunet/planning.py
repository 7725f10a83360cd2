"""Fingerprint and plan: nnU-Net's own, from cases in memory, at a size that the machine can train. Imports nnU-Net."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from alcore.errors import PermanentError
from alcore.nnunet.binning import MAX_CASES_LOOKED_AT, Factors, bin_image, bin_instances, choose, object_thickness_px
from alcore.nnunet.case import Case
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.targets import Border, label_names
from alcore.types import VoxelSize

DATASET = "Dataset001_alscope"
PLANS = "plans"
LEAST_SLICES = 4
"""Thinner patches go to nnU-Net's 2D configuration, slice by slice: 3x3x3 kernels would see mostly padding, and its 3D
augmentation cannot blur them (its widest kernel reaches three slices to either side)."""
LEAST_EDGE_PX = 2
"""A feature map of a single voxel cannot be normalised."""
FOREGROUND_VOXELS = 10_000_000
"""Intensities kept for the fingerprint, over all cases."""


class TinyPlanner(ExperimentPlanner):
    """nnU-Net's planner with a network and a patch that one CPU core trains in minutes: half the features and convolutions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.UNet_base_num_features = 16
        self.UNet_max_features_3d = 128
        self.UNet_max_features_2d = 128
        self.UNet_blocks_per_stage_encoder = (1,) * 14
        self.UNet_blocks_per_stage_decoder = (1,) * 13
        self.UNet_featuremap_min_edge_length = 6
        self.max_dataset_covered = 0.5  # small patches come in large batches even when there are few of them yet


PLANNERS: Mapping[str, tuple[type[ExperimentPlanner], float]] = {
    "tiny": (TinyPlanner, 0.15),
    "default": (ExperimentPlanner, 8.0),
    "resenc_m": (nnUNetPlannerResEncM, 8.0),
    "resenc_l": (nnUNetPlannerResEncL, 24.0),
}
"""By plan name (see `plan.PLAN_NAMES`): the planner and the memory it aims at, in GB."""


def dataset_json(n_channels: int, n_cases: int, border: Border | None = None) -> dict[str, Any]:
    """The dataset.json of our cases. Images arrive normalised with the fixed statistics of their volume ("nonorm")."""
    return {
        "channel_names": {str(c): "nonorm" for c in range(n_channels)},
        "labels": label_names(border),
        "numTraining": n_cases,
        "file_ending": ".tif",
        "overwrite_image_reader_writer": "Tiff3DIO",
        "dataset": {},
    }


def choose_binning(request: PlanRequest, cases: Sequence[Case]) -> Factors:
    """Binning of the cases before nnU-Net sees them: what was asked for, else by rule for the tiny plan.

    Raises PermanentError when no case holds an object.
    """
    if request.binning is not None or request.name != "tiny":
        return request.binning or (1, 1, 1)
    step = -(-len(cases) // MAX_CASES_LOOKED_AT)
    widths: list[int] = []

    def masks() -> Iterable[np.ndarray]:
        for case in cases[::step]:
            _, labels = case.load()
            widths.append(min(labels.shape[1:]))
            yield labels > 0

    thickness = object_thickness_px(masks())
    if thickness is None:
        raise no_foreground(len(cases))
    return choose(thickness, reference_voxel(cases), int(np.median(widths)))


def reference_voxel(cases: Sequence[Case]) -> VoxelSize | None:
    """The median voxel size (z, y, x) of the cases, per axis; None where no case has one."""
    known = [case.voxel_um for case in cases if case.voxel_um is not None]
    if not known:
        return None
    z, y, x = (float(v) for v in np.median(known, axis=0))
    return (z, y, x)


def no_foreground(n_cases: int) -> PermanentError:
    """The error of a training set without any object."""
    return PermanentError(
        f"none of the {n_cases} training patches holds an object, so there is nothing to learn: "
        "annotate a patch that shows objects, or change the pseudo-labelling options so that it finds some"
    )


def fingerprint(cases: Sequence[Case], binning: Factors) -> dict[str, Any]:
    """nnU-Net's dataset fingerprint of the binned cases; an unknown voxel size counts as isotropic.

    Raises PermanentError when no case holds an object.
    """
    shapes, intensities = [], []
    voxel = reference_voxel(cases)
    spacing = [1.0, 1.0, 1.0] if voxel is None else [v * f for v, f in zip(voxel, binning, strict=True)]
    n_samples = max(1, min(10_000, FOREGROUND_VOXELS // len(cases)))
    for case in cases:
        image, labels = case.load()
        image, foreground = bin_image(image, binning), bin_instances(labels, binning) > 0
        shapes.append([int(n) for n in image.shape[1:]])
        if foreground.any():
            sampled, _ = DatasetFingerprintExtractor.collect_foreground_intensities(
                foreground[None], image, num_samples=n_samples
            )
            intensities.append(np.asarray(sampled))
    if not intensities:
        raise no_foreground(len(cases))
    properties = {}
    for c, values in enumerate(np.concatenate(intensities, axis=1)):
        low, median, high = (float(v) for v in np.percentile(values, (0.5, 50.0, 99.5)))
        properties[str(c)] = {
            "mean": float(values.mean()),
            "median": median,
            "std": float(values.std()),
            "min": float(values.min()),
            "max": float(values.max()),
            "percentile_00_5": low,
            "percentile_99_5": high,
        }
    return {
        "spacings": [spacing] * len(cases),
        "shapes_after_crop": shapes,
        "foreground_intensity_properties_per_channel": properties,
        "median_relative_size_after_cropping": 1.0,
    }


def make_plan(request: PlanRequest, found: Mapping[str, Any], dataset: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Plans, and the configuration to use ("3d_fullres", or "2d" for thin stacks and single planes), from a fingerprint.

    Patches so small that nnU-Net would not pool at all, which leaves no U-Net, are pooled down to smaller feature maps
    than it likes. Raises PermanentError where even those do not fit. Runs inside `nnunet_process`, whose folders it writes
    to.
    """
    from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw

    raw, preprocessed = Path(nnUNet_raw.require()) / DATASET, Path(nnUNet_preprocessed.require()) / DATASET
    for folder in (raw, preprocessed):
        folder.mkdir(parents=True, exist_ok=True)
    placeholder = {"case": {"images": ["case_0000.tif"], "label": "case.tif"}}  # planning looks at names only
    (raw / "dataset.json").write_text(json.dumps({**dataset, "dataset": placeholder}))
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(found))
    kind, memory_gb = PLANNERS[request.name]
    planner = kind(
        DATASET, gpu_memory_target_in_gb=request.memory_gb or memory_gb, plans_name=PLANS, suppress_transpose=True
    )
    while True:
        (preprocessed / f"{PLANS}.json").unlink(missing_ok=True)
        planner.plan_experiment()
        plans: dict[str, Any] = json.loads((preprocessed / f"{PLANS}.json").read_text())
        configuration = _configuration(plans)
        chosen = plans["configurations"][configuration]
        if chosen["architecture"]["arch_kwargs"]["n_stages"] > 1:
            return plans, configuration
        edge = planner.UNet_featuremap_min_edge_length
        if edge <= LEAST_EDGE_PX:
            y, x = (int(n) for n in chosen["patch_size"][-2:])
            raise PermanentError(
                f"the training patches have only {y} x {x} network pixels, too few for a network: "
                "choose larger patches or a smaller binning"
            )
        planner.UNet_featuremap_min_edge_length = max(LEAST_EDGE_PX, edge // 2)


def _configuration(plans: Mapping[str, Any]) -> str:
    volume = plans["configurations"].get("3d_fullres")
    return "2d" if volume is None or volume["patch_size"][0] < LEAST_SLICES else "3d_fullres"
