"""What is in a folder that is to be watched: how many volumes, and what a few of them say of themselves. Only reads."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.config import ACQUISITIONS

MOST_VOLUMES = 2000
"""So many are looked at from outside; more are only told to be more."""
MOST_OPENED = 4
FINEST_LIGHT_UM = 0.03
"""No common light microscope samples finer, most electron microscopes do."""
LIGHT = (".nd2", ".czi", ".lif")
ELECTRONS = (".mrc", ".mrcs", ".st", ".rec")


@dataclass(frozen=True)
class Seen:
    """n_volumes: at most MOST_VOLUMES are counted. n_bytes: of these. suffixes: the most frequent first.

    voxel_um: (z, y, x) um that the newest opened volume states, None when none does; silent: one that was opened states none.
    channels: most in one file. trouble: why one could not be read, "" if all could. slices: whether they look like single slices.
    """

    n_volumes: int = 0
    n_bytes: int = 0
    suffixes: tuple[str, ...] = ()
    voxel_um: tuple[float, float, float] | None = None
    silent: bool = False
    channels: int = 1
    trouble: str = ""
    slices: bool = False

    @property
    def modality(self) -> str:
        """What kind of images these probably are, "other" where nothing says so."""
        if self.channels > 1:
            return "fluorescence"
        if self.voxel_um is not None:
            return "em" if max(self.voxel_um[1:]) < FINEST_LIGHT_UM else "fluorescence"
        main = self.suffixes[0] if self.suffixes else ""
        return "fluorescence" if main in LIGHT else "em" if main in ELECTRONS else "other"


def look_into(folder: Path) -> Seen:
    """Count the volumes in a folder, and open the newest few. Raises OSError when it cannot be listed."""
    from daemon.sets import Sets
    from daemon.walk import Folder, walk

    place = Folder(folder, 0, 0.0, ACQUISITIONS)
    found = list(itertools.islice(walk(place, Sets(), lambda path, why: None), MOST_VOLUMES))
    suffixes = Counter(os.path.splitext(os.fsdecode(f.path))[1].lower() for f in found)
    newest = sorted(found, key=lambda f: f.fingerprint.mtime_ns, reverse=True)[:MOST_OPENED]
    return _opened(
        [Path(os.fsdecode(f.path)) for f in newest],
        len(found),
        sum(f.fingerprint.size for f in found),
        tuple(suffix for suffix, _ in suffixes.most_common()),
    )


def _opened(paths: Sequence[Path], n_volumes: int, n_bytes: int, suffixes: tuple[str, ...]) -> Seen:
    from alcore.errors import AlcoreError
    from alcore.volumes import open_volume, parts

    voxels: list[tuple[float, float, float] | None] = []
    channels, flat, trouble = 1, 0, ""
    for path in paths:
        try:
            held = parts(path)
            channels = max(channels, len({part.select.get("channel", 0) for part in held}))
            with open_volume(path, dict(held[0].select)) as volume:
                voxels.append(volume.voxel_um)
                flat += volume.shape[1] == 1
        except (AlcoreError, OSError) as e:
            trouble = trouble or str(e)
    stated = [v for v in voxels if v is not None]
    return Seen(
        n_volumes,
        n_bytes,
        suffixes,
        stated[0] if stated else None,
        len(stated) < len(voxels),
        channels,
        trouble,
        len(voxels) > 1 and flat == len(voxels),
    )


def likely_folder(places: Sequence[Path]) -> Path | None:
    """Among the folders directly in these places, the one with the newest acquisition in it; None where there is none."""
    best: tuple[float, Path] | None = None
    for place in places:
        for folder in sorted(_folders_in(place)):
            newest = _newest_s(folder)
            if newest is not None and (best is None or newest > best[0]):
                best = (newest, folder)
    return best[1] if best else None


def _folders_in(place: Path) -> list[Path]:
    try:
        with os.scandir(place) as entries:
            return [Path(e.path) for e in entries if e.is_dir() and not e.name.startswith(".")]
    except OSError:
        return []


def _newest_s(folder: Path) -> float | None:
    """When an acquisition directly in the folder was last changed; None without any."""
    from daemon.settle import is_wanted

    try:
        with os.scandir(folder) as entries:
            times = [
                e.stat().st_mtime
                for e in itertools.islice(entries, MOST_VOLUMES)
                if is_wanted(e.name, ACQUISITIONS, ())
            ]
    except OSError:
        return None
    return max(times, default=None)
