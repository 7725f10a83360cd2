"""On the device of the job, or on the processor where that has no room: a tile of the network's plan cannot be made smaller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alcore.nnunet.remedies import out_of_memory
from alcore.types import IntensityStats, VoxelSize

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from alcore.nnunet.prediction import Predictor

NOTE = "the GPU has no room for a tile of the model: segmented by the processor, which takes longer"


def where_there_is_room(
    device: str, attempt: Callable[[str], None], release: Callable[[], None] = lambda: None
) -> tuple[str, ...]:
    """Call `attempt` with the device; if its memory does not suffice, once more with "cpu". Returns notes for people.

    What was computed before may stay where `attempt` finds it again. release: lets go of what the failed attempt holds on the
    device. Raises what `attempt` raises, and what the processor does.
    """
    import torch

    try:
        attempt(device)
        return ()
    except RuntimeError as e:
        if device == "cpu" or not (isinstance(e, torch.OutOfMemoryError) or out_of_memory(e)):
            raise
    release()
    torch.cuda.empty_cache()  # outside of the handler, which keeps the tensors of the failed attempt alive
    attempt("cpu")
    return (NOTE,)


class PatchSegmenter:
    """A model that segments patch after patch: on the device of the job until that has no room, from then on on the processor.

    Use inside `nnunet_process`. tile_step, ram_bytes: see `Predictor`. After a change of device `notes` says so.
    """

    def __init__(self, folder: Path, device: str, tile_step: float, ram_bytes: int) -> None:
        self._folder, self._device, self._how = folder, device, (tile_step, ram_bytes)
        self._predictor: Predictor | None = None
        self.notes: tuple[str, ...] = ()

    def segment(
        self,
        image: npt.NDArray[np.generic],
        stats: Sequence[IntensityStats],
        voxel_um: VoxelSize | None,
        min_voxels: int | None,
    ) -> npt.NDArray[np.uint32]:
        """See `instances.segment_patch`. Raises what that raises."""
        from alcore.nnunet.instances import segment_patch

        found: list[npt.NDArray[np.uint32]] = []

        def attempt(device: str) -> None:
            found.append(segment_patch(self._on(device), image, stats, voxel_um, min_voxels))

        self.notes += where_there_is_room(self._device, attempt, self._forget)
        return found[0]

    def _on(self, device: str) -> Predictor:
        from alcore.nnunet.prediction import Predictor

        if self._predictor is None:
            self._predictor, self._device = Predictor(self._folder, device, *self._how), device
        return self._predictor

    def _forget(self) -> None:
        self._predictor = None
