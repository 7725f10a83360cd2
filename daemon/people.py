"""Names of people: one person is one name, wherever it was typed."""

from __future__ import annotations

import unicodedata

MOST_CHARACTERS = 80


def name_of(said: object) -> str:
    """A name as it is kept and compared: printable, composed (Unicode NFC: a Mac types an accent as two characters), without
    space around or doubled within, at most `MOST_CHARACTERS`; "" for what is no name."""
    if not isinstance(said, str):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", said))
    return " ".join(printable.split())[:MOST_CHARACTERS].rstrip()
