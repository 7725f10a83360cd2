"""Proof that a TIFF is complete: what tifffile would read as fewer slices, as zeros or without end is refused."""

from __future__ import annotations

import os
from pathlib import Path

from alcore.errors import UnreadableVolumeError
from alcore.volumes import tiff_chain
from alcore.volumes.faults import readable
from alcore.volumes.tiff_planes import TiffPlanes

BOMB_RATIO = 1000
"""No compressor makes real images that small; deflate ends at 1032, for one constant value."""
BOMB_BYTES = 256 << 20
"""Below this decoded size the ratio does not matter."""


def tiff_problems(path: Path, limit_bytes: int) -> list[str]:
    """What is wrong with a TIFF, from its directories and metadata alone (no voxel is decoded); empty when complete.

    limit_bytes: largest decoded size that is believed.
    """
    problems = _chain_problems(path)
    if problems:
        return problems
    try:
        planes = TiffPlanes(path)
    except UnreadableVolumeError as e:
        return [str(e).removeprefix(f"{path}: ")]
    try:
        claimed = planes.nbytes / 2**30
        if planes.nbytes > limit_bytes:
            limit = limit_bytes / 2**30
            return [f"{planes.shape} {planes.dtype} is {claimed:.3g} GB, above the limit of {limit:.3g} GB"]
        if planes.nbytes > max(BOMB_BYTES, BOMB_RATIO * planes.file_bytes):
            return [f"{planes.file_bytes} bytes claim to hold {claimed:.3g} GB: no image compresses so well"]
    finally:
        planes.close()
    return []


def _chain_problems(path: Path) -> list[str]:
    """Pages that are cut off, reserved but unwritten, outside the file or unlike the others."""
    kinds: dict[tuple[tuple[int, ...], ...], int] = {}
    with readable(path):
        size = os.stat(path).st_size
        try:
            for page in tiff_chain.walk(path):
                segments = page.segments
                if not segments:
                    return [f"page {page.index} has no image data"]
                bad = next(((o, n) for o, n in segments if not o or not n or o + n > size), None)
                if bad is not None:
                    where = f"{bad[1]} bytes at byte {bad[0]}" if all(bad) else "never written"
                    return [f"page {page.index}: image data {where}, the file ends at {size}"]
                if not page.is_reduced:
                    kinds.setdefault(page.kind, page.index)
        except tiff_chain.BrokenChainError as e:
            return [str(e)]
    if len(kinds) > 1:
        first, other = sorted(kinds.values())[:2]
        return [f"pages {first} and {other} differ in size, bits or compression: several images, or an unfinished one"]
    return []
