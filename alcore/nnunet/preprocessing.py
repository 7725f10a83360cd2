"""nnU-Net's preprocessing, case by case, into a cache that later rounds add to. Imports nnU-Net."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from alcore.artifact import canonical_json
from alcore.nnunet.binning import bin_image, bin_instances, separated_foreground
from alcore.nnunet.case import Case
from alcore.nnunet.model import Design

FORMAT = 1
"""Changes when the content of a preprocessed case changes; part of the cache's folder name."""


def case_folder(cache: Path, design: Design) -> Path:
    """Where the cases of one plan lie: everything that shapes a preprocessed case is in the folder's name."""
    plan = design.plans["configurations"][design.configuration]
    recipe = [FORMAT, design.configuration, plan, list(design.binning), design.voxel_um]
    return cache / "nnunet" / f"cases-{hashlib.sha256(canonical_json(recipe).encode()).hexdigest()[:20]}"


def prepare(
    cases: Sequence[Case],
    design: Design,
    cache: Path,
    progress: Callable[[float, str], None],
) -> tuple[Path, list[str]]:
    """Preprocess the cases that are not in the cache yet. Returns the folder, and the ids of those that were new.

    A case appears whole or not at all: it is written in a sibling folder, and its image file, by which nnU-Net finds
    it, moves last. Raises PermanentError for a case whose voxel size does not go with the model.
    """
    folder = case_folder(cache, design)
    folder.mkdir(parents=True, exist_ok=True)
    manager = PlansManager(dict(design.plans))
    setup = manager.get_configuration(design.configuration)
    preprocessor = setup.preprocessor_class(verbose=False)
    missing = {case.id: case for case in cases if not (folder / f"{case.id}.b2nd").is_file()}
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    staging.mkdir()
    try:
        for done, case in enumerate(missing.values()):
            progress(done / len(missing), f"preprocessing patch {done + 1} of {len(missing)}")
            image, labels = case.load()
            factors = design.binning_of(case.voxel_um)
            target = separated_foreground(bin_instances(labels, factors)).astype(np.int8)
            # binning has brought the case to the network grid: told so, nnU-Net does not resample it
            grid = {"spacing": design.fingerprint["spacings"][0]}
            data, seg, properties = preprocessor.run_case_npy(
                bin_image(image, factors), target[None], grid, manager, setup, dict(design.dataset)
            )
            _save(data.astype(np.float32, copy=False), seg.astype(np.int16), properties, staging / case.id, setup)
            for suffix in ("_seg.b2nd", ".pkl", ".b2nd"):
                os.replace(staging / f"{case.id}{suffix}", folder / f"{case.id}{suffix}")
    finally:
        shutil.rmtree(staging)
    return folder, list(missing)


def _save(data: np.ndarray, seg: np.ndarray, properties: dict[str, Any], trunk: Path, setup: Any) -> None:
    blocks, chunks = comp_blosc2_params(data.shape, tuple(setup.patch_size), data.itemsize)
    seg_blocks, seg_chunks = comp_blosc2_params(seg.shape, tuple(setup.patch_size), seg.itemsize)
    nnUNetDatasetBlosc2.save_case(
        data,
        seg,
        properties,
        str(trunk),
        chunks=chunks,
        blocks=blocks,
        chunks_seg=seg_chunks,
        blocks_seg=seg_blocks,
    )
