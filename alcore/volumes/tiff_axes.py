"""What the dimensions of a TIFF mean: from tifffile's letters, or from what a person says, to channels and slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alcore.errors import UnreadableVolumeError
from alcore.volumes.port import ReadOptions


@dataclass(frozen=True)
class PlaneOrder:
    """Where the plane of channel c and slice z is among the planes of a file: c * c_stride + z * z_stride."""

    n_channels: int
    n_slices: int
    c_stride: int
    z_stride: int
    notes: tuple[str, ...]


def plane_order(path: Path, axes: str, shape: tuple[int, ...], options: ReadOptions) -> PlaneOrder:
    """Interpret the dimensions `axes` of `shape`, of which the last two are Y, X.

    A plain stack without axis names is a Z stack, and a note says so. Raises UnreadableVolumeError with the question
    to answer for time series, samples per pixel and dimensions without a meaning.
    """
    if "S" in axes:
        n = shape[axes.index("S")]
        raise UnreadableVolumeError(
            f"{path}: colour image ({n} samples per pixel), and which of them is the signal is unknown; "
            "save it as grey values or as separate channels (Fiji: Image > Type > 8-bit)"
        )
    if not axes.endswith("YX"):
        raise UnreadableVolumeError(f"{path}: dimensions {axes} do not end in rows and columns (YX)")
    axes, shape, notes = _named(path, axes, shape, options.axes)
    sizes = dict(zip(axes, shape, strict=True))
    if sizes.get("T", 1) > 1:
        raise UnreadableVolumeError(
            f"{path}: {sizes['T']} time points, and a Volume is one: save each time point as a file of its own, "
            'or, if they are really slices, set read option axes = "ZYX"'
        )
    strides, step = dict.fromkeys("CZ", 0), 1
    for letter, size in reversed(list(zip(axes[:-2], shape[:-2], strict=True))):
        strides[letter] = step
        step *= size
    return PlaneOrder(sizes.get("C", 1), sizes.get("Z", 1), strides["C"], strides["Z"], notes)


def _named(
    path: Path, axes: str, shape: tuple[int, ...], wanted: str | None
) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
    """Axes in the letters C, T, Z, Y, X only; those that a person gave win over the file's."""
    if wanted is not None and len(wanted) == len(axes):
        return wanted, shape, ()
    if wanted is not None and len(axes) > 2:
        raise UnreadableVolumeError(
            f'{path}: read option axes = "{wanted}" names {len(wanted)} dimensions, the file has {len(axes)}: {shape}'
        )
    unknown = [letter for letter in axes if letter not in "CTZYX"]
    if not unknown:
        return axes, shape, ()
    if len(axes) == 3:
        return "ZYX", shape, (f"a plain stack without axis names: its {shape[0]} pages are taken as slices (Z)",)
    raise UnreadableVolumeError(
        f"{path}: the meaning of dimensions {axes} with sizes {shape} is unknown; "
        f'name them with read option axes, such as "{"TZCYX"[-len(axes) :] if len(axes) < 6 else "ZYX"}"'
    )


def chosen_channels(path: Path, n_channels: int, options: ReadOptions) -> tuple[int, ...]:
    """Channels to read; a file with several needs a person's choice, because labels and models depend on it."""
    if options.channels is None:
        if n_channels > 1:
            raise UnreadableVolumeError(
                f"{path}: {n_channels} channels, and which to use is not set: set read option channels, such as [0]"
            )
        return (0,)
    if max(options.channels) >= n_channels:
        raise UnreadableVolumeError(
            f"{path}: read option channels = {list(options.channels)}, but the file has {n_channels} (numbered from 0)"
        )
    return options.channels
