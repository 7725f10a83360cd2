"""Foreground of volumes of any size: nnU-Net's sliding window in blocks that fit memory. Imports nnU-Net."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from alcore.arrays import normalise
from alcore.errors import PermanentError
from alcore.nnunet import binning, model, precision
from alcore.nnunet.tile_sums import Logits, TileSums, foreground_logits
from alcore.types import Box, IntensityStats, VoxelSize

Mask = npt.NDArray[np.bool_]

LARGEST_BLOCK_PX = 2048
"""Edge of a block where memory is no matter."""
BLOCK_SHARE = 0.4
"""Share of the memory of a stage for one block; the rest is for the network, its activations and the reader."""
PIECE_BYTES = 32 << 20
"""Voxels that are read and normalised at a time, where a row of the block allows it."""


class Voxels(Protocol):
    """What prediction reads from: a lazy volume or an array in memory."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, Z, Y, X)."""

    def read(self, box: Box) -> npt.NDArray[np.generic]:
        """The voxels of `box` as (C, Z, Y, X)."""


@dataclass(frozen=True)
class ArrayVoxels:
    """An image (C, Z, Y, X) in memory as `Voxels`."""

    image: npt.NDArray[np.generic]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, Z, Y, X)."""
        c, z, y, x = self.image.shape
        return (c, z, y, x)

    def read(self, box: Box) -> npt.NDArray[np.generic]:
        """The voxels of `box` as (C, Z, Y, X)."""
        return self.image[(slice(None), *box.slices)]


class Predictor:
    """A model ready to segment.

    tile_step: distance of neighbouring tiles as a share of the patch (nnU-Net's own default is 0.5). ram_bytes: what a
    stage may use, from which the size of a block follows (see `block_of`): network pixels (y, x) that are predicted at a
    time, along the whole of z. Smaller blocks take less memory and more time and give the same result, because tiles lie
    on one grid of the whole volume, each is computed alone, and those that reach into a block are summed in the same
    order whatever the block is. block_px: that size, where it is set instead.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        tile_step: float = 0.5,
        ram_bytes: int = 4 << 30,
        block_px: tuple[int, int] | None = None,
    ) -> None:
        self.design = model.load_design(folder)
        self.device = torch.device(device)
        self.tile_step = tile_step
        self._ram_bytes, self._block_px = ram_bytes, block_px
        manager = PlansManager(dict(self.design.plans))
        self._2d = self.design.configuration == "2d"
        patch = self.design.patch_px
        self._tile = (1, *patch) if self._2d else patch
        setup = manager.get_configuration(self.design.configuration)
        network = nnUNetTrainer.build_network_architecture(
            manager, setup, self.design.n_channels, self.design.n_classes, False
        )
        network.load_state_dict(model.load_weights(folder))
        self._network = network.to(self.device).eval()
        precision.speed_up(self._network, self.device)
        gaussian = compute_gaussian(
            self._tile, value_scaling_factor=10, dtype=torch.float32, device=torch.device("cpu")
        )
        self._importance: npt.NDArray[np.float32] = gaussian.numpy()

    def foreground(
        self,
        voxels: Voxels,
        stats: Sequence[IntensityStats],
        voxel_um: VoxelSize | None,
        report: Callable[[float], None] = lambda share: None,
    ) -> Iterator[tuple[Box, Mask]]:
        """Yield (box, mask) pairs that cover the volume once: mask (Z, Y, X) bool of the voxels of `box`. See `logits`."""
        for box, values in self.class_logits(voxels, stats, voxel_um, report):
            yield box, values.max(axis=0) > 0

    def logits(
        self,
        voxels: Voxels,
        stats: Sequence[IntensityStats],
        voxel_um: VoxelSize | None,
        report: Callable[[float], None] = lambda share: None,
        begin: int = 0,
        finished: Callable[[int], None] = lambda steps: None,
    ) -> Iterator[tuple[Box, Logits]]:
        """Yield (box, logits (Z, Y, X) of the foreground, all classes but background) pairs: see `class_logits`."""
        for box, values in self.class_logits(voxels, stats, voxel_um, report, begin, finished):
            yield box, foreground_logits(values)

    def class_logits(
        self,
        voxels: Voxels,
        stats: Sequence[IntensityStats],
        voxel_um: VoxelSize | None,
        report: Callable[[float], None] = lambda share: None,
        begin: int = 0,
        finished: Callable[[int], None] = lambda steps: None,
    ) -> Iterator[tuple[Box, Logits]]:
        """Yield (box, logits) pairs that cover the volume once: (K, Z, Y, X) float32 of classes 1..K minus background.

        Boxes are complete along y and x before z moves on within a block; blocks follow one another in raster order.
        stats: of the whole volume the voxels belong to. voxel_um: (z, y, x), None where unknown (taken to be the model's).
        finished: is told how many rows of tiles are done whenever the caller has taken all their boxes; begin: so many were
        done before, with blocks of the same size, and their boxes do not come again. The others are the same to the bit.
        Raises PermanentError when the number of channels differs, or the voxel size by more than binning can make up for.
        """
        c, *shape = voxels.shape
        if c != self.design.n_channels:
            raise PermanentError(
                f"the image has {c} channels but the model was trained on {self.design.n_channels}: "
                "choose the same channels as for training"
            )
        factors = self.design.binning_of(voxel_um)
        grid = binning.binned_shape(shape, factors)
        padded = tuple(max(n, t) for n, t in zip(grid, self._tile, strict=True))
        steps = compute_steps_for_sliding_window(padded, self._tile, self.tile_step)
        # nnU-Net pads what is smaller than a tile on both sides; starts are in coordinates of the unpadded grid
        zs, ys, xs = ([s - (p - n) // 2 for s in axis] for axis, p, n in zip(steps, padded, grid, strict=True))
        height, width = self._block_px or self.block_of(grid, factors)
        corners = [(y, x) for y in range(0, grid[1], height) for x in range(0, grid[2], width)]
        rows = len(zs)
        for n, (y, x) in enumerate(corners):
            first = begin - n * rows
            if first >= rows:
                continue
            y_range, x_range = (y, min(y + height, grid[1])), (x, min(x + width, grid[2]))
            block = TileSums(grid, y_range, x_range, self._tile[0], self.design.n_classes - 1)
            for i, z in enumerate(zs):
                stop = zs[i + 1] if i + 1 < rows else grid[0]
                tiles = block.reached(ys, xs, self._tile)
                if i < first and z + self._tile[0] <= zs[first]:
                    tiles = []  # it reaches no plane that is still wanted
                for t, (start, tile) in enumerate(self._row(voxels, stats, factors, grid, z, tiles) if tiles else ()):
                    report((n + (i + t / len(tiles)) / rows) / len(corners))
                    block.add(start, self._logits(tile), self._importance)
                if i < first:
                    block.leave(stop)
                    continue
                for plane, values in block.take(stop, factors[0] == 1):
                    yield self._finish(values, block, plane, factors, voxels.shape[1:])
                finished(n * rows + i + 1)

    def block_of(self, grid: tuple[int, int, int], factors: binning.Factors) -> tuple[int, int]:
        """Network pixels (y, x) of a block that fits into the memory of the stage, but at least a tile."""
        depth, *tile = self._tile
        planes = 1 if factors[0] == 1 else depth
        fine = math.prod(factors)
        # the image below the tiles that reach into it; sums and weights; then interpolation to voxels, plane by plane
        image = 4 * self.design.n_channels * depth
        k = self.design.n_classes - 1
        inner = 4 * (k + 1) * depth + k * planes * (4 + 17 * fine)

        def cost(block: list[int]) -> int:
            y, x = (min(b, n) for b, n in zip(block, grid[1:], strict=True))
            return image * (y + 2 * tile[0]) * (x + 2 * tile[1]) + inner * (y + 2) * (x + 2)

        block = [min(LARGEST_BLOCK_PX, max(n, t)) for n, t in zip(grid[1:], tile, strict=True)]
        while cost(block) > BLOCK_SHARE * self._ram_bytes and any(b > t for b, t in zip(block, tile, strict=True)):
            axis = max((k for k in (0, 1) if block[k] > tile[k]), key=lambda k: block[k])
            block[axis] = max(tile[axis], -(-block[axis] * 3 // 4))
        return (block[0], block[1])

    def _row(
        self,
        voxels: Voxels,
        stats: Sequence[IntensityStats],
        factors: binning.Factors,
        grid: tuple[int, int, int],
        z: int,
        corners: list[tuple[int, int]],
    ) -> Iterator[tuple[tuple[int, int, int], npt.NDArray[np.float32]]]:
        """(start, image) of the tiles at depth z: the voxels below all of them are read, normalised and binned once."""
        first = (z, min(y for y, _ in corners), min(x for _, x in corners))
        stop = tuple(max(c) + t for c, t in zip(((z,), *zip(*corners, strict=True)), self._tile, strict=True))
        inside = [(max(0, a), min(b, n)) for a, b, n in zip(first, stop, grid, strict=True)]
        image = np.zeros((len(stats), *(b - a for a, b in zip(first, stop, strict=True))), np.float32)
        (z0, z1), (y0, y1), (x0, x1) = inside
        row_bytes = 8 * len(stats) * math.prod(factors) * (x1 - x0)
        rows = max(1, PIECE_BYTES // row_bytes)
        for plane, top in product(range(z0, z1), range(y0, y1, rows)):
            bottom = min(top + rows, y1)
            edges = [(plane, plane + 1), (top, bottom), (x0, x1)]
            a, b, c = (
                (lo * f, min(hi * f, n)) for (lo, hi), f, n in zip(edges, factors, voxels.shape[1:], strict=True)
            )
            box = Box((a[0], b[0], c[0]), (a[1] - a[0], b[1] - b[0], c[1] - c[0]))
            piece = binning.bin_image(normalise.fixed(voxels.read(box), stats), factors)
            image[:, plane - z, top - first[1] : bottom - first[1], x0 - first[2] : x1 - first[2]] = piece[:, 0]
        for y, x in corners:
            top, left = y - first[1], x - first[2]
            yield (z, y, x), image[:, :, top : top + self._tile[1], left : left + self._tile[2]]

    @torch.inference_mode()
    def _logits(self, tile: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (K, z, y, x) of one tile (C, z, y, x), each class minus background."""
        batch = torch.from_numpy(np.ascontiguousarray(tile)).to(self.device)[None]
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            out = self._network(batch[:, :, 0])[:, :, None] if self._2d else self._network(batch)
        logits: npt.NDArray[np.float32] = (out[0, 1:].float() - out[0, :1].float()).cpu().numpy()
        return logits

    def _finish(
        self,
        logits: npt.NDArray[np.float32],
        block: TileSums,
        first: int,
        factors: binning.Factors,
        shape: Sequence[int],
    ) -> tuple[Box, Logits]:
        """Finished planes (K, z, y, x) of a block from network grid to voxels: interpolated, cut to block and volume."""
        edges = [(first, first + logits.shape[1]), block.y, block.x]
        starts, sizes = [], []
        cut = []
        for (a, b), origin, f, n in zip(edges, (first, block.top, block.left), factors, shape, strict=True):
            cut.append(slice((a - origin) * f, min(b * f, n) - origin * f))
            starts.append(a * f)
            sizes.append(min(b * f, n) - a * f)
        box = Box((starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2]))
        fine = [binning.upsample(values, factors)[tuple(cut)] for values in logits]
        return box, fine[0][None] if len(fine) == 1 else np.stack(fine)
