"""Lists of artifacts that are too long to be said one by one, in pages: artifacts that name others.

A job on a pool of twenty thousand volumes works on eighty thousand artifacts. Its inputs are the pages of a list of them; a page
that has not changed is the same artifact as before, so that one more volume is one more page, and what was learned of the others
still holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from alcore.artifact import ArtifactStore, recipe_key
from alcore.errors import PermanentError
from alcore.stage import Input

STAGE, VERSION = "page", 1
FILE = "page.json"
BLOCKS = "blocks"
"""Folder of the cache with what is known of the patches on each page (`alcore.selection.blocks`)."""
ROWS = 256
"""Volumes whose rows share a page."""

Row = Mapping[str, str]
"""Keys of artifacts by what they are, such as {"embedding": ..., "volume": ...}."""
Pages = Mapping[str, Sequence[Row]]
"""Rows by the key of their page, in order."""


def paged(rows: Sequence[tuple[int, Row]]) -> dict[str, list[Row]]:
    """Rows in pages. Each comes with a number, ascending, that says where it belongs whatever else there is."""
    by_page: dict[int, list[Row]] = {}
    for number, row in rows:
        by_page.setdefault(number // ROWS, []).append(row)
    return {page_key(page): page for page in by_page.values()}


def page_key(rows: Sequence[Row]) -> str:
    """Key of the page with these rows."""
    return recipe_key(STAGE, VERSION, {"rows": rows}, {})


def is_page(key: str) -> bool:
    """Is this the key of a page?"""
    return key.startswith(f"{STAGE}-")


def write(store: ArtifactStore, key: str, rows: Sequence[Row]) -> None:
    """Publish a page, unless it is there. Raises DiskFullError, OSError."""

    def fill(out: Path) -> dict[str, int]:
        (out / FILE).write_text(json.dumps(rows))
        return {"n": len(rows)}

    store.create(key, STAGE, VERSION, {}, {}, fill)


def read(page: Input) -> list[dict[str, str]]:
    """The rows of a page. Raises PermanentError for one that is not as it was written, FileNotFoundError where it is not there."""
    path = page.path / FILE
    try:
        rows: list[dict[str, str]] = json.loads(path.read_text())
        whole = page_key(rows) == page.key
    except (ValueError, TypeError):
        whole = False
    if not whole:
        raise PermanentError(f"{path}: is not the list that alscope wrote; remove the folder and it is made again")
    return rows


def on_page(page: Input, key: str) -> Input:
    """An artifact, or ("volume-.../0003") a folder in it, that a row of this page names: it lies in the same store."""
    artifact, _, folder = key.partition("/")
    return Input(ArtifactStore(page.path.parents[1]).path(artifact) / folder, key)
