"""The image of one patch as it was kept with a suggestion (with some context around it) or with a label (exactly)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from alcore.errors import PermanentError
from alcore.types import Box

IMAGE = "image.tif"
PAGE = "suggestion.json"


@dataclass(frozen=True)
class PatchImage:
    """path: (C, Z, Y, X) as acquired. inside: where the patch lies in it. shape (z, y, x): of all of it, if the page beside it
    says so, else of the patch."""

    path: Path
    inside: Box
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, folder: Path, patch: tuple[int, int, int]) -> PatchImage:
        """From the folder of a suggestion or a label, for a patch of that shape (z, y, x).

        Raises PermanentError, naming the file, for a page that cannot be read.
        """
        before = after = (0, 0, 0)
        page = folder / PAGE
        if page.is_file():
            try:
                margin = json.loads(page.read_text()).get("margin")
                if margin:
                    before, after = _three(margin["before"]), _three(margin["after"])
            except (OSError, ValueError, KeyError, TypeError) as e:
                raise PermanentError(f"{page}: does not say where the patch is in {IMAGE} ({e})") from e
        z, y, x = (b + n + a for b, n, a in zip(before, patch, after, strict=True))
        return cls(folder / IMAGE, Box(before, patch), (z, y, x))


def _three(numbers: list[int]) -> tuple[int, int, int]:
    z, y, x = (int(n) for n in numbers)
    return z, y, x
