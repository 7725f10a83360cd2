"""The pages that jobs on the whole pool work on (`alcore.pages`): written before the job is on record, removed when none needs them."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection
from dataclasses import dataclass

from alcore import pages
from alcore.artifact import ArtifactStore
from alcore.errors import DiskFullError, PermanentError
from alcore.stage import Input, Inputs

USED_S = 3600.0
"""A page that is used again is marked so at most so often."""
KEPT_S = 86400.0
"""A page that was not used for so long is removed."""


@dataclass(frozen=True)
class PageKeeper:
    """Pages in the artifact store of a workspace; no job makes them, and they are on no record."""

    artifacts: ArtifactStore

    def write(self, wanted: pages.Pages) -> None:
        """Make these be there, and remember that they were used. Raises OSError."""
        try:
            for key, rows in wanted.items():
                if self.artifacts.has(key):
                    self._used(key)
                else:
                    pages.write(self.artifacts, key, rows)
        except DiskFullError as e:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.artifacts.root)) from e

    def _used(self, key: str) -> None:
        path = self.artifacts.path(key)
        if not 0 <= time.time() - path.stat().st_mtime < USED_S:
            os.utime(path)

    def there(self, inputs: Inputs) -> bool:
        """Are all pages there that a job works on? Somebody may have removed them."""
        return all(self.artifacts.has(item.key) for item in inputs.get(pages.STAGE, ()))

    def named(self, keys: Collection[str]) -> set[str]:
        """These artifacts, and those that the pages among them name."""
        found = set(keys)
        for key in filter(pages.is_page, keys):
            try:
                rows = pages.read(Input(self.artifacts.path(key), key))
            except (OSError, PermanentError):  # the job that works on it is planned anew, or fails
                continue
            found |= {artifact.partition("/")[0] for row in rows for artifact in row.values()}
        return found

    def outdated(self, needed: Collection[str], before: float) -> list[str]:
        """Pages that nobody needs and that were used last before then."""
        found = []
        for path in self.artifacts.root.glob(f"[!.]*/{pages.STAGE}-*"):
            try:
                if path.name not in needed and path.stat().st_mtime < before:
                    found.append(path.name)
            except OSError:
                continue
        return found
