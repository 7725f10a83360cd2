"""Label a volume with a model that segments pictures: every slice in windows, slices joined to objects, all in blocks on disk."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.blocking import layout
from alcore.arrays.diskgrid import DiskGrid
from alcore.errors import PermanentError, Preempted
from alcore.pseudo.blocks import Checkpoints, for_each
from alcore.pseudo.closing import close, closed_mask
from alcore.pseudo.mosaic import Mosaic, areas, first_pixels, join
from alcore.pseudo.planes import (
    DeviceMemoryError,
    Found,
    PlaneModel,
    SliceOptions,
    chosen_channels,
    picture_of,
)
from alcore.pseudo.port import LabelArray, PseudoLabels
from alcore.pseudo.stack import Members, merged, numbered, overlaps
from alcore.stage import Context
from alcore.types import Box, VolumeInfo
from alcore.volumes import VolumeReader

BLOCK = (32, 256, 256)
"""Voxels written at a time: whole chunks of the label store."""
SMALLEST_WINDOW_PX = 256
"""A device that has no room for a window of this size has none for the model."""
BYTES_PER_PX = 16
"""Memory that the ids of one slice take per pixel while its windows are joined; slices are whole, whatever the budget."""
THREAD_GAIN = 0.7
"""Share of each further CPU thread that a network makes use of."""


def label_slices(
    model: PlaneModel, o: SliceOptions, volume: VolumeReader, info: VolumeInfo, labels: LabelArray, ctx: Context
) -> PseudoLabels:
    """See `PseudoLabeler.label`. Memory: one window for the model, the ids of one slice, and some 200 bytes for each object
    of each slice; nothing that grows with the number of slices. Raises PermanentError where one slice is beyond the budget.

    Where the device has no room for a window, smaller ones are tried and a note says so.
    """
    channels, notes = chosen_channels(info, o.channels)
    need = BYTES_PER_PX * math.prod(info.zyx[1:])
    if need > ctx.ram_bytes:
        raise PermanentError(
            f"slices of {info.zyx[1]} x {info.zyx[2]} need about {need / 2**30:.1f} GB with {model.name}, more than run.ram_gb "
            f"allows ({ctx.ram_bytes / 2**30:.1f}): raise it, or use backend threshold"
        )
    window_px = o.window_px or model.window_px
    while True:
        mosaic = Mosaic.of(info.zyx[1:], window_px, o.overlap_px)
        hours = estimate_hours(model, mosaic, info.zyx[0], ctx.threads)
        if ctx.device == "cpu" and channels and hours > o.max_cpu_hours:
            raise PermanentError(
                f"pseudo-labels by {model.name} would take about {hours:.1f} h on this CPU ({info.zyx[0]} slices of "
                f"{info.zyx[1]} x {info.zyx[2]}): use a GPU, another backend, or set option max_cpu_hours above that"
            )
        recipe = [model.name, model.version, model.record(), asdict(o), window_px, info.to_json()]
        kept = Checkpoints(ctx.scratch / f"{model.name}-{_digest(recipe)}")
        try:
            return _Run(model, o, volume, info, channels, mosaic, kept, ctx, notes).into(labels, window_px)
        except DeviceMemoryError as e:
            window_px = _smaller(model, window_px, notes, e)
        finally:
            kept.close()


def estimate_hours(model: PlaneModel, mosaic: Mosaic, slices: int, threads: int) -> float:
    """About how long a volume takes on the CPU."""
    one = sum(model.seconds(w.shape[1], w.shape[2]) for w in mosaic.windows)
    return slices * one / (1 + THREAD_GAIN * (max(threads, 1) - 1)) / 3600


def _smaller(model: PlaneModel, window_px: int, notes: list[str], error: DeviceMemoryError) -> int:
    """The window to try next. Raises `error` when the device has no room for the smallest."""
    if window_px // 2 < SMALLEST_WINDOW_PX:
        raise error
    notes.append(f"the device had no room for windows of {window_px} pixels: segmented in windows of {window_px // 2}")
    return window_px // 2


class _Run:
    """One attempt with windows of one size; each step continues from what `kept` holds."""

    def __init__(
        self,
        model: PlaneModel,
        o: SliceOptions,
        volume: VolumeReader,
        info: VolumeInfo,
        channels: tuple[int, ...],
        mosaic: Mosaic,
        kept: Checkpoints,
        ctx: Context,
        notes: list[str],
    ) -> None:
        self.model, self.o, self.volume, self.info = model, o, volume, info
        self.channels, self.mosaic, self.kept, self.ctx, self.notes = channels, mosaic, kept, ctx, notes
        self.depth = info.zyx[0]
        self.slices = layout(info.zyx, (1, *info.zyx[1:]))

    def into(self, labels: LabelArray, window_px: int) -> PseudoLabels:
        """Everything: find, join, write."""
        parameters = {**self.model.record(), "slices": asdict(self.o), "window_px": window_px}
        if not self.channels:
            return self._nothing(parameters, "the volume is flat")
        self._find()
        planes, members = self._assemble("planes", self._joined_plane, (0.9, 0.93))
        if self.o.gap_closing and self.depth > 2 * self.o.gap_closing:
            source, per_slice = planes, members
            planes, members = self._assemble("closed", lambda z: self._closed_plane(z, source, per_slice), (0.93, 0.95))
        all_members, starts = _over_stack(members)
        roots = merged(int(starts[-1]), *self._edges(planes, starts))
        final = numbered(all_members, roots, self.o.min_z_extent, self.o.min_voxels)
        if not len(final.voxels):
            return self._nothing(parameters, f"{self.model.name} found nothing")
        self._write(planes, starts, final.table, labels)
        return PseudoLabels(
            n_objects=len(final.voxels),
            foreground_fraction=float(final.voxels.sum() / math.prod(self.info.zyx)),
            confidence=tuple(round(float(c), 4) for c in final.confidence.clip(0, 1)),
            parameters=parameters,
            notes=tuple(self.notes),
        )

    def _nothing(self, parameters: dict[str, Any], why: str) -> PseudoLabels:
        self.ctx.progress(1.0, "nothing found")
        return PseudoLabels(
            0, 0.0, (), parameters, (*self.notes, f"nothing found: {why}; no pseudo-labels for this volume")
        )

    def _windows(self) -> list[Box]:
        return [Box((z, *w.start[1:]), w.shape) for z in range(self.depth) for w in self.mosaic.windows]

    def _find(self) -> None:
        """Show every window of every slice to the model; what is found is kept, window by window."""
        windows, began, new = self._windows(), time.monotonic(), 0

        def work(window: Box) -> Mapping[str, npt.NDArray[Any]]:
            nonlocal new
            new += 1
            picture = picture_of(self.volume, self.info, self.channels, window)
            found = Found.nothing(window.shape[1:]) if picture is None else self._segmented(picture)
            return {"ids": found.ids, "confidence": found.confidence}

        for n, _ in enumerate(for_each(windows, work, self.kept, "slices", self.ctx, (0.0, 0.9), packed=True), 1):
            if new:
                left = (time.monotonic() - began) / new * (len(windows) - n)
                if left > 60:
                    self.ctx.progress(0.9 * n / len(windows), f"slices: about {left / 60:.0f} min left")

    def _segmented(self, picture: npt.NDArray[np.float32]) -> Found:
        """What the model finds, with as little of the device's memory as it needs."""
        while True:
            try:
                return self.model.segment(picture)
            except DeviceMemoryError:
                how = self.model.smaller()
                if how is None:
                    raise
                self.notes.append(f"the device had no room: {how}")

    def _found(self, z: int) -> list[Found]:
        n = len(self.mosaic.windows)
        arrays = [self.kept.load(f"slices-{i:06d}") for i in range(z * n, (z + 1) * n)]
        if any(a is None for a in arrays):
            raise Preempted("pseudo-labels: a checkpoint was damaged; run it again to continue")
        return [Found(a["ids"], a["confidence"]) for a in arrays if a is not None]

    def _joined_plane(self, z: int) -> Found:
        return join(self.mosaic, self._found(z), self.o.stitch_iou)

    def _closed_plane(self, z: int, planes: DiskGrid, members: list[dict[str, npt.NDArray[Any]]]) -> Found:
        found = Found(planes[self.slices[z].slices][0], members[z]["confidence"])
        gap = self.o.gap_closing
        if z < gap or z >= self.depth - gap:
            return found
        return close(found, closed_mask(lambda k: planes[self.slices[k].slices][0] > 0, z, self.depth, gap))

    def _assemble(
        self, name: str, plane_of: Any, span: tuple[float, float]
    ) -> tuple[DiskGrid, list[dict[str, npt.NDArray[Any]]]]:
        """Write one plane of ids 1..n per slice to disk; area, first pixel and confidence of the objects of each slice."""
        planes = self.kept.grid(name, self.info.zyx, np.uint32)

        def work(box: Box) -> Mapping[str, npt.NDArray[Any]]:
            found = plane_of(box.start[0])
            planes[box.slices] = found.ids[None]
            planes.flush()
            n = len(found.confidence)
            area = areas(found.ids, n)[1:]
            in_volume = first_pixels(found.ids, n)[1:] + box.start[0] * found.ids.size
            return {"voxels": area, "first": in_volume, "confidence": found.confidence}

        return planes, list(for_each(self.slices, work, self.kept, name, self.ctx, span))

    def _edges(
        self, planes: DiskGrid, starts: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Overlaps of neighbouring slices, in ids over the stack."""

        def work(box: Box) -> Mapping[str, npt.NDArray[Any]]:
            z = box.start[0]
            pairs, share = overlaps(planes[box.slices][0], planes[self.slices[z + 1].slices][0])
            return {"pairs": pairs + starts[[z, z + 1]], "share": share}

        parts = list(for_each(self.slices[:-1], work, self.kept, "overlaps", self.ctx, (0.95, 0.97)))
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *(p["pairs"] for p in parts)])
        return pairs, np.concatenate([np.zeros(0), *(p["share"] for p in parts)])

    def _write(
        self, planes: DiskGrid, starts: npt.NDArray[np.int64], table: npt.NDArray[np.uint32], labels: LabelArray
    ) -> None:
        boxes = layout(self.info.zyx, BLOCK)
        for i, box in enumerate(boxes):
            if self.ctx.should_stop():
                raise Preempted(f"pseudo-labels: stopped after writing {i} of {len(boxes)} blocks")
            ids: npt.NDArray[np.uint32] = planes[box.slices]
            before = starts[box.start[0] : box.stop[0], None, None].astype(np.uint32)
            np.add(ids, before, out=ids, where=ids > 0)
            if ids.any():
                labels[box.slices] = table[ids]
            self.ctx.progress(0.97 + 0.03 * (i + 1) / len(boxes), f"writing: block {i + 1} of {len(boxes)}")


def _over_stack(members: list[dict[str, npt.NDArray[Any]]]) -> tuple[Members, npt.NDArray[np.int64]]:
    """Objects of all slices together, and how many there are before each slice; the last entry is the number of all."""
    counts = [len(m["confidence"]) for m in members]
    starts = np.cumsum([0, *counts]).astype(np.int64)
    z = np.repeat(np.arange(len(members)), counts)
    first = np.concatenate([m["first"] for m in members])
    return (
        Members(
            z=np.concatenate([[0], z]),
            voxels=np.concatenate([[0], *(m["voxels"] for m in members)]),
            first=np.concatenate([[np.iinfo(np.int64).max], first]),
            confidence=np.concatenate([[np.nan], *(m["confidence"] for m in members)]),
        ),
        starts,
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
