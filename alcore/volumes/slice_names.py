"""The order of slice files by the numbers in their names, and proof that none is missing between the first and the last."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alcore.errors import UnreadableVolumeError

TIME_WORD = re.compile(r"(?:^|[^a-z])(?:t|tp|time|timepoint|frame)[ _=-]*$", re.IGNORECASE)
CHANNEL_WORD = re.compile(r"(?:^|[^a-z])(?:c|ch|chan|channel)[ _=-]*$", re.IGNORECASE)
"""What stands before a number that counts something else than slices."""
MOST_TOLD = 5
"""Missing slices that a message names."""


@dataclass(frozen=True)
class SliceOrder:
    """Files of one folder in order. letter: what their number counts: Z, T or C."""

    names: tuple[str, ...]
    letter: str
    notes: tuple[str, ...] = ()


def order_of(path: Path, names: Sequence[str], axes: str | None) -> SliceOrder:
    """Natural order of slice files: numbers by value, compared field by field. axes: "ZYX", "TYX", "CYX" or None.

    Raises UnreadableVolumeError, with the question to answer, for names of several patterns, without a number, with several
    numbers that vary, with gaps, or whose number seems to count time points or channels.
    """
    letter = axes[0] if axes is not None and len(axes) == 3 else None
    if len(names) == 1:
        return SliceOrder(tuple(names), letter or "Z")
    fields = {name: _fields(path, name) for name in names}
    texts = {name: _texts(name) for name in names}
    usual = Counter(texts.values()).most_common(1)[0][0]
    odd = sorted(name for name in names if texts[name] != usual)
    if odd:
        like = min(name for name in names if texts[name] == usual)
        raise UnreadableVolumeError(
            f"{path}: {odd[0]} is not called like the other files, such as {like}: a folder of slices holds one volume"
        )
    at = _index_field(path, fields)
    if letter is None:
        _ask(path, usual[at], len(names))
    ordered = sorted(names, key=lambda name: fields[name])
    step = _step(path, ordered, [fields[name][at] for name in ordered])
    notes = (f"its slices are numbered in steps of {step}",) if step > 1 else ()
    return SliceOrder(tuple(ordered), letter or "Z", notes)


def _stem(name: str) -> str:
    return name[: name.rindex(".")]


def _fields(path: Path, name: str) -> tuple[int, ...]:
    found = tuple(int(digits) for digits in re.findall(r"[0-9]+", _stem(name)))
    if not found:
        raise UnreadableVolumeError(f"{path}: {name} has no number in its name: where among the slices does it belong?")
    return found


def _texts(name: str) -> tuple[str, ...]:
    return tuple(re.split(r"[0-9]+", _stem(name)))


def _index_field(path: Path, fields: dict[str, tuple[int, ...]]) -> int:
    """Which number counts the slices: the only one that varies, or the one with which the others grow (a position, a time)."""
    rows = sorted(fields.items(), key=lambda item: item[1])
    numbers = [row for _, row in rows]
    varying = [i for i in range(len(numbers[0])) if len({row[i] for row in numbers}) > 1]
    if not varying:
        raise UnreadableVolumeError(f"{path}: {rows[0][0]} and {rows[1][0]} have the same number")
    if len(varying) == 1:
        return varying[0]
    counts = len({row[varying[0]] for row in numbers}) == len(numbers)
    rest = [tuple(row[i] for i in varying[1:]) for row in numbers]
    if counts and all(a < b for a, b in itertools.pairwise(rest)):
        return varying[0]
    raise UnreadableVolumeError(
        f"{path}: {len(varying)} numbers vary in the names of its files (from {rows[0][0]} to {rows[-1][0]}): "
        "put every time point and every channel into a folder of its own"
    )


def _ask(path: Path, before: str, n: int) -> None:
    """Raise when the number seems to count something else than slices: that is never guessed."""
    for word, what, letter in ((TIME_WORD, "time points", "T"), (CHANNEL_WORD, "channels", "C")):
        if word.search(before):
            raise UnreadableVolumeError(
                f'{path}: the number of its {n} files follows "{before.strip()[-12:]}": are they {what} or slices? '
                f'Set axes = "{letter}YX" or "ZYX" for its watched folder in config.toml'
            )


def _step(path: Path, names: Sequence[str], numbers: Sequence[int]) -> int:
    """The distance of all neighbours. Raises for two files with one number, and for gaps, naming the missing ones."""
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    if 0 in steps:
        at = steps.index(0)
        raise UnreadableVolumeError(f"{path}: {names[at]} and {names[at + 1]} have the same number")
    if len(set(steps)) == 1 and (steps[0] == 1 or len(names) > 2):
        return steps[0]
    usual = Counter(steps).most_common(1)[0][0] if len(names) > 2 else 1
    if any(step % usual for step in steps):
        usual = 1
    wanted = (numbers[-1] - numbers[0]) // usual + 1
    missing: list[str] = []
    for a, b in itertools.pairwise(numbers):
        missing += [str(n) for n in range(a + usual, min(b, a + usual * (MOST_TOLD + 2)), usual)]
        if len(missing) > MOST_TOLD:
            break
    told = ", ".join(missing[:MOST_TOLD]) + (", ..." if len(missing) > MOST_TOLD else "")
    one = len(missing) == 1
    raise UnreadableVolumeError(
        f"{path}: {'slice' if one else 'slices'} {told} {'is' if one else 'are'} missing between {names[0]} and {names[-1]}: "
        f"{len(names)} of {wanted} are there"
    )
