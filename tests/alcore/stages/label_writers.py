"""Label files as the libraries behind napari, Fiji, QuPath and ITK-SNAP write them, from a mask (Z, Y, X)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile

Labels = np.ndarray[Any, Any]


def napari_like(path: Path, labels: Labels) -> Path:
    path = path.with_suffix(".tif")
    tifffile.imwrite(path, labels, compression="zlib")
    return path


def imagej_stack(path: Path, labels: Labels) -> Path:
    path = path.with_suffix(".tif")
    tifffile.imwrite(
        path, labels.astype(np.uint16), imagej=True, metadata={"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    )
    return path


def imagej_hyperstack(path: Path, labels: Labels) -> Path:
    path = path.with_suffix(".tif")
    tifffile.imwrite(path, labels.astype(np.float32)[None, :, None], imagej=True, metadata={"axes": "TZCYX"})
    return path


def imagej_frames(path: Path, labels: Labels) -> Path:
    """Fiji, when slices were taken for frames."""
    path = path.with_suffix(".tif")
    tifffile.imwrite(path, labels.astype(np.uint16)[:, None, None], imagej=True, metadata={"axes": "TZCYX"})
    return path


def qupath_like(path: Path, labels: Labels) -> Path:
    path = path.with_suffix(".ome.tif")
    tifffile.imwrite(
        path,
        labels.astype(np.int32)[None, :, None],
        ome=True,
        metadata={"axes": "TZCYX"},
        tile=(32, 32),
        compression="zlib",
    )
    return path


def by_nrrd(encoding: str, dtype: str) -> Any:
    def save(path: Path, labels: Labels) -> Path:
        path = path.with_suffix(".nrrd")
        header = {"encoding": encoding, "space": "left-posterior-superior", "space directions": -np.eye(3)}
        nrrd.write(str(path), labels.astype(dtype).transpose(2, 1, 0), header)
        return path

    return save


def by_nibabel(ending: str, kind: Any, dtype: str) -> Any:
    def save(path: Path, labels: Labels) -> Path:
        path = path.with_suffix(ending)
        nibabel.save(kind(labels.astype(dtype).transpose(2, 1, 0)[..., None], np.diag([-1.0, 2, -3, 1])), path)
        return path

    return save


def by_itk(ending: str) -> Any:
    def save(path: Path, labels: Labels) -> Path:
        sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed: its files are not tried")
        image = sitk.GetImageFromArray(labels.astype(np.uint16))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        image.SetSpacing((0.1, 0.1, 0.5))
        path = path.with_suffix(ending)
        sitk.WriteImage(image, str(path), True)
        return path

    return save


TOOLS = {
    "napari": napari_like,
    "Fiji stack": imagej_stack,
    "Fiji hyperstack of 32 bits": imagej_hyperstack,
    "Fiji with slices as frames": imagej_frames,
    "QuPath": qupath_like,
    "NRRD gzip": by_nrrd("gzip", "uint16"),
    "NRRD raw big": by_nrrd("raw", ">u4"),
    "NRRD bzip2": by_nrrd("bzip2", "int64"),
    "NIfTI": by_nibabel(".nii", nibabel.Nifti1Image, "int16"),
    "NIfTI gz float": by_nibabel(".nii.gz", nibabel.Nifti1Image, "float32"),
    "NIfTI 2": by_nibabel(".nii.gz", nibabel.Nifti2Image, "uint32"),
    "ITK nrrd": by_itk(".nrrd"),
    "ITK nii": by_itk(".nii"),
    "ITK nii.gz": by_itk(".nii.gz"),
    "ITK tif": by_itk(".tif"),
}
