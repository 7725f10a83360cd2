"""The three files of a preprocessed case: put in place so that a power cut leaves them whole, and looked at before use."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from alcore.artifact import fsync_dir

IMAGE = ".b2nd"
"""nnU-Net finds a case by its image."""
BESIDE = ("_seg.b2nd", ".pkl")
"""Segmentation and properties, which have to be there before the image is."""


def put_in_place(staging: Path, folder: Path, case_id: str) -> None:
    """Move a case that was written in `staging` into `folder`, the image last; durable when this returns."""
    for suffix in (*BESIDE, IMAGE):
        with open(staging / f"{case_id}{suffix}", "rb") as f:
            os.fsync(f.fileno())
    for suffix in BESIDE:
        os.replace(staging / f"{case_id}{suffix}", folder / f"{case_id}{suffix}")
    fsync_dir(folder)
    os.replace(staging / f"{case_id}{IMAGE}", folder / f"{case_id}{IMAGE}")
    fsync_dir(folder)


def is_usable(folder: Path, case_id: str) -> bool:
    """Is the case there, and can its files be opened? One that is shorter or longer than it was written cannot.

    Costs less than a millisecond for an array of any size: of the voxels only the first and the last are read.
    """
    import blosc2

    if not (folder / f"{case_id}{IMAGE}").is_file():
        return False
    try:
        for suffix in (IMAGE, BESIDE[0]):
            # not through memory, as nnU-Net does it: what is missing there ends the process instead of raising
            array = blosc2.open(str(folder / f"{case_id}{suffix}"), mode="r")
            for at in (0, -1):
                array[(at,) * array.ndim]
        with open(folder / f"{case_id}{BESIDE[1]}", "rb") as f:
            return isinstance(pickle.load(f), dict)  # our own file; nnU-Net loads it as well
    except Exception:  # what is raised for bytes that mean nothing depends on the bytes
        return False
