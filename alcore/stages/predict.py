"""Stage predict: instance segmentation of a whole volume, of any size, and how sure the model is of each of its patches."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.arrays.sizes import least_voxels, unmeasured
from alcore.stage import Context, Inputs, Params, Stage, one
from alcore.types import Box, VolumeInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from alcore.arrays.diskgrid import DiskGrid
    from alcore.arrays.entropy import PatchEntropy
    from alcore.nnunet.instances import VolumeInstances
    from alcore.pseudo.blocks import Checkpoints
    from alcore.volumes import VolumeReader

BYTES_PER_PX = 128
"""Ids read together, when objects are counted by patch, are limited so that a stage has this much memory for each."""
BYTES_PER_ID = 4
"""What a voxel counts for against `zarr_above_gb`."""
CHECKPOINT_S = 20.0
"""So much work at most is done again after a kill, besides one row of tiles."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write instances.tif (ids 1..n, uint16 or uint32 beyond 65535), objects.csv, patches.npz and prediction.json.

    Inputs: model, volume, source. params: read, version (written into the files, with the key and the hash of the model),
    min_voxels (null: the model's own), min_um3 (0: no limit; the stricter one counts), tile_step (0.5), zarr_above_gb
    (beyond it, at 4 bytes for each voxel, instances.ome.zarr is written instead of the TIFF; null: never), uncertainty
    (false; true writes uncertainty.tif or uncertainty.ome.zarr, uint8, the predictive entropy of every voxel in 0..255).
    Memory stays within `ctx.ram_bytes` for any volume (see `Predictor`); scratch needs 5 or
    6 bytes per voxel (9 or 10 with border-core) for the time being. Goes on after a kill with the next row of tiles, and on
    the processor when the GPU has no room for a tile.

    objects.csv: see `alcore.nnunet.objects`. patches.npz: (N,) float32 arrays, row i for patch i of the volume's
    patches.json. entropy_bg, entropy_fg: mean predictive entropy, 0..1, over the voxels that the network takes for
    background and for foreground; NaN where there is none (see `PatchEntropy`). foreground, border (shares of voxels),
    n_objects: of the objects in the segmentation (see `ObjectShares`).

    The result has n_objects, foreground_fraction, entropy_bg and entropy_fg of the whole volume, notes for people, and
    confidence: one minus entropy_fg, null where nothing was found. It ranks volumes, the one to look at first lowest; it is
    how sure the model is, not how right, and no estimate of a score (see `daemon.quality` for what becomes of it).
    """
    import numpy as np

    from alcore.arrays.entropy import PatchEntropy
    from alcore.arrays.patch_objects import shares
    from alcore.nnunet import sources
    from alcore.nnunet.environment import nnunet_process
    from alcore.pseudo.blocks import Checkpoints
    from alcore.volumes import open_volume
    from alcore.weights.places import digest

    volume = one(inputs, "volume")
    info = sources.volume_info(volume)
    boxes = [Box.from_json(b) for b in json.loads((volume / "patches.json").read_text())]
    (model,) = inputs["model"]
    about = {"model": str(params["version"]), "model_key": model.key, "volume_sha256": info.sha256}
    about["weights_sha256"] = digest(model.path / "weights.pt")
    kept = Checkpoints(ctx.scratch / f"prediction-{ctx.ram_bytes}")  # blocks are of one size as long as the memory is
    entropy = PatchEntropy(boxes)
    unsure = kept.grid("unsure", info.zyx, np.uint8) if params.get("uncertainty") else None
    try:
        with (
            nnunet_process(ctx.scratch, ctx.device, ctx.threads),
            open_volume(one(inputs, "source"), params["read"]) as reader,
        ):
            from alcore.nnunet import objects
            from alcore.nnunet.instances import VolumeInstances

            mask = kept.grid("mask", info.zyx, np.uint8)
            instances = VolumeInstances(kept.directory / "instances", info.zyx, ctx.ram_bytes, mask)
            try:
                work = _Segmenting(model.path, params, info, reader, instances, entropy, mask, unsure, kept, ctx)
                notes = work.run()
                ctx.progress(0.95, "writing the segmentation")
                dtype = "uint16" if instances.n_objects < 1 << 16 else "uint32"
                form = _form(info, params)
                _write(out / f"instances{form}", instances.rows, instances.ids, info, dtype, about, True)
                if unsure is not None:
                    read = _reader_of(unsure)
                    _write(out / f"uncertainty{form}", lambda: _planes(unsure), read, info, "uint8", about, False)
                ctx.progress(0.97, "measuring the objects")
                table = objects.measure(instances.ids, instances.n_objects, reader, ctx.ram_bytes)
                objects.write_objects(out / "objects.csv", table, info.voxel_um, about["model"])
                ctx.progress(0.99, "looking at the patches")
                held = shares(boxes, instances.n_objects, instances.ids, ctx.ram_bytes // BYTES_PER_PX)
            finally:
                instances.close()
    finally:
        kept.close()
    patches = entropy.patches() | held.result()
    del patches["confidence"]  # of pseudo-labelled objects only
    with open(out / "patches.npz", "wb") as f:
        np.savez(f, **patches)  # type: ignore[arg-type]
    means = entropy.volume()
    result = {
        "n_objects": instances.n_objects,
        "foreground_fraction": instances.foreground_voxels / math.prod(info.zyx),
        **means,
        "confidence": None if means["entropy_fg"] is None else round(1 - means["entropy_fg"], 6),
        "notes": [*notes, *unmeasured(params.get("min_um3", 0.0), info.voxel_um)],
    }
    (out / "prediction.json").write_text(json.dumps({**result, **about, "dtype": dtype}, indent=1))
    return result


@dataclass
class _Segmenting:
    """Prediction that is found again after a kill or on another device: what was done lies in `kept`."""

    model: Path
    params: Params
    info: VolumeInfo
    reader: VolumeReader
    instances: VolumeInstances
    entropy: PatchEntropy
    mask: DiskGrid
    unsure: DiskGrid | None
    kept: Checkpoints
    ctx: Context

    def run(self) -> tuple[str, ...]:
        """Fill instances, entropy and unsure. Returns notes for people."""
        from alcore.nnunet.fallback import where_there_is_room

        return where_there_is_room(self.ctx.device, self._attempt)

    def _attempt(self, device: str) -> None:
        from alcore.nnunet.prediction import Predictor

        nothing = self.entropy.state()
        before = self.kept.load("rows")
        begin = int(before["n"]) if before else 0
        self.entropy.restore(before or {name: 0 * values for name, values in nothing.items()})
        saved = [time.monotonic()]

        def finished(rows: int) -> None:
            if time.monotonic() - saved[0] < CHECKPOINT_S:
                return
            self.mask.flush()
            if self.unsure is not None:
                self.unsure.flush()
            import numpy as np

            self.kept.save("rows", {"n": np.array(rows), **self.entropy.state()})
            saved[0] = time.monotonic()

        predictor = Predictor(self.model, device, float(self.params.get("tile_step", 0.5)), self.ctx.ram_bytes)
        info = self.info
        least = least_voxels(self.params.get("min_voxels"), self.params.get("min_um3", 0.0), info.voxel_um)
        self.instances.segment(
            predictor, self.reader, info.stats, info.voxel_um, least, self.ctx, self._look, begin, finished
        )

    def _look(self, box: Box, logits: npt.NDArray[np.float32]) -> None:
        from alcore.arrays.entropy import entropy_bytes

        self.entropy.add(box, logits)
        if self.unsure is not None:
            self.unsure[box.slices] = entropy_bytes(logits)


def _form(info: VolumeInfo, params: Params) -> str:
    most = params.get("zarr_above_gb")
    large = most is not None and BYTES_PER_ID * math.prod(info.zyx) > most * 1e9
    return ".ome.zarr" if large else ".tif"


def _write(
    path: Path,
    rows: Callable[[], Any],
    read: Callable[[Box], npt.NDArray[np.generic]],
    info: VolumeInfo,
    dtype: str,
    about: dict[str, str],
    labels: bool,
) -> None:
    """A TIFF from rows, or an OME-Zarr from boxes, as the name says."""
    from alcore.volumes.labels_zarr import write_labels_zarr
    from alcore.volumes.writers import write_labels_tiff

    if path.suffix == ".zarr":
        write_labels_zarr(path, read, info.zyx, dtype, info.voxel_um, about, labels)
    else:
        write_labels_tiff(path, rows(), info.zyx, dtype, info.voxel_um, about)


def _reader_of(grid: DiskGrid) -> Callable[[Box], npt.NDArray[np.generic]]:
    return lambda box: grid[box.slices]


def _planes(grid: DiskGrid) -> Any:
    """Planes in pieces of at most some MB."""
    depth, height, width = grid.shape
    rows = max(1, (16 << 20) // width)
    for z in range(depth):
        for y in range(0, height, rows):
            yield grid[slice(z, z + 1), slice(y, min(y + rows, height)), slice(0, width)][0]


STAGE = Stage("predict", 3, run, long=True)
