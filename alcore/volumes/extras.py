"""Packages that read the formats of microscope makers: optional, and imported only for a file that needs one."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from alcore.errors import MissingExtraError, install_line


def needed(path: Path, module: str, extra: str, what: str) -> Any:
    """The imported package that reads `what`. Raises MissingExtraError with the way to get it, and its licence."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise MissingExtraError(
            f"{path}: {what} needs the package {module} (BSD-3-Clause): {install_line(extra)}"
        ) from e
