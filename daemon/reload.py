"""config.toml read again while the daemon runs: what changed, and what of it has to wait for a restart. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daemon.config import Settings
from daemon.config_selection import Section

FIXED = ("workspace", "run.executor", "run.address", "run.device", "run.workers", "run.threads", "run.nice")
"""Keys on which the lock, the database and the worker processes of a running daemon stand."""


@dataclass(frozen=True)
class Reread:
    """settings: those to go on with. changed: keys that take effect now; waiting: those that do so after a restart."""

    settings: Settings
    changed: tuple[str, ...]
    waiting: tuple[str, ...]

    def words(self) -> str:
        """One line of what came of it."""
        now = f"now in force: {', '.join(self.changed)}" if self.changed else "nothing changed"
        return f"config.toml was read again; {now}" + (f"; {self.later()}" if self.waiting else "")

    def later(self) -> str:
        """What waits for a restart; "" for nothing."""
        return f"after a restart: {', '.join(self.waiting)}" if self.waiting else ""


def reread(now: Settings, wanted: Settings) -> Reread:
    """Compare the settings in force with those that config.toml says now."""
    changed = differences(now, wanted)
    waiting = tuple(key for key in changed if key in FIXED)
    update: dict[str, Any] = {}
    for key in waiting:
        table, _, name = key.rpartition(".")
        if not table:
            update[name] = getattr(now, name)
        else:
            section = update.get(table, getattr(wanted, table))
            update[table] = section.model_copy(update={name: getattr(getattr(now, table), name)})
    settings = wanted.model_copy(update=update)
    return Reread(settings, tuple(key for key in changed if key not in FIXED), waiting)


def differences(one: Settings, other: Settings) -> tuple[str, ...]:
    """Keys whose values differ, as config.toml calls them; watched folders count as one key each way."""
    found = []
    for name in type(one).model_fields:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine == theirs:
            continue
        if name == "watch":
            found += _watch(mine, theirs)
        elif isinstance(mine, Section):
            found += [f"{name}.{key}" for key in type(mine).model_fields if getattr(mine, key) != getattr(theirs, key)]
        else:
            found.append(name)
    return tuple(found)


def _watch(mine: Any, theirs: Any) -> list[str]:
    before, after = [w.folder for w in mine], [w.folder for w in theirs]
    found = ["watch.folder"] if before != after else []
    both = zip(mine, theirs, strict=False)
    keys = {key for a, b in both for key in type(a).model_fields if getattr(a, key) != getattr(b, key)}
    return found + [f"watch.{key}" for key in sorted(keys - {"folder"})]
