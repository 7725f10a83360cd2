"""A simulated microscope: it appends planes to a TIFF in the watched folder, slowly, and closes it when the volume is done."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.demo.split import Piece


@dataclass
class Microscope:
    """Writes the volumes one after the other. `error` says what went wrong, if anything did."""

    volumes: Sequence[Piece]
    folder: Path
    seconds_per_volume: float
    error: str = ""

    def run(self, stop: threading.Event) -> None:
        """Acquire until all volumes are written or `stop` is set."""
        try:
            for volume in self.volumes:
                if not self._acquire(volume, stop):
                    return
        except OSError as e:
            self.error = f"the simulated microscope cannot write: {e}"

    def _acquire(self, volume: Piece, stop: threading.Event) -> bool:
        import tifffile

        wait = self.seconds_per_volume / len(volume.image)
        metadata, resolution = calibration(volume.voxel_um)
        metadata["images"] = metadata["slices"] = len(volume.image)
        with tifffile.TiffWriter(self.folder / volume.name, imagej=False) as tif:
            for number, plane in enumerate(volume.image):
                tif.write(
                    plane,
                    photometric="minisblack",
                    contiguous=True,
                    metadata=None,
                    description=imagej_description(metadata) if number == 0 else None,
                    resolution=resolution,
                    resolutionunit=1,
                )
                if stop.wait(wait):
                    return False
        return True


def calibration(voxel_um: tuple[float, float, float] | None) -> tuple[dict[str, object], tuple[float, float]]:
    """ImageJ's way to say the voxel size: spacing and unit in words, pixels per unit in the resolution tags."""
    if voxel_um is None:
        return {}, (1.0, 1.0)
    z, y, x = voxel_um
    return {"spacing": z, "unit": "um"}, (1 / x, 1 / y)


def imagej_description(metadata: dict[str, object]) -> str:
    """The text that marks a stack as ImageJ's."""
    return "ImageJ=1.54f\n" + "".join(f"{key}={value}\n" for key, value in metadata.items())
