"""Pixels of one subblock of a Zeiss CZI: kinds of pixels and compression, as intensities or R, G, B."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.port import Array

PIXELS = {
    "Gray8": ("u1", 1),
    "Gray16": ("<u2", 1),
    "Gray32": ("<i4", 1),
    "Gray32Float": ("<f4", 1),
    "Bgr24": ("u1", 3),
    "Bgr48": ("<u2", 3),
    "Bgr96Float": ("<f4", 3),
    "Bgra32": ("u1", 4),
}
"""Name of a kind of pixels -> (dtype of a sample, samples)."""
RAW, LZW, JPEG_XR, ZSTD_0, ZSTD_1 = 0, 2, 4, 5, 6
COMPRESSIONS = (RAW, LZW, JPEG_XR, ZSTD_0, ZSTD_1)


@dataclass(frozen=True)
class Kind:
    """How the pixels of a subblock are stored: dtype of a sample, samples side by side (B, G, R, A), compression."""

    dtype: np.dtype[np.generic]
    stored_samples: int
    compression: int

    @property
    def samples(self) -> int:
        """Samples that are intensities: 1, or 3 for R, G, B."""
        return min(3, self.stored_samples)


def kind_of(path: Path, pixel_type: str, compression: int) -> Kind:
    """Raises UnreadableVolumeError for pixels that are no intensities, and for compressions that are not understood."""
    if pixel_type not in PIXELS:
        raise UnreadableVolumeError(f"{path}: pixels of kind {pixel_type} are no intensities; save it as grey values")
    if compression not in COMPRESSIONS:
        raise UnreadableVolumeError(
            f"{path}: CZI compression {compression} is not supported; save it without, or with Zstandard or JPEG XR"
        )
    dtype, samples = PIXELS[pixel_type]
    return Kind(np.dtype(dtype), samples, compression)


def coloured(pixels: Array, kind: Kind) -> Array:
    """(rows, columns, samples): B, G, R turned to R, G, B, without transparency. JPEG XR decodes to that order."""
    if kind.stored_samples == 1:
        return pixels
    return pixels[..., :3] if kind.compression == JPEG_XR else pixels[..., 2::-1]


def decoded(path: Path, data: bytes, kind: Kind, height: int, width: int) -> Array:
    """(rows, columns, stored samples) of a compressed subblock. Raises UnreadableVolumeError when it is not whole."""
    import imagecodecs

    shape = (height, width, kind.stored_samples)
    n = height * width * kind.stored_samples * kind.dtype.itemsize
    with readable(path):
        if kind.compression == JPEG_XR:
            found: Array = np.asarray(imagecodecs.jpegxr_decode(data))
            if found.size != height * width * kind.stored_samples or found.dtype != kind.dtype.newbyteorder("="):
                raise UnreadableVolumeError(
                    f"{path}: a subblock decodes to {found.shape} {found.dtype}, not {shape}; {AGAIN}"
                )
            return found.reshape(shape)
        is_split = False
        if kind.compression == ZSTD_1:  # a head of 1 or 3 bytes: whether low and high bytes are stored apart
            is_split = len(data) > 2 and data[0] == 3 and data[1] == 1 and bool(data[2] & 1)
            data = data[data[0] :]
        plain = imagecodecs.lzw_decode(data, out=n) if kind.compression == LZW else imagecodecs.zstd_decode(data, out=n)
        if len(plain) != n:
            raise UnreadableVolumeError(f"{path}: a subblock decodes to {len(plain)} of {n} bytes; {AGAIN}")
        if is_split:
            plain = np.frombuffer(plain, np.uint8).reshape(2, -1).T.tobytes()
        return np.frombuffer(plain, kind.dtype).reshape(shape)
