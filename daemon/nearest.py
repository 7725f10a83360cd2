"""What somebody meant who wrote a name that does not exist: the nearest one that does. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

SHORT = 5
"""Letters of a word below which one other letter makes another word: gpu is not cpu."""


def nearest(said: str, known: Iterable[str]) -> str | None:
    """The name among `known` that is most like `said`, or None when none is.

    Names that differ in capitals, in dashes for underscores or in the zeros before a number are the same name: s0001 is s00001.
    """
    names = list(known)
    alike = [name for name in names if _bare(name) == _bare(said)]
    found = alike or difflib.get_close_matches(said, names, n=1, cutoff=0.75 if len(said) < SHORT else 0.6)
    return found[0] if found else None


def did_you_mean(said: str, known: Iterable[str], otherwise: str) -> str:
    """ "did you mean 'status'?", or `otherwise` when nothing is near."""
    found = nearest(said, known)
    return f"did you mean {found!r}?" if found else otherwise


def _bare(name: str) -> str:
    return re.sub(r"0*(\d+)", r"\1", name.lower().replace("-", "_"))
