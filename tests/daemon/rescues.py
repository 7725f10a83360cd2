"""A workspace whose database is lost, and what a daemon on it is told."""

from __future__ import annotations

import os
from pathlib import Path

from daemon.config import Settings, from_mapping
from daemon.workspace import Workspace


def settings(workspace: Workspace) -> Settings:
    raw = {"workspace": str(workspace.root), "watch": [{"folder": str(workspace.root.parent / "in")}]}
    return from_mapping(raw, workspace.root.parent / "config.toml")


def overwrite(path: Path) -> None:
    """As a failing disk does: rubbish in the middle."""
    with open(path, "r+b") as f:
        f.seek(4096)
        f.write(os.urandom(4096 * 20))
