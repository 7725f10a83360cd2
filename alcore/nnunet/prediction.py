"""Foreground of volumes of any size: nnU-Net's sliding window in blocks that fit memory. Imports nnU-Net."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from alcore.types import Box, IntensityStats, VoxelSize

Mask = npt.NDArray[np.bool_]


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

    tile_step: distance of neighbouring tiles as a share of the patch (nnU-Net's own default is 0.5). block_px: network
    pixels (y, x) that are predicted at a time, along the whole of z; smaller blocks take less memory and more time and
    give the same result, because tiles lie on one grid of the whole volume, each is computed alone, and those that
    reach into a block are summed in the same order whatever the block is.
    """

    def __init__(
        self, folder: Path, device: str, tile_step: float = 0.5, block_px: tuple[int, int] = (2048, 2048)
    ) -> None:
        self.design = model.load_design(folder)
        self.device = torch.device(device)
        self.tile_step = tile_step
        self.block_px = block_px
        manager = PlansManager(dict(self.design.plans))
        self._2d = self.design.configuration == "2d"
        patch = self.design.patch_px
        self._tile = (1, *patch) if self._2d else patch
        setup = manager.get_configuration(self.design.configuration)
        network = nnUNetTrainer.build_network_architecture(manager, setup, self.design.n_channels, 2, False)
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
        """Yield (box, mask) pairs that cover the volume once: mask (Z, Y, X) bool of the voxels of `box`.

        Boxes are complete along y and x before z moves on within a block; blocks follow one another in raster order.
        stats: of the whole volume the voxels belong to. voxel_um: (z, y, x), None where unknown (taken to be the model's).
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
        height, width = self.block_px
        corners = [(y, x) for y in range(0, grid[1], height) for x in range(0, grid[2], width)]
        for n, (y, x) in enumerate(corners):
            block = _Block(grid, (y, min(y + height, grid[1])), (x, min(x + width, grid[2])))
            for i, z in enumerate(zs):
                tiles = block.reached(ys, xs, self._tile)
                for t, (start, tile) in enumerate(self._row(voxels, stats, factors, grid, z, tiles)):
                    report((n + (i + t / len(tiles)) / len(zs)) / len(corners))
                    block.add(start, self._logits(tile), self._importance)
                for first, values in block.take(zs[i + 1] if i + 1 < len(zs) else grid[0]):
                    yield self._finish(values, block, first, factors, voxels.shape[1:])

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
        fine = [(a * f, min(b * f, n)) for (a, b), f, n in zip(inside, factors, voxels.shape[1:], strict=True)]
        (z0, z1), (y0, y1), (x0, x1) = fine
        image = normalise.fixed(voxels.read(Box((z0, y0, x0), (z1 - z0, y1 - y0, x1 - x0))), stats)
        margin = [(a - f, s - b) for (a, b), f, s in zip(inside, first, stop, strict=True)]
        image = np.pad(binning.bin_image(image, factors), [(0, 0), *margin])
        for y, x in corners:
            top, left = y - first[1], x - first[2]
            yield (z, y, x), image[:, :, top : top + self._tile[1], left : left + self._tile[2]]

    @torch.inference_mode()
    def _logits(self, tile: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Foreground minus background logit (z, y, x) of one tile (C, z, y, x)."""
        batch = torch.from_numpy(np.ascontiguousarray(tile)).to(self.device)[None]
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            out = self._network(batch[:, :, 0])[:, :, None] if self._2d else self._network(batch)
        logits: npt.NDArray[np.float32] = (out[0, 1].float() - out[0, 0].float()).cpu().numpy()
        return logits

    def _finish(
        self, logits: npt.NDArray[np.float32], block: _Block, first: int, factors: binning.Factors, shape: Sequence[int]
    ) -> tuple[Box, Mask]:
        """Finished planes of a block from network grid to voxels: interpolated, cut to the block and to the volume."""
        fine = binning.upsample(logits, factors) > 0
        edges = [(first, first + len(logits)), block.y, block.x]
        starts, sizes = [], []
        cut = []
        for (a, b), origin, f, n in zip(edges, (first, block.top, block.left), factors, shape, strict=True):
            cut.append(slice((a - origin) * f, min(b * f, n) - origin * f))
            starts.append(a * f)
            sizes.append(min(b * f, n) - a * f)
        box = Box((starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2]))
        return box, fine[tuple(cut)]


class _Block:
    """Weighted sums of the tiles over one column of the network grid; planes leave it as soon as they are complete.

    It is one network pixel wider than y and x say, because interpolation to voxels looks at the neighbours.
    """

    def __init__(self, grid: tuple[int, int, int], y: tuple[int, int], x: tuple[int, int]) -> None:
        self.y, self.x = y, x
        self._depth = grid[0]
        self.top, self._bottom = max(0, y[0] - 1), min(grid[1], y[1] + 1)
        self.left, self._right = max(0, x[0] - 1), min(grid[2], x[1] + 1)
        self._first = 0
        self._sums = np.zeros((2, 0, self._bottom - self.top, self._right - self.left), np.float32)

    def reached(self, ys: list[int], xs: list[int], tile: Sequence[int]) -> list[tuple[int, int]]:
        """Starts (y, x) of the tiles that reach into the block, in raster order."""
        rows = [y for y in ys if y < self._bottom and y + tile[1] > self.top]
        columns = [x for x in xs if x < self._right and x + tile[2] > self.left]
        return [(y, x) for y in rows for x in columns]

    def add(
        self, start: tuple[int, int, int], logits: npt.NDArray[np.float32], importance: npt.NDArray[np.float32]
    ) -> None:
        """Add one tile's logits, weighted, where it lies in the block."""
        missing = min(start[0] + len(logits), self._depth) - self._first - self._sums.shape[1]
        if missing > 0:
            empty = np.zeros((2, missing, *self._sums.shape[2:]), np.float32)
            self._sums = np.concatenate([self._sums, empty], axis=1)
        into: list[slice] = []
        part: list[slice] = []
        lows = (self._first, self.top, self.left)
        for s, size, low, n in zip(start, logits.shape, lows, self._sums.shape[1:], strict=True):
            a, b = max(s, low), min(s + size, low + n)
            into.append(slice(a - low, b - low))
            part.append(slice(a - s, b - s))
        weight = importance[tuple(part)]
        self._sums[0][tuple(into)] += logits[tuple(part)] * weight
        self._sums[1][tuple(into)] += weight

    def take(self, stop: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """(first plane, mean logits) of the planes below `stop`, which no later tile reaches."""
        n = stop - self._first
        if n > 0:
            first, sums = self._first, self._sums[:, :n]
            self._first, self._sums = stop, self._sums[:, n:]
            yield first, sums[0] / sums[1]
