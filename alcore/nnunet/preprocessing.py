"""nnU-Net's preprocessing, case by case, into a cache that later rounds add to. Imports nnU-Net."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from alcore.artifact import canonical_json
from alcore.nnunet.binning import Factors, bin_image, bin_instances, separated_foreground
from alcore.nnunet.case import Case

FORMAT = 1
"""Changes when the content of a preprocessed case changes; part of the cache's folder name."""


def case_folder(cache: Path, plans: Mapping[str, Any], configuration: str, binning: Factors) -> Path:
    """Where the cases of one plan lie: everything that shapes a preprocessed case is in the folder's name."""
    plan = plans["configurations"][configuration]
    recipe = [FORMAT, configuration, plan, plans["transpose_forward"], list(binning)]
    return cache / "nnunet" / f"cases-{hashlib.sha256(canonical_json(recipe).encode()).hexdigest()[:20]}"


def prepare(
    cases: Sequence[Case],
    plans: Mapping[str, Any],
    configuration: str,
    binning: Factors,
    dataset: Mapping[str, Any],
    cache: Path,
    progress: Callable[[float, str], None],
) -> tuple[Path, list[str]]:
    """Preprocess the cases that are not in the cache yet. Returns the folder, and the ids of those that were new.

    A case appears whole or not at all: it is written in a sibling folder, and its image file, by which nnU-Net finds
    it, moves last.
    """
    folder = case_folder(cache, plans, configuration, binning)
    folder.mkdir(parents=True, exist_ok=True)
    manager = PlansManager(dict(plans))
    setup = manager.get_configuration(configuration)
    preprocessor = setup.preprocessor_class(verbose=False)
    missing = {case.id: case for case in cases if not (folder / f"{case.id}.b2nd").is_file()}
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    staging.mkdir()
    try:
        for done, case in enumerate(missing.values()):
            progress(done / len(missing), f"preprocessing patch {done + 1} of {len(missing)}")
            image, labels = case.load()
            image = bin_image(image, binning)
            target = separated_foreground(bin_instances(labels, binning)).astype(np.int8)
            spacing = [s * f for s, f in zip(case.spacing, binning, strict=True)]
            data, seg, properties = preprocessor.run_case_npy(
                image, target[None], {"spacing": spacing}, manager, setup, dict(dataset)
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
