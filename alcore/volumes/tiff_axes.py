"""What the dimensions of a TIFF mean: from the letters in the file, or from what a person says, to time, channels and slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alcore.errors import UnreadableVolumeError
from alcore.volumes.port import ReadOptions


@dataclass(frozen=True)
class PlaneOrder:
    """Sizes, and where a plane is among the planes of a file: t * t_stride + c * c_stride + z * z_stride."""

    n_times: int
    n_channels: int
    n_slices: int
    t_stride: int
    c_stride: int
    z_stride: int

    def plane(self, time: int, channel: int, z: int) -> int:
        """Number of one plane."""
        return time * self.t_stride + channel * self.c_stride + z * self.z_stride


def plane_order(path: Path, axes: str, shape: tuple[int, ...], options: ReadOptions) -> PlaneOrder:
    """Interpret the dimensions `axes` of `shape`, of which the last two are Y, X.

    Z and T are never guessed: raises UnreadableVolumeError with the question for dimensions without a meaning.
    """
    if not axes.endswith("YX"):
        raise UnreadableVolumeError(
            f"{path}: dimensions {axes} do not end in rows and columns (YX); save it as OME-TIFF"
        )
    axes, shape = _named(path, axes, shape, options.axes)
    sizes = dict(zip(axes, shape, strict=True))
    strides, step = dict.fromkeys("TCZ", 0), 1
    for letter, size in reversed(list(zip(axes[:-2], shape[:-2], strict=True))):
        strides[letter] = step
        step *= size
    return PlaneOrder(sizes.get("T", 1), sizes.get("C", 1), sizes.get("Z", 1), strides["T"], strides["C"], strides["Z"])


def _named(path: Path, axes: str, shape: tuple[int, ...], wanted: str | None) -> tuple[str, tuple[int, ...]]:
    """(axes in the letters C, T, Z, Y, X only, their sizes); those that a person gave win over the file's."""
    if wanted is not None and len(wanted) == len(axes) and set(axes) - set("CTZYX"):
        return wanted, shape
    long = [i for i, size in enumerate(shape) if size > 1 or i >= len(shape) - 2]
    axes, shape = "".join(axes[i] for i in long), tuple(shape[i] for i in long)  # nobody names dimensions of one
    if wanted is not None and len(wanted) == len(axes):
        return wanted, shape
    if not set(axes) - set("CTZYX") and len(set(axes)) == len(axes):
        return axes, shape  # a person's word about stacks does not concern a file of other dimensions that names them
    if wanted is not None:
        raise UnreadableVolumeError(
            f'{path}: axes = "{wanted}" of its watched folder names {len(wanted)} dimensions, '
            f"the file has {len(axes)}: {shape}; "
            "correct it in config.toml"
        )
    if len(axes) == 3:
        question = f'{shape[0]} pages without names: are they slices, time points or channels? Set axes = "ZYX", "TYX" or "CYX"'
    elif len(axes) <= 5:
        question = f'what are its dimensions {shape}? Set axes, such as "{"TZCYX"[-len(axes) :]}",'
    else:
        raise UnreadableVolumeError(
            f"{path}: {len(axes)} dimensions {axes} {shape} are more than a volume has; save it as OME-TIFF"
        )
    raise UnreadableVolumeError(f"{path}: {question} for its watched folder in config.toml")
