"""The annotation queue: where each patch lies, why it was chosen, how new it is, what it takes, and who has it."""

from __future__ import annotations

from rich.text import Text

from daemon.columns import folded, headed, row, shared
from daemon.store.views import QueueItem, Snapshot
from daemon.view import View, window
from daemon.view import queue as arranged
from daemon.wording import ARM, ARM_WORDS, clean, count, extent, place
from daemon.wording_state import HANDED_BACK, glyph
from daemon.wording_work import holder_words

RIGHT = (True, False, False, False, False, True, True, False, False)
HEADINGS = ("#", "id", "state", "volume", "z y x", "new", "min", "who", "why")
DETAIL = 5
"""Lines below the list for all of the patch that is looked at."""


def queue(snapshot: Snapshot, rows: int, width: int, view: View, whole: bool = False) -> list[Text]:
    """What waits for people. whole: it has the page for itself, with a line to look at and what is known of it below."""
    items = arranged(snapshot, view)
    top = headed(_title(snapshot), width, view.keys_of("queue"))
    if not snapshot.queue:
        why = snapshot.work.nothing or "suggestions follow once the pool is embedded"
        return [top, *(Text(line, "dim") for line in folded(f"empty: {clean(why)}", width))]
    if not items:
        return [top, Text(f"none of the {len(snapshot.queue)}: f shows others", "dim")]
    widths = _widths(items, width)
    below = DETAIL if whole and rows >= 14 else 0
    shown = window(len(items), rows - 2 - below, view.place if whole else 0)
    lines = [top, row([Text(h, "dim") for h in HEADINGS], widths, RIGHT)]
    for number, item in enumerate(items[shown], shown.start):
        line = row(_cells(item), widths, RIGHT)
        if whole and number == view.place:
            line.stylize("reverse")
        lines.append(line)
    if not below:
        return lines
    lines += [Text("")] * (rows - below - len(lines))
    return [*lines, *_detail(items[min(view.place, len(items) - 1)], width)]


def _title(snapshot: Snapshot) -> str:
    mine = sum(item.state in HANDED_BACK for item in snapshot.queue)
    held = snapshot.patches["held_back"]
    return (
        f"queue: {count(mine, 'patch', 'patches')} to annotate, {count(snapshot.labels['accepted'], 'label')} accepted"
        + (f", {held} held back" if held else "")
    )


def _widths(items: list[QueueItem], width: int) -> list[int]:
    people = max((len(item.user) for item in items), default=0)
    fixed = [max(2, len(str(max(item.rank for item in items)))), 6, 10, 0, 0, 4, 3, 0, 0]
    fixed[4] = max(len(" ".join(str(n) for n in item.start)) for item in items)
    fixed[7] = min(max(people, 3), 12 if width >= 120 else 7) if people else 0
    fixed[3], fixed[8] = shared(width, [w for n, w in enumerate(fixed) if n not in (3, 8)], 2, 3)
    return fixed


def _cells(item: QueueItem) -> list[Text | str]:
    state = item.state if item.ready or item.state != "open" else "soon"
    why = item.note if item.state == "rejected" else item.reason
    mark = f"{ARM[item.arm]} " if ARM[item.arm] else ""
    return [
        str(item.rank),
        Text(item.id, "bold"),
        Text.assemble(glyph(item.state), state),
        clean(item.volume),
        " ".join(str(n) for n in item.start),
        "" if item.distance is None else f"{item.distance:.2f}",
        "" if item.minutes is None else f"{item.minutes:.0f}",
        clean(item.user),
        Text(mark + clean(why), "dim"),
    ]


def _detail(item: QueueItem, width: int) -> list[Text]:
    """All of one patch, in `DETAIL` lines."""
    facts = [place(item.start), f"{extent(item.shape)} voxels"]
    facts += [] if item.distance is None else [f"{item.distance:.3f} from the nearest that was chosen before"]
    facts += [] if item.minutes is None else [f"about {item.minutes:.1f} min"]
    who = holder_words(item)
    facts += [f"{who} left" if item.left_s is not None else who] if who else []
    what = ARM_WORDS.get(item.arm, "")
    words = item.note if item.state == "rejected" else item.reason
    told = folded(", ".join(facts), width - 2)[:2]
    told += folded("; ".join(part for part in (clean(words), what) if part), width - 2)
    head = Text.assemble(("─ ", "dim"), glyph(item.state), (item.id, "bold"), f"  {clean(item.volume)}")
    found = [head, *(Text("  " + line) for line in told[: DETAIL - 1])]
    return found + [Text("")] * (DETAIL - len(found))
