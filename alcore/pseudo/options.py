"""Options of a backend from plain JSON, checked against the fields of a frozen dataclass."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from alcore.errors import PermanentError

T = TypeVar("T")


def parse(kind: type[T], given: Mapping[str, Any], backend: str) -> T:
    """An instance of the dataclass `kind`, whose `__post_init__` raises ValueError for impossible values.

    Raises PermanentError naming the option and, for one that does not exist, the nearest that does.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise PermanentError(f"pseudo-label backend {backend!r} has no option {name!r}; the nearest is {near!r}")
    try:
        return kind(**given)
    except (TypeError, ValueError) as e:
        raise PermanentError(f"pseudo-label backend {backend!r}: {e}") from e


def number(name: str, value: Any, low: float, high: float) -> None:
    """Raise ValueError unless `value` is a number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"option {name} must be a number from {low:g} to {high:g}, got {value!r}")


def choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise ValueError unless `value` is one of `allowed`, of the same type."""
    if not any(type(value) is type(a) and value == a for a in allowed):
        raise ValueError(f"option {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def whole(name: str, value: Any, low: int, high: int) -> None:
    """Raise ValueError unless `value` is a whole number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"option {name} must be a whole number from {low} to {high}, got {value!r}")
