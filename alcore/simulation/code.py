"""What code plays a cell: a digest of the source that chooses, learns and scores, and the versions of the libraries under it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

ROOMS = ("arrays", "fastlearner", "selection", "simulation")
"""Below `alcore`. What happens in stages is told by their versions."""
LIBRARIES = ("numpy", "scikit-learn")


@cache
def versions() -> dict[str, str]:
    """{"source": digest, library: version}: cells that other code has played are played again."""
    root = Path(__file__).parents[1]
    return {"source": digest(root, ROOMS), **{name: metadata.version(name) for name in LIBRARIES}}


def digest(root: Path, rooms: tuple[str, ...]) -> str:
    """Of names and contents of all .py files in these folders of `root`."""
    found = hashlib.sha256()
    for path in sorted(path for room in rooms for path in (root / room).rglob("*.py")):
        found.update(f"{path.relative_to(root).as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()[:16]
