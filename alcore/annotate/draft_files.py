"""What lies in the folder of a draft, and whose it is: looked up without reading a voxel."""

from __future__ import annotations

import json
from pathlib import Path

DRAFT, UNCOMMITTED, ABOUT = "draft.tif", "uncommitted.tif", "draft.json"


def drafted_by(folder: Path) -> str | None:
    """Who drew the draft in a folder, "" where that was not written down; None where there is no draft."""
    if not (folder / DRAFT).is_file():
        return None
    try:
        about = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError):  # killed before it was written the first time
        return ""
    return str(about.get("user", "")) if isinstance(about, dict) else ""


def forget_draft(folder: Path) -> None:
    """Remove a draft, and nothing else that lies there."""
    for name in (DRAFT, UNCOMMITTED, ABOUT):
        (folder / name).unlink(missing_ok=True)
