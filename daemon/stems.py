"""Names for the files that we write beside other people's, made from names that may be anything."""

from __future__ import annotations

import re
import unicodedata

MOST_CHARACTERS = 100
MOST_BYTES = 150
"""File systems allow 255, from which a suffix and what tells two apart have to be taken."""
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)
"""Windows keeps these for devices, whatever follows the dot."""


def file_stem(name: str) -> str:
    """A file name without its suffix that every file system bears, made from the name of a volume.

    Letters and digits of every script stay, in their composed form, since some file systems take both forms for the same.
    """
    name = unicodedata.normalize("NFKC", name)
    stem = re.sub(r"\.(ome\.)?(tiff?|btf|tf8)(?=$| \()", "", name, flags=re.IGNORECASE)
    safe = re.sub(r"[^\w.+=@ -]", "_", stem).lstrip(" .-")[:MOST_CHARACTERS]
    safe = safe.encode()[:MOST_BYTES].decode(errors="ignore").rstrip(" .") or "volume"
    return RESERVED.sub(r"_\1", safe, count=1) if RESERVED.match(safe) else safe
