"""`alscope status`: twelve lines that say whether it runs, what it does, what waits for me, what is wrong, how good it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from daemon.columns import folded
from daemon.store.views import Problem, Snapshot
from daemon.wording import PIPELINE, clean, count, duration, extent, place, short_path
from daemon.wording_alarms import expect_words
from daemon.wording_problems import problem_mark, with_remedy
from daemon.wording_quality import advice_words, worst_words
from daemon.wording_room import room_words
from daemon.wording_state import (
    HANDED_BACK,
    Part,
    daemon_words,
    glyph,
    idle_words,
    job_line,
    model_words,
    rest_words,
    round_outcome,
    selection_words,
    together,
    works,
)
from daemon.wording_work import bought_words, spent_words

LINES = 12
LABEL = 10
"""Width of the column of headings."""
BAR = 20


@dataclass(frozen=True)
class Line:
    """A line of the status. weight: 0 is always there; of the others those with the least come first where there is room."""

    weight: int
    text: Text


def status(
    snapshot: Snapshot, workspace: Path, width: int | None, everything: bool = False, all_problems: bool = False
) -> list[Text]:
    """Twelve lines, each cut to `width` cells; None: nothing is cut. everything: all that there is to say, in as many lines as it
    takes; all_problems: every problem, in full."""
    lines = [line for part in PARTS for line in part(snapshot, workspace)]
    room = None if everything or all_problems else LINES - sum(line.weight == 0 for line in lines)
    wrong = _problems(snapshot.problems, width, room, everything or all_problems)
    if not everything:
        spare = LINES - len(wrong) - sum(line.weight == 0 for line in lines)
        chosen = sorted((line for line in lines if line.weight), key=lambda line: line.weight)[: max(0, spare)]
        lines = [line for line in lines if not line.weight or line in chosen]
    found = [*_headed(lines), *wrong]
    if width is not None:
        for text in found:
            text.truncate(width, overflow="ellipsis")
    return found


def _line(weight: int, heading: str, *parts: Part | Text) -> Line:
    return Line(weight, Text.assemble((heading.ljust(LABEL), "bold"), *parts, no_wrap=True))


def _headed(lines: list[Line]) -> list[Text]:
    """A heading that repeats that of the line before is left out."""
    found: list[Text] = []
    before = ""
    for line in lines:
        heading, text = line.text.plain[:LABEL], line.text
        found.append(Text.assemble(" " * LABEL, text[LABEL:], no_wrap=True) if heading == before else text)
        before = heading
    return found


def _daemon(snapshot: Snapshot, workspace: Path) -> list[Line]:
    daemon = snapshot.daemon
    seen = (
        f"  last seen {duration(snapshot.at - daemon.seen)} ago" if daemon.seen is not None and works(snapshot) else ""
    )
    where = f"  in {clean(short_path(workspace))}" if daemon.state == "never" else ""
    lines = [_line(0, "daemon", *daemon_words(snapshot), (seen + where, "dim"))]
    declared = expect_words(snapshot.expected, snapshot.at)
    return [*lines, _line(5, "daemon", declared)] if declared else lines


def _now(snapshot: Snapshot, workspace: Path) -> list[Line]:
    """What the workers do; the most urgent job, and how much else there is."""
    if not works(snapshot) or not snapshot.running:
        return [_line(0, "now", together(idle_words(snapshot), rest_words(snapshot) if snapshot.jobs else ""))]
    first = snapshot.running[0]
    lines = [_line(0, "now", job_line(first, snapshot.at, BAR))]
    below = together(clean(first.note), clean(snapshot.daemon.note), rest_words(snapshot))
    return [*lines, _line(1, "now", (below, "dim"))] if below else lines


def _you(snapshot: Snapshot, workspace: Path) -> list[Line]:
    """What waits for the expert."""
    mine = [q for q in snapshot.queue if q.state in HANDED_BACK]
    ready = [q for q in mine if q.ready]
    labels = count(snapshot.labels["accepted"], "label")
    if snapshot.patches["total"]:
        labels += f" so far, of {count(snapshot.patches['total'], 'patch', 'patches')}"
    if not ready:
        soon = f"{count(len(mine), 'patch', 'patches')} being prepared" if mine else "nothing to annotate"
        why = [] if mine or not snapshot.work.nothing else [_line(2, "for you", (snapshot.work.nothing, "dim"))]
        return [_line(0, "for you", f"{soon}; {labels}"), *why, *_asked(snapshot)]
    item = next((q for q in ready if q.state == "open"), ready[0])
    taken = sum(q.state == "claimed" for q in mine)
    hands = f", {taken} of them in somebody's hands" if taken else ""
    return [
        _line(
            0,
            "for you",
            (count(len(mine), "patch", "patches") + " to annotate", "bold"),
            f"{hands} in {short_path(workspace / 'queue')}; {labels}",
        ),
        _line(
            0, "  next", (item.id, "bold"), f" in {clean(item.volume)} at {place(item.start)} ({extent(item.shape)})"
        ),
        _line(11, "  next", (clean(item.reason), "dim")),
        *_asked(snapshot),
    ]


def _asked(snapshot: Snapshot) -> list[Line]:
    """Labels that look like a slip: a person should look at the remarks."""
    n = snapshot.labels["asked"]
    words = f"{count(n, 'label')} came with a remark worth a look: `alscope label list`"
    return [_line(8, "labels", glyph("warn"), words)] if n else []


def _work(snapshot: Snapshot, workspace: Path) -> list[Line]:
    """Minutes spent and what they bought; how well people agree."""
    words = together(spent_words(snapshot.work), bought_words(snapshot.work))
    people = snapshot.work.agreement.words()
    return [_line(6, "minutes", words)] * bool(words) + [_line(10, "people", people)] * bool(people)


def _selection(snapshot: Snapshot, workspace: Path) -> list[Line]:
    """Which encoder selects, and whether that helps, which people ask first."""
    return [_line(4 if n else 9, "selects", line) for n, line in enumerate(selection_words(snapshot))]


def _model(snapshot: Snapshot, workspace: Path) -> list[Line]:
    best = next((m for m in snapshot.models if m.state == "promoted"), None)
    last = next((r for r in reversed(snapshot.rounds) if r.state in ("done", "failed")), None)
    active = next((r for r in snapshot.rounds if r.state in ("training", "judging")), None)
    if best is None:
        newest = snapshot.models[-1] if snapshot.models else None
        what = f"{newest.version} ({newest.kind}), no round finished yet" if newest else "none yet"
        lines = [_line(0, "model", what)]
    else:
        lines = [_line(0, "model", *model_words(best, snapshot.rounds))]
    if active is not None:
        lines.append(_line(3, "model", f"round {active.round}: {active.state} on {count(active.n_labels, 'label')}"))
    elif last is not None:
        lines.append(_line(3, "model", (clean(f"round {last.round}: {round_outcome(last)}: {last.verdict}"), "dim")))
    if snapshot.labels["new"]:
        new = f"{count(snapshot.labels['new'], 'new label')} for the next round, which begins at training.every"
        lines.append(_line(13, "model", (new, "dim")))
    return lines


def _quality(snapshot: Snapshot, workspace: Path) -> list[Line]:
    """What more labels would bring; which segmentations to look at first."""
    lines = [] if snapshot.advice is None else [_line(2, "advice", clean(advice_words(snapshot.advice)))]
    if snapshot.quality is None:
        return lines
    named, remark = worst_words(snapshot.quality)
    lines += [_line(7, "look at", named)] if named else []
    return [*lines, *([_line(12, "look at", (remark, "dim"))] if remark else [])]


def _pseudo(snapshot: Snapshot, workspace: Path) -> list[Line]:
    """What "auto" chose to pseudo-label with, and why; no line where config.toml says it."""
    pseudo = snapshot.pseudo
    return [] if pseudo is None else [_line(13, "pseudo", clean(pseudo.chosen), (": " + clean(pseudo.why), "dim"))]


def _volumes(snapshot: Snapshot, workspace: Path) -> list[Line]:
    """The counts along the flow, without those that are zero or follow from the one before."""
    parts: list[Part] = []
    order = sorted(PIPELINE, key=lambda item: item[0] == "set_aside")  # those are among the problems too
    for key, words in order:
        n = snapshot.volumes[key]
        if n and (key != "indexed" or n != snapshot.volumes["embedded"]):
            sign = "✗ " if key == "set_aside" else ""
            parts += [", "] * bool(parts) + [(f"{sign}{n} {words}", "red" if sign else "")]
    return [_line(0, "volumes", *(parts or ["none yet"]))]


def _room(snapshot: Snapshot, workspace: Path) -> list[Line]:
    """What the workspace takes, and what most of it is."""
    return [] if snapshot.room is None else [_line(14, "room", (room_words(snapshot.room), "dim"))]


PARTS: tuple[Callable[[Snapshot, Path], list[Line]], ...] = (
    *(_daemon, _now, _you, _work, _selection, _model, _quality, _pseudo, _volumes, _room),
)


def _problems(problems: tuple[Problem, ...], width: int | None, most: int | None, whole: bool) -> list[Text]:
    """The worst first: the very worst in two lines if it needs them, the others in one; whole: each in full."""
    if not problems:
        return [Text.assemble(("problems".ljust(LABEL), "bold"), glyph("ok"), "none")]
    room = None if width is None else max(20, width - LABEL - 2)
    lines: list[Text] = []
    shown = 0
    for problem in problems:
        told = [with_remedy(problem)] if room is None else folded(with_remedy(problem), room)
        if not whole:
            told = told[:1] if shown else [*told[:1], " ".join(told[1:])][: 1 + (len(told) > 1)]
            last = shown + 1 == len(problems)
            if most is not None and len(lines) + len(told) + (not last) > max(2, min(4, most)):
                break
        heading = "" if lines else "problems"
        lines += [
            Text.assemble((("" if n else heading).ljust(LABEL), "bold"), "  " if n else problem_mark(problem), line)
            for n, line in enumerate(told)
        ]
        shown += 1
    hidden = len(problems) - shown
    if hidden:
        lines.append(Text(" " * LABEL + f"and {hidden} more: `alscope status --problems`"))
    return lines
