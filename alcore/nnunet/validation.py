"""How well a network in training segments patches that no step sees: whole patches, the same each time. Imports nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2


class Validation:
    """Preprocessed cases, kept in memory: they are few."""

    def __init__(self, folder: Path, case_ids: Sequence[str], patch_px: Sequence[int], ignore: int | None) -> None:
        """patch_px: of the network, (z, y, x), or (y, x) for one of planes. ignore: label of voxels that do not count."""
        dataset = nnUNetDatasetBlosc2(str(folder), list(case_ids))
        self._cases: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int16]]] = []
        for case_id in case_ids:
            data, seg, _, _ = dataset.load_case(case_id)
            self._cases.append((np.asarray(data[:], np.float32), np.asarray(seg[:], np.int16)[0]))
        self._patch = tuple(int(n) for n in patch_px)
        self._ignore = ignore

    def dice(self, network: torch.nn.Module, device: torch.device) -> float:
        """Foreground Dice over all voxels of all cases; 1 where there is no foreground and none is found.

        The network is in evaluation mode and may answer at several resolutions, the finest first.
        """
        hits = misses = 0
        for data, seg in self._cases:
            counted = np.ones(seg.shape, bool) if self._ignore is None else seg != self._ignore
            true = (seg > 0) & counted
            found = self._foreground(network, device, data) & counted
            hits += int((found & true).sum())
            misses += int((found ^ true).sum())
        return 2 * hits / (2 * hits + misses) if hits + misses else 1.0

    def _foreground(
        self, network: torch.nn.Module, device: torch.device, data: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        """(Z, Y, X) of data (C, Z, Y, X), tile beside tile; what is smaller than a tile is padded with zeros."""
        planes = len(self._patch) == 2
        patch = (1, *self._patch) if planes else self._patch
        shape: tuple[int, ...] = data.shape[1:]
        missing = [max(0, p - n) for p, n in zip(patch, shape, strict=True)]
        padded = np.pad(data, [(0, 0), *((0, m) for m in missing)])
        out = np.zeros(padded.shape[1:], bool)
        for start in product(*map(_starts, out.shape, patch)):
            box = tuple(slice(a, a + p) for a, p in zip(start, patch, strict=True))
            tile = torch.from_numpy(np.ascontiguousarray(padded[(slice(None), *box)]))[None].to(device)
            with torch.no_grad(), torch.autocast(device.type, enabled=device.type == "cuda"):
                answer = network(tile[:, :, 0] if planes else tile)
            finest = answer[0] if isinstance(answer, list | tuple) else answer
            mask = (finest[0].argmax(0) > 0).cpu().numpy()
            out[box] = mask[None] if planes else mask
        return out[: shape[0], : shape[1], : shape[2]]


def _starts(n: int, patch: int) -> list[int]:
    """Where tiles begin so that they cover 0..n, the last one ending there."""
    return [*range(0, n - patch, patch), n - patch]
