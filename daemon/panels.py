"""The parts of the dashboard, each a pure function from a Snapshot to something rich can draw in a given number of rows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from daemon.status import (
    daemon_words,
    event_line,
    glyph,
    job_line,
    model_words,
    problem_mark,
    problem_words,
    round_outcome,
    selection_words,
    works,
)
from daemon.store.views import QueueItem, Snapshot
from daemon.vitals import Vitals
from daemon.wording import ARM, PIPELINE, clean, count, duration, scores, sparkline

HANDED_BACK = ("open", "claimed", "rejected")


def titled(title: str, *content: RenderableType) -> RenderableType:
    """A panel: a rule with its title, and what is below it."""
    return Group(Rule(Text(title, "bold"), align="left", style="dim", characters="─"), *content)


def window(n: int, rows: int, scroll: int) -> slice:
    """Which of `n` rows are shown where `rows` fit and the view is scrolled by `scroll`."""
    first = max(0, min(scroll, n - rows))
    return slice(first, first + max(0, rows))


def lines(texts: Sequence[Text]) -> RenderableType:
    """Texts as lines that are cut where they are too long."""
    for text in texts:
        text.no_wrap, text.overflow = True, "ellipsis"
    return Group(*texts)


def header(snapshot: Snapshot, vitals: Vitals | None, stale_s: float) -> RenderableType:
    """State of the daemon and age of the data on the left, the machine on the right; on narrow screens below."""
    seen = snapshot.daemon.seen
    age = f"  sign of life {duration(snapshot.at + stale_s - seen)} ago" if seen is not None else ""
    left = Text.assemble(("alscope  ", "bold"), *daemon_words(snapshot), (age, "dim"))
    if snapshot.daemon.state == "never":
        left.append("  waiting for the daemon", "dim")
    return lines([left, machine(vitals)])


def machine(vitals: Vitals | None) -> Text:
    """Processor, memory, disk and GPU on one line."""
    if vitals is None:
        return Text("")
    parts = [
        f"cpu {vitals.cpu_percent:.0f}%",
        f"ram {vitals.ram_used_gb:.1f}/{vitals.ram_total_gb:.1f} GB",
        f"disk {vitals.disk_free_gb:.0f} GB free" if vitals.disk_free_gb is not None else "disk ?",
    ]
    if vitals.gpu is not None:
        parts.append(f"gpu {vitals.gpu}")
    return Text("  ".join(parts), "dim")


def strip(snapshot: Snapshot) -> RenderableType:
    """The counts of volumes along the flow: numbers above names."""
    table = Table.grid(expand=True)
    numbers, names = [], []
    for key, words in PIPELINE:
        n = snapshot.volumes[key]
        table.add_column(justify="center", no_wrap=True, overflow="ellipsis")
        numbers.append(Text(str(n), "dim" if not n else "bold red" if key == "set_aside" else "bold"))
        names.append(Text(words, "dim"))
    table.add_row(*numbers)
    table.add_row(*names)
    return table


def running(snapshot: Snapshot, rows: int, width: int) -> RenderableType:
    """What the workers do, two rows each."""
    ready, waiting = snapshot.jobs.get("ready", 0), snapshot.jobs.get("waiting", 0)
    title = f"now: {len(snapshot.running)} running, {ready} ready, {waiting} waiting"
    if not works(snapshot):
        n = len(snapshot.running)
        idle = f"nothing; {count(n, 'job')} cut short, to be continued" if n else "nothing: the daemon is not running"
        return titled("now", Text(idle, "dim"))
    if not snapshot.running:
        return titled(title, Text("nothing to do just now", "dim"))
    found: list[Text] = []
    roomy = rows - 1 >= 2 * len(snapshot.running)
    for job in snapshot.running:
        found.append(job_line(job, snapshot.at, max(10, min(30, width // 4))))
        if job.note and (roomy or len(found) == 1):
            found.append(Text("  " + clean(job.note), "dim"))
    return titled(title, lines(found[: rows - 1]))


def queue(snapshot: Snapshot, rows: int, width: int, scroll: int = 0) -> RenderableType:
    """What waits for the expert, by rank."""
    mine = sum(item.state in HANDED_BACK for item in snapshot.queue)
    title = (
        f"queue: {count(mine, 'patch', 'patches')} to annotate, {count(snapshot.labels['accepted'], 'label')} accepted"
        + (f", {snapshot.patches['held_back']} held back" if snapshot.patches["held_back"] else "")
    )
    if not snapshot.queue:
        why = snapshot.work.nothing or "suggestions follow once the pool is embedded"
        return titled(title, Text(f"empty: {why}", "dim"))
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("id", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("volume", ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column("z, y, x", no_wrap=True)
    if width >= 90:
        table.add_column("size", no_wrap=True)
    table.add_column("dist", no_wrap=True, justify="right")
    table.add_column("why", ratio=4, no_wrap=True, overflow="ellipsis")
    for item in snapshot.queue[window(len(snapshot.queue), rows - 2, scroll)]:
        table.add_row(*_queue_row(item, width >= 90))
    controls = any(item.arm == "control" for item in snapshot.queue)
    return titled(title + (f"  {ARM['control']} drawn at random" if controls else ""), table)


def _queue_row(item: QueueItem, wide: bool) -> list[Text]:
    state = item.state if item.ready or item.state != "open" else "soon"
    return [
        Text(item.id, "cyan"),
        Text.assemble(glyph(item.state), clean(item.user) or state, f" {ARM[item.arm]}".rstrip()),
        Text(clean(item.volume)),
        Text(" ".join(str(n) for n in item.start)),
        *([Text("x".join(str(n) for n in item.shape), "dim")] if wide else []),
        Text("" if item.distance is None else f"{item.distance:.2f}"),
        Text(
            clean(item.note if item.state == "rejected" else item.reason), "red" if item.state == "rejected" else "dim"
        ),
    ]


def models(snapshot: Snapshot, rows: int, scroll: int = 0) -> RenderableType:
    """The promoted model, the learning curve, and the rounds, newest first."""
    best = next((m for m in snapshot.models if m.state == "promoted"), None)
    found: list[Text] = []
    if best is not None:
        found.append(Text.assemble(glyph("promoted"), *model_words(best, snapshot.rounds)))
    elif snapshot.models:
        found.append(Text.assemble(glyph("baseline"), clean(f"{snapshot.models[-1].version}: no round finished yet")))
    else:
        found.append(Text("none yet: training begins when enough volumes and labels are there", "dim"))
    curve = [r for r in snapshot.rounds if r.scores]
    if curve:
        values = [float(r.scores["f1"]) for r in curve if r.scores]
        found.append(
            Text.assemble("F1 by round ", (sparkline(values[-40:]), "green"), f" {values[0]:.3f} to {values[-1]:.3f}")
        )
    chosen = selection_words(snapshot)
    if rows >= 5 + len(chosen):
        found += [Text.assemble(("selects " if n == 0 else " " * 8, "dim"), text) for n, text in enumerate(chosen)]
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    for _ in range(4):
        table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    rounds = snapshot.rounds[::-1]
    for r in rounds[window(len(rounds), rows - 1 - len(found), scroll)]:
        state = {True: "promoted", False: "rejected", None: r.state}[r.promoted]
        table.add_row(
            Text.assemble(glyph(state), f"round {r.round}"),
            Text(count(r.n_labels, "label"), "dim"),
            Text(f"{r.fraction:.1%} of the pool", "dim"),
            Text(scores(r.scores) if r.scores else round_outcome(r)),
            Text(clean(r.verdict), "dim"),
        )
    return titled("models", lines(found[: rows - 1]), table)


def problems(snapshot: Snapshot, rows: int, scroll: int = 0, whole: bool = False) -> RenderableType:
    """What is wrong, most wrong first. whole: wrap each to the width instead of cutting it."""
    n = len(snapshot.problems)
    title = f"problems: {n}" if n else "problems"
    if not n:
        return titled(title, Text.assemble(glyph("ok"), "none"))
    if not whole:
        shown = snapshot.problems[: rows - 1 if n <= rows - 1 else max(1, rows - 2)]
        found = [Text.assemble(problem_mark(p), problem_words(p)) for p in shown]
        if len(shown) < n:
            found.append(Text(f"  and {n - len(shown)} more: press 4", "dim"))
        return titled(title, lines(found[: rows - 1]))
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for p in snapshot.problems[min(scroll, n - 1) :][:rows]:
        sign, colour = problem_mark(p)
        table.add_row(Text(sign.strip(), colour), Text(duration(snapshot.at - p.since), "dim"), Text(problem_words(p)))
    return titled(title, table)


def events(snapshot: Snapshot, rows: int, scroll: int = 0) -> RenderableType:
    """What happened, newest first."""
    shown = snapshot.events[window(len(snapshot.events), rows - 1, scroll)]
    return titled("events", lines([event_line(e.at, e.message, snapshot.at) for e in shown]))


def help_page() -> RenderableType:
    """What the keys do."""
    table = Table.grid(padding=(0, 3, 0, 0))
    for keys, what in (
        ("1 2 3 4 5", "overview, queue, models, problems, events"),
        ("tab, left, right", "next, previous page"),
        ("up, down, k, j", "scroll"),
        ("p", "pause the daemon (running jobs finish, nothing new starts), or resume it"),
        ("?", "this help"),
        ("q", "quit; the daemon goes on"),
    ):
        table.add_row(Text(keys, "bold"), Text(what))
    signs = Text.assemble(
        glyph("ok"), "done or well  ", glyph("running"), "running  ", glyph("open"), "open  ",
        glyph("waiting"), "waiting  ", glyph("warn"), "look at it  ", glyph("fail"), "wrong",
    )  # fmt: skip
    return titled("help", table, Text(""), signs)
