"""Packages that a backend needs and alscope does not install by default: is it there, and how does one get it?"""

from __future__ import annotations

import importlib.util

from alcore.errors import MissingExtraError, install_line

MICRO_SAM = '--no-deps "micro-sam==1.8.*"'
"""micro_sam comes without what it asks for: see pyproject.toml."""
INSTALL = {
    "micro_sam": install_line("micro-sam", MICRO_SAM),
    "cellsam": install_line(
        "micro-sam", "dask-image distributed", "--no-deps git+https://github.com/vanvalenlab/cellSAM.git"
    ),
}
"""Command line by backend."""
_MODULES = {
    "micro_sam": ("micro_sam", "segment_anything", "torch_em", "kornia", "xxhash", "elf"),
    "cellsam": ("cellSAM", "segment_anything", "kornia", "dask_image", "distributed", "elf"),
}


def missing(backend: str) -> list[str]:
    """Import names that the backend needs and that are not installed. Imports nothing."""
    return [name for name in _MODULES.get(backend, ()) if importlib.util.find_spec(name) is None]


def need(backend: str) -> None:
    """Raise MissingExtraError with the install line unless everything is there."""
    absent = missing(backend)
    if absent:
        raise MissingExtraError(
            f"backend {backend!r} needs {', '.join(absent)}, not installed: {INSTALL[backend]}", {"extra": backend}
        )
