"""Voxel size from TIFF metadata: ImageJ's spacing, unit and resolution, or OME's physical sizes. Unknown stays None."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from alcore.types import VoxelSize

UM_PER_UNIT = {
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometers": 1e-3,
    "angstrom": 1e-4,
    "å": 1e-4,
    "pm": 1e-6,
    "mm": 1e3,
    "millimeter": 1e3,
    "m": 1e6,
    "meter": 1e6,
}
"""Units of a microscope. Inches, centimetres and pixels are a printer's resolution and no calibration."""


def um_per(unit: object) -> float | None:
    """Micrometres per unit, however ImageJ or OME spelt it; None for what is no physical unit of length."""
    text = str(unit).strip().replace("\\u00b5", "u").replace("\\u00B5", "u")
    for micro in ("Âµ", "µ", "μ"):
        text = text.replace(micro, "u")
    return UM_PER_UNIT.get(text.lower())


def from_imagej(
    metadata: Mapping[str, Any], per_unit_xy: tuple[float | None, float | None], n_slices: int
) -> tuple[VoxelSize | None, tuple[str, ...]]:
    """(z, y, x) um and notes from ImageJ's metadata and the resolution tags, in pixels per unit (x, y).

    A single slice has no spacing: it gets that of y. ImageJ leaves a spacing of 1 out, which cannot be told from one
    that nobody set, so a stack without spacing has no voxel size, and a note says so.
    """
    unit = metadata.get("unit")
    scale_x = um_per(unit)
    scale_y = um_per(metadata.get("yunit", unit))
    scale_z = um_per(metadata.get("zunit", unit))
    if scale_x is None or scale_y is None or scale_z is None or None in per_unit_xy:
        return None, ()
    x, y = (scale / number if number else 0.0 for scale, number in zip((scale_x, scale_y), per_unit_xy, strict=True))
    if n_slices == 1:
        return _voxel(y, y, x), ()
    spacing = metadata.get("spacing")
    if not isinstance(spacing, int | float):
        return None, (f"calibrated in x and y ({x:.4g} um) but without a slice distance: set voxel_um in the config",)
    return _voxel(abs(spacing) * scale_z, y, x), ()


def from_ome(pixels: Mapping[str, str], n_slices: int) -> VoxelSize | None:
    """(z, y, x) um from the attributes of OME's Pixels element, whose unit is um where none is given."""
    sizes = {}
    for axis in "ZYX":
        scale = um_per(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        try:
            sizes[axis] = float(pixels[f"PhysicalSize{axis}"]) * (scale or math.nan)
        except (KeyError, ValueError):
            sizes[axis] = math.nan
    if n_slices == 1 and not _is_length(sizes["Z"]):
        sizes["Z"] = sizes["Y"]
    return _voxel(sizes["Z"], sizes["Y"], sizes["X"])


def _voxel(z: float, y: float, x: float) -> VoxelSize | None:
    if not all(map(_is_length, (z, y, x))):
        return None
    # resolutions are fractions of 32-bit integers: digits beyond that are noise
    return (float(f"{z:.9g}"), float(f"{y:.9g}"), float(f"{x:.9g}"))


def _is_length(value: float) -> bool:
    return math.isfinite(value) and value > 0
