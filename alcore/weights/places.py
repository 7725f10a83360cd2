"""Where weights lie on this machine: the lab's own folder first, then what other programs have fetched already."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from alcore.errors import PermanentError
from alcore.weights.catalogue import CATALOGUE

READ_BYTES = 1 << 22


def default_folder() -> Path:
    """Where `alscope models fetch` puts weights unless config.toml names a folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "alscope" / "weights"


def folders(folder: Path | None) -> tuple[Path, ...]:
    """Every folder that is searched: the one of config.toml or the default, then those of micro_sam and CellSAM."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    sam = os.environ.get("MICROSAM_CACHEDIR") or str(Path(cache) / "micro_sam")
    deepcell = Path.home() / ".deepcell" / "models" / "cellsam_v1.2"
    return (folder or default_folder(), Path(sam) / "models", deepcell)


def find(name: str, folder: Path | None = None) -> tuple[Path, ...] | None:
    """Files of the weights called `name`, all from one place, or None where they are not complete in any."""
    if name not in CATALOGUE:
        return None
    for place in folders(folder):
        files = tuple(place / used for used in CATALOGUE[name].used)
        if all(f.is_file() for f in files):
            return files
    return None


def need(name: str, backend: str, folder: Path | None = None) -> tuple[Path, ...]:
    """As `find`. Raises PermanentError with what to do when there is no such model for the backend, or it is not here."""
    known = [n for n, e in CATALOGUE.items() if e.backend == backend]
    if name not in known:
        raise PermanentError(
            f"backend {backend!r} knows no model {name!r}; there are {', '.join(known)}; for weights of your own set option "
            "checkpoint"
        )
    found = find(name, folder)
    if found is None:
        entry = CATALOGUE[name]
        raise PermanentError(
            f"weights of {name} are not in {folders(folder)[0]}: fetch them with `alscope models fetch {name}` (about "
            f"{entry.size_mb} MB, {entry.licence}), or copy {' and '.join(entry.used)} there"
        )
    return found


def digest(path: Path) -> str:
    """sha256 of a file as hex; read once per process as long as the file stays the same. Raises PermanentError."""
    try:
        stat = path.stat()
        return _digest(path, stat.st_size, stat.st_mtime_ns)
    except OSError as e:
        raise PermanentError(f"{path}: weights cannot be read ({e.strerror})") from e


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            hashed.update(block)
    return hashed.hexdigest()
