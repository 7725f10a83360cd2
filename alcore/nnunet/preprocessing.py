"""nnU-Net's preprocessing, case by case, into a cache that later rounds add to. Imports nnU-Net."""

from __future__ import annotations

import contextlib
import hashlib
import math
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
from alcore.nnunet import cached_case, room
from alcore.nnunet.binning import bin_image, binned_shape
from alcore.nnunet.case import Case
from alcore.nnunet.model import Design
from alcore.nnunet.targets import classes_of, target, with_ignore

FORMAT = 2
"""Changes when the content of a preprocessed case changes; part of the cache's folder name."""
PLACES = 1000
"""Centres of crops that a case offers when they may lie anywhere."""


def case_folder(cache: Path, design: Design) -> Path:
    """Where the cases of one plan lie: everything that shapes a preprocessed case is in the folder's name."""
    plan = design.plans["configurations"][design.configuration]
    border = None if design.border is None else design.border.to_json()
    recipe = [FORMAT, design.configuration, plan, list(design.binning), design.voxel_um, border]
    return cache / "nnunet" / f"cases-{hashlib.sha256(canonical_json(recipe).encode()).hexdigest()[:20]}"


def prepare(
    cases: Sequence[Case],
    design: Design,
    cache: Path,
    progress: Callable[[float, str], None],
) -> tuple[Path, list[str]]:
    """Preprocess the cases that are not in the cache yet, or cannot be opened there. Returns the folder, and the ids of those.

    A case appears whole or not at all, also after a power cut: it is written in a sibling folder, and its image file, by which
    nnU-Net finds it, moves last. Raises PermanentError for a case whose voxel size does not go with the model, DiskFullError, before it
    begins, without room for all of them.
    """
    folder = case_folder(cache, design)
    folder.mkdir(parents=True, exist_ok=True)
    manager = PlansManager(dict(design.plans))
    setup = manager.get_configuration(design.configuration)
    preprocessor = setup.preprocessor_class(verbose=False)
    for case in cases:  # a case that is used stays (see `daemon.retention`)
        with contextlib.suppress(FileNotFoundError):
            os.utime(folder / f"{case.id}.b2nd")
    missing = {case.id: case for case in cases if not cached_case.is_usable(folder, case.id)}
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    staging.mkdir()
    try:
        for done, case in enumerate(missing.values()):
            progress(done / len(missing), f"preprocessing patch {done + 1} of {len(missing)}")
            image, labels = case.load()
            factors = design.binning_of(case.voxel_um)
            if not done:
                _check_disk(folder, len(image), binned_shape(labels.shape, factors), len(missing))
            seen = None if case.seen is None else case.seen()
            wanted = target(labels, seen, factors, design.border, design.grid_spacing)
            # binning has brought the case to the network grid: told so, nnU-Net does not resample it
            grid = {"spacing": design.fingerprint["spacings"][0]}
            data, seg, properties = preprocessor.run_case_npy(
                bin_image(image, factors),
                wanted[None],
                grid,
                manager,
                setup,
                with_ignore(design.dataset, seen is not None),
            )
            if seen is None:
                properties["class_locations"][annotated(design)] = _anywhere(seg.shape)
            _save(data.astype(np.float32, copy=False), seg.astype(np.int16), properties, staging / case.id, setup)
            cached_case.put_in_place(staging, folder, case.id)
    finally:
        shutil.rmtree(staging)
    return folder, list(missing)


def _check_disk(folder: Path, channels: int, shape: tuple[int, int, int], n: int) -> None:
    """Is there room for `n` cases like this one? They are compressed, by how much nobody knows: counted is as if they were not."""
    needed = n * math.prod(shape) * (channels * np.dtype(np.float32).itemsize + np.dtype(np.int16).itemsize)
    room.check_disk(folder, needed, f"{n} prepared training patches")


def annotated(design: Design) -> tuple[int, ...]:
    """The name under which nnU-Net looks up where there are labels at all, once the ignore label is declared."""
    return (-1, *classes_of(design.dataset).values())


def _anywhere(shape: tuple[int, ...]) -> np.ndarray:
    """Places (n, 4) all over a case (1, Z, Y, X) in which everything was looked at, for crops that are not to show objects.

    nnU-Net would keep a hundredth of all voxels, and read them again for every crop.
    """
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, n, PLACES) for n in shape], axis=1)


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
