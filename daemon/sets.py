"""Which files are one acquisition together with others of their folder, and which of them stands for all. Used by two threads."""

from __future__ import annotations

import os
import threading


class Sets:
    """Every set that is known: the file that stands for it (its owner, which need not be there) and the names of all its files."""

    def __init__(self) -> None:
        self._members: dict[bytes, tuple[str, ...]] = {}
        self._owners: dict[bytes, set[bytes]] = {}
        self._lock = threading.RLock()

    def gather(self, owner: bytes, members: tuple[str, ...]) -> list[bytes]:
        """`owner` stands for these files of its folder; returns the paths of the others."""
        with self._lock:
            self.scatter(owner)
            self._members[owner] = members
            folder = os.path.dirname(owner)
            others = [path for name in members if (path := os.path.join(folder, os.fsencode(name))) != owner]
            for path in others:
                self._owners.setdefault(path, set()).add(owner)
            return others

    def scatter(self, owner: bytes) -> bool:
        """`owner` stands for itself alone; returns True if it stood for others."""
        with self._lock:
            folder, members = os.path.dirname(owner), self._members.pop(owner, None)
            for name in members or ():
                path = os.path.join(folder, os.fsencode(name))
                owners = self._owners.get(path, set())
                owners.discard(owner)
                if not owners:
                    self._owners.pop(path, None)
            return members is not None

    def members(self, owner: bytes) -> tuple[str, ...] | None:
        """Names of the files that this one stands for, itself included; None when it is an acquisition by itself."""
        return self._members.get(owner)

    def owners(self, path: bytes) -> set[bytes]:
        """The files that stand for sets with this file in it. One that stands for a set itself is never part of another."""
        with self._lock:
            return {path} if path in self._members else set(self._owners.get(path, ()))

    def is_apart(self, path: bytes) -> bool:
        """Does another file stand for this one?"""
        with self._lock:
            return path in self._owners and path not in self._members
