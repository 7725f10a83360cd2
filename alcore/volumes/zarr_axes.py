"""What the dimensions of a zarr array mean, by the file or by what a person says, and how large a voxel is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from alcore.types import VoxelSize
from alcore.volumes.port import ReadOptions
from alcore.volumes.tiff_calibration import um_per
from alcore.volumes.zarr_tree import Json, Tree

TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
MORE_UNITS = {"picometer": 1e-6, "centimeter": 1e4, "decimeter": 1e5}
"""um per unit, beyond those that TIFF uses."""


def letters_of(tree: Tree, key: str, axes: object) -> str:
    """One of C, T, Z, Y, X per dimension from the `axes` of OME-Zarr 0.3 (names) and newer (objects).

    Raises UnreadableVolumeError for axes that no volume has.
    """
    letters = ""
    for axis in axes if isinstance(axes, list) else ():
        name, kind = (axis.get("name"), axis.get("type")) if isinstance(axis, dict) else (axis, None)
        letter = name.upper() if isinstance(name, str) else ""
        if letter not in TYPES and kind in ("time", "channel"):
            letter = kind[0].upper()
        if letter not in TYPES or kind not in (None, TYPES[letter]):
            raise tree.fault(f"image {_told(key)}: axis {str(axis)[:100]} is none of t, c, z, y, x")
        letters += letter
    if not letters.endswith("YX") or len(set(letters)) < len(letters):
        raise tree.fault(f"image {_told(key)}: axes {str(axes)[:200]} are no order of t, c, z that ends in y, x")
    return letters


def dimensions(tree: Tree, letters: str | None, shape: tuple[int, ...], options: ReadOptions) -> dict[str, int]:
    """Which dimension of the array each of the letters C, T, Z, Y, X is; every other dimension has size 1.

    letters: what the file says. What a person says about as many dimensions wins, as for other formats; Z and T are never
    guessed: raises UnreadableVolumeError with the question for dimensions without a meaning.
    """
    every = range(len(shape))
    long = [i for i in every if shape[i] > 1 or i >= len(shape) - 2]  # nobody names dimensions of one
    wanted = options.axes
    if wanted is not None and letters is None and len(wanted) == len(shape):
        return dict(zip(wanted, every, strict=True))
    if wanted is not None and len(wanted) == len(long):
        return dict(zip(wanted, long, strict=True))
    if letters is not None:
        return dict(zip(letters, every, strict=True))
    sizes = tuple(shape[i] for i in long)
    if wanted is not None:
        raise tree.fault(
            f'axes = "{wanted}" of its watched folder names {len(wanted)} dimensions, the array has {len(long)}: '
            f"{sizes}",
            "correct it in config.toml",
        )
    if len(long) == 2:
        return dict(zip("YX", long, strict=True))
    if len(long) == 3:
        question = f'{sizes[0]} planes without names: are they slices, time points or channels? Set axes = "ZYX", "TYX" or "CYX"'
    elif len(long) <= 5:
        question = f'what are its dimensions {sizes}? Set axes, such as "{"TCZYX"[-len(long) :]}",'
    else:
        raise tree.fault(f"{len(long)} dimensions {sizes} are more than a volume has", "save it as OME-Zarr")
    raise tree.fault(f"{question} for its watched folder in config.toml", "")


def scale_of(tree: Tree, key: str, levels: Sequence[object], n: int) -> list[float] | None:
    """Product of the scales of several lists of coordinateTransformations, one number per dimension.

    None where they are not there or do something else. Raises UnreadableVolumeError for a scale of other dimensions.
    """
    product: list[float] | None = None
    for transformations in levels:
        for step in transformations if isinstance(transformations, list) else ():
            kind = step.get("type") if isinstance(step, dict) else None
            if kind in ("translation", "identity"):
                continue
            scale = step.get("scale") if kind == "scale" else None
            if not isinstance(scale, list) or not all(isinstance(s, int | float) for s in scale):
                return None
            if len(scale) != n:
                raise tree.fault(f"image {_told(key)}: a scale of {len(scale)} numbers for {n} dimensions")
            try:
                product = [a * float(b) for a, b in zip(product or [1.0] * n, scale, strict=True)]
            except OverflowError:
                return None
    return product


def voxel_of(
    dims: Mapping[str, int], n_slices: int, axes: Sequence[object], scale: Sequence[float] | None
) -> tuple[VoxelSize | None, tuple[str, ...]]:
    """((z, y, x) um, notes). axes: of the file, with their units; scale: per dimension. A single slice gets the size of y."""
    if scale is None:
        return None, ("its metadata state no voxel size: set voxel_um in the config",)
    sizes, faults = {}, []
    for letter in "ZYX" if n_slices > 1 else "YX":
        at = dims[letter]
        axis = axes[at] if at < len(axes) else None
        unit = axis.get("unit") if isinstance(axis, dict) else None
        um = um_per(unit) or MORE_UNITS.get(str(unit).lower())
        size = scale[at] * um if um else math.nan
        if math.isfinite(size) and size > 0:
            sizes[letter] = float(f"{size:.9g}")  # products of decimal fractions: digits beyond that are noise
        else:
            faults.append(f"{letter.lower()} {scale[at]:g} {str(unit)[:40] if unit else 'without unit'}")
    if faults:
        return None, (f"no voxel size from its metadata ({', '.join(faults)}): set voxel_um in the config",)
    return (sizes.get("Z", sizes["Y"]), sizes["Y"], sizes["X"]), ()


def channel_names(ome: Json, n: int) -> tuple[str, ...]:
    """Labels of the channels in `omero`, "" where there are none or not as many as channels."""
    omero = ome.get("omero")
    told = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(told, list) or len(told) != n:
        return ("",) * n
    labels = [c.get("label") if isinstance(c, dict) else None for c in told]
    return tuple(label if isinstance(label, str) else "" for label in labels)


def _told(key: str) -> str:
    return key or "at the root"
