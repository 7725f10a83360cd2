"""Where the embeddings of waiting patches lie, and when they go: each patch is some 100 MB, and nobody needs it after the answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from alcore.stages.sam_embedding import CACHE
from daemon.workspace import Workspace


def cache_of(workspace: Workspace, package: str) -> Path:
    """The folder of one patch. package: key of its artifact."""
    return workspace.places.cache / CACHE / package


def tidy(workspace: Workspace, waiting: Callable[[], Collection[str]]) -> int:
    """Remove what belongs to no waiting patch; returns how many. waiting: asked for their packages where there
    is anything at all."""
    root = workspace.places.cache / CACHE
    there = list(root.iterdir()) if root.is_dir() else []
    wanted = waiting() if there else ()
    gone = [path for path in there if path.name not in wanted]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return len(gone)
