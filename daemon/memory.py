"""Gives memory that is free back to the machine, which the C library would otherwise keep for later."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Give back what this process has freed. Does nothing with a C library that has no `malloc_trim` (all but glibc).

    Plans and results of a whole pool are megabytes for moments, and once such a block was freed glibc keeps blocks as large as
    that: the daemon would stay as large as it ever was.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
