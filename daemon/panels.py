"""The frame around every page: state of the daemon and of the machine, what runs now, the pipeline, the newest alarm, the keys."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from daemon.columns import GAP, fitted
from daemon.store.views import Snapshot
from daemon.view import PAGES, View
from daemon.vitals import Vitals
from daemon.wording import DAEMON, PIPELINE, STATE, clean, duration
from daemon.wording_alarms import expect_words, fresh_words
from daemon.wording_state import Part, daemon_words, glyph, idle_words, job_line, rest_words, together, works


def header(snapshot: Snapshot, vitals: Vitals | None, view: View, width: int) -> list[Text]:
    """State of the daemon and age of the data; the machine; what runs now with its progress, and below what its note says."""
    seen = snapshot.daemon.seen
    age = (
        f"  last seen {duration(snapshot.at + view.stale_s - seen)} ago" if seen is not None and works(snapshot) else ""
    )
    if view.stale_s >= 2:
        age += f"  shown as of {duration(view.stale_s)} ago"
    first = Text.assemble(("alscope  ", "bold"), *daemon_words(snapshot), (age, "dim"))
    if snapshot.daemon.state == "never":
        first.append("  waiting for the daemon", "dim")
    declared = expect_words(snapshot.expected, snapshot.at)
    if declared:
        first.append(f"  {declared}", "dim")
    return [first, machine(vitals), *now(snapshot, width)]


def machine(vitals: Vitals | None) -> Text:
    """Processor, memory, disk and GPU on one line."""
    if vitals is None:
        return Text("")
    parts = [
        f"cpu {vitals.cpu_percent:.0f}%",
        f"ram {vitals.ram_used_gb:.1f}/{vitals.ram_total_gb:.1f} GB",
        f"disk {vitals.disk_free_gb:.0f} GB free" if vitals.disk_free_gb is not None else "disk ?",
        f"gpu {vitals.gpu or '?'}",
    ]
    return Text("  ".join(parts), "dim")


def now(snapshot: Snapshot, width: int) -> list[Text]:
    """What the workers do: the most urgent job, its own words, and how much else there is."""
    head = ("now  ", "bold")
    if not works(snapshot) or not snapshot.running:
        return [Text.assemble(head, together(idle_words(snapshot), rest_words(snapshot) if works(snapshot) else ""))]
    job = snapshot.running[0]
    lines = [Text.assemble(head, glyph("running"), job_line(job, snapshot.at, max(8, min(30, width // 5))))]
    below = together(clean(job.note), clean(snapshot.daemon.note), rest_words(snapshot))
    return [*lines, Text("     " + below, "dim")] if below else lines


def jobs(snapshot: Snapshot, width: int) -> list[Text]:
    """The other running jobs, each with its own words."""
    lines = []
    for job in snapshot.running[1:] if works(snapshot) else ():
        line = job_line(job, snapshot.at, max(8, min(20, width // 6)))
        lines.append(Text.assemble(glyph("running"), line, ("; " + clean(job.note) if job.note else "", "dim")))
    return lines


def strip(snapshot: Snapshot, width: int) -> list[Text]:
    """The counts of volumes along the flow: numbers above names."""
    n = len(PIPELINE)
    wanted = [max(len(words), 5) for _, words in PIPELINE]
    spare = max(0, width - sum(wanted) - GAP * n)
    numbers, names = Text(), Text()
    for number, (key, words) in enumerate(PIPELINE):
        cells = wanted[number] + (spare * (number + 1) // n - spare * number // n)
        value = snapshot.volumes[key]
        wrong = key == "set_aside" and value
        shown = f"✗ {value}" if wrong else str(value)
        numbers.append(shown.center(cells) + " ", "bold red" if wrong else "bold" if value else "dim")
        names.append(words.center(cells) + " ", "dim")
    return [numbers, names]


def alarm(snapshot: Snapshot, width: int) -> list[Text]:
    """The newest alarm, for a quarter of an hour: it has to be seen from across the room."""
    words = fresh_words(snapshot.alarms, snapshot.at)
    return [Text.assemble(fitted(f" ! {words}", width).plain, style="bold reverse yellow")] if words else []


def keys(view: View, p_does: str) -> Text:
    """The tabs and the keys that work everywhere; or a word to the person."""
    if view.message:
        return Text(" " + clean(view.message), "reverse")
    if not view.keys:
        return Text("Ctrl-C ends it", "dim")
    parts: list[Part] = []
    for number, page in enumerate(PAGES, 1):
        there = page == view.page and not view.help
        parts.append((f"[{number} {page}]", "bold reverse") if there else (f" {number} {page} ", "dim"))
    return Text.assemble(*parts, "  ", ("p", "bold"), f" {p_does}  ", ("?", "bold"), " help  ", ("q", "bold"), " quit")


def help_page() -> list[Text]:
    """What the keys do, and what the signs mean."""
    rows = (
        ("1 2 3 4 5", "overview, queue, models, problems, events"),
        ("tab, left, right", "next, previous page"),
        ("up, down, k, j", "one line up or down; page up, page down: ten; g, G: to the first, the last"),
        ("s", "sort: another order of the list (its rule says which)"),
        ("f", "filter: show another part of the list"),
        ("p", "pause the daemon (nothing new starts, training stands still), or resume it"),
        ("?", "this help; escape ends it"),
        ("q", "quit; the daemon goes on"),
    )
    lines = [Text.assemble((name.ljust(19), "bold"), what) for name, what in rows]
    signs: Sequence[tuple[str, str]] = (
        *(("ok", "done or well"), ("running", "running"), ("open", "open"), ("claimed", "in somebody's hands")),
        *(("waiting", "waiting"), ("warn", "look at it"), ("fail", "wrong")),
    )
    told = Text.assemble(*(part for state, what in signs for part in (glyph(state), what + "  ")))
    daemon = Text.assemble(
        "daemon: ", *(part for state, (sign, colour) in DAEMON.items() for part in ((sign, colour), f" {state}  "))
    )
    note = "It only reads: quitting it, or killing it, changes nothing."
    return [*lines, Text(""), told, daemon, Text(""), Text(note, "dim")]


SIGNS = frozenset(sign for sign, _ in (*STATE.values(), *DAEMON.values())) | {
    "━",
    "◇",
    "+",
    "▁",
    "▂",
    "▃",
    "▄",
    "▅",
    "▆",
    "▇",
    "█",
}
"""Every sign that stands beside a colour."""
