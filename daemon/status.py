"""`alscope status`: a dozen lines that say whether it runs, what it does, what waits for me, what is wrong, how good it is."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from daemon.selftest import self_test_words
from daemon.store.views import ModelView, Problem, RoundView, RunningJob, Snapshot
from daemon.wording import (
    DAEMON,
    PIPELINE,
    PROBLEM,
    STATE,
    clean,
    clock,
    count,
    doing,
    duration,
    extent,
    interval,
    place,
    scores,
    short_path,
)
from daemon.wording_quality import advice_words, worst_words
from daemon.wording_work import bought_words, spent_words

LABEL = 10
"""Width of the column of headings."""
TOP_PROBLEMS = 3
BAR = 20


def status(snapshot: Snapshot, workspace: Path, width: int | None, all_problems: bool = False) -> list[Text]:
    """The lines of the status, each cut to `width` cells; None: nothing is cut. A problem may take two lines."""
    lines = [
        _daemon(snapshot, workspace),
        *_now(snapshot),
        *_you(snapshot, workspace),
        *_selection(snapshot),
        *_model(snapshot),
        *_quality(snapshot),
        *_pseudo(snapshot),
        *_volumes(snapshot),
        *_problems(snapshot.problems, width, None if all_problems else TOP_PROBLEMS),
    ]
    if width is not None:
        for line in lines:
            line.truncate(width, overflow="ellipsis")
    return lines


def _line(heading: str, *parts: str | tuple[str, str] | Text) -> Text:
    return Text.assemble((heading.ljust(LABEL), "bold"), *parts, no_wrap=True)


def glyph(state: str) -> tuple[str, str]:
    """The sign of a state with its colour, ready for `Text.assemble`."""
    sign, colour = STATE.get(state, ("·", ""))
    return sign + " ", colour


def daemon_words(snapshot: Snapshot) -> list[str | tuple[str, str]]:
    """State of the daemon with its glyph, then pid and age, as parts of a line."""
    daemon, now = snapshot.daemon, snapshot.at
    sign, colour = DAEMON.get(daemon.state, ("?", ""))
    words = {"never": "not started yet", "stopped": "not running", "crashed": "ended unexpectedly"}
    parts: list[str | tuple[str, str]] = [(f"{sign} {words.get(daemon.state, daemon.state)}", colour)]
    if daemon.paused_until is not None:
        far = daemon.paused_until - now > 365 * 86400
        parts.append(" (`alscope resume` ends it)" if far else f" for {duration(daemon.paused_until - now)} more")
    if daemon.pid is not None:
        parts.append(f"  pid {daemon.pid}")
        if daemon.since is not None:
            parts.append(f", for {duration(now - daemon.since)}")
    return parts


def _daemon(snapshot: Snapshot, workspace: Path) -> Text:
    daemon = snapshot.daemon
    seen = f"  last sign of life {duration(snapshot.at - daemon.seen)} ago" if daemon.seen is not None else ""
    where = f"  in {clean(short_path(workspace))}" if daemon.state == "never" else ""
    return _line("daemon", *daemon_words(snapshot), (seen + where, "dim"))


def bar(fraction: float, width: int) -> Text:
    """A progress bar that is also readable without colour."""
    full = round(max(0.0, min(1.0, fraction)) * width)
    return Text.assemble(("━" * full, "green"), ("─" * (width - full), "dim"))


def job_line(job: RunningJob, now: float, bar_width: int) -> Text:
    """How far a running job is, what it does and since when."""
    age = duration(now - job.started_at)
    return Text.assemble(
        bar(job.progress, bar_width), f" {job.progress:4.0%}  ", clean(doing(job.stage, job.subject)), f", for {age}"
    )


def works(snapshot: Snapshot) -> bool:
    """Is there a daemon that does what the job table says is running?"""
    return snapshot.daemon.state in ("running", "paused", "hanging")


def _now(snapshot: Snapshot) -> list[Text]:
    """What the workers do; the most urgent job, and how much else there is."""
    rest = [f"{snapshot.jobs[state]} {state}" for state in ("ready", "waiting") if snapshot.jobs.get(state)]
    n = len(snapshot.running)
    if not works(snapshot):
        cut = [f"{n} cut short, to be continued"] if n else []
        return [_line("now", _and("nothing", ", ".join(cut + rest)))]
    note = clean(snapshot.daemon.note)
    if not n:
        arriving = snapshot.volumes["arriving"]
        what = f"waiting for {count(arriving, 'file')} to be whole" if arriving else "nothing to do"
        return [_line("now", _and(note or what, ", ".join(rest)))]
    first = snapshot.running[0]
    more = [f"{n - 1} more running"] if n > 1 else []
    lines = [_line("now", job_line(first, snapshot.at, BAR))]
    below = _and(clean(first.note), note, ", ".join(more + rest))
    return [*lines, _line("", (below, "dim"))] if below else lines


def _and(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _you(snapshot: Snapshot, workspace: Path) -> list[Text]:
    """What waits for the expert."""
    mine = [q for q in snapshot.queue if q.state in ("open", "claimed", "rejected")]
    open_ = [q for q in mine if q.ready]
    labels = count(snapshot.labels["accepted"], "label")
    if snapshot.patches["total"]:
        labels += f" so far, of {count(snapshot.patches['total'], 'patch', 'patches')}"
    if not open_:
        soon = f"{count(len(mine), 'patch', 'patches')} being prepared" if mine else "nothing to annotate"
        why = [] if mine or not snapshot.work.nothing else [_line("", (snapshot.work.nothing, "dim"))]
        return [_line("for you", f"{soon}; {labels}"), *why, *_asked(snapshot), *_work(snapshot)]
    item = next((q for q in open_ if q.state == "open"), open_[0])
    taken = sum(q.state == "claimed" for q in mine)
    hands = f", {taken} of them in somebody's hands" if taken else ""
    return [
        _line(
            "for you",
            (count(len(mine), "patch", "patches") + " to annotate", "bold"),
            f"{hands} in {short_path(workspace / 'queue')}; {labels}",
        ),
        _line(
            "  next", (item.id, "bold cyan"), f" in {clean(item.volume)} at {place(item.start)} ({extent(item.shape)})"
        ),
        _line("", (clean(item.reason), "dim")),
        *_asked(snapshot),
        *_work(snapshot),
    ]


def _asked(snapshot: Snapshot) -> list[Text]:
    """Labels that look like a slip: a person should look at the remarks."""
    n = snapshot.labels["asked"]
    words = f"{count(n, 'label')} came with a remark worth a look: `alscope label list`"
    return [_line("", (words, "yellow"))] if n else []


def _work(snapshot: Snapshot) -> list[Text]:
    """Minutes spent and what they bought; how well people agree. No line where nothing is known of either."""
    words = _and(spent_words(snapshot.work), bought_words(snapshot.work))
    people = snapshot.work.agreement.words()
    return [_line("minutes", words)] * bool(words) + [_line("people", people)] * bool(people)


def _selection(snapshot: Snapshot) -> list[Text]:
    """Which encoder selects, and whether that helps."""
    return [_line("" if n else "selects", line) for n, line in enumerate(selection_words(snapshot))]


def selection_words(snapshot: Snapshot) -> list[Text]:
    """Which encoder selects and its self-test; then whether selection helps, once that was looked into."""
    current = next((e for e in snapshot.encoders if e.state == "current"), None)
    coming = next((e for e in snapshot.encoders if e.state == "embedding"), None)
    if current is None:
        waiting = f"nothing yet: {coming.version} ({coming.kind}) is embedding" if coming else "nothing yet: no encoder"
        return [Text(waiting)] if snapshot.patches["total"] else []
    words = f"{current.version} ({current.kind}) of {count(current.n_patches, 'patch', 'patches')}"
    tested = self_test_words(current.result)
    soon = f"; {coming.version} ({coming.kind}) is embedding" if coming else ""
    lines = [Text.assemble(words, (f"; {tested}" if tested else "", "dim"), soon)]
    control = snapshot.control
    if control is None:
        return lines
    if control.difference is None or control.low is None or control.high is None:
        return [*lines, Text(clean(control.words), "dim")]
    verdict = (
        "better than chance" if control.low > 0 else "worse than chance" if control.high < 0 else "like chance so far"
    )
    return [*lines, Text(f"{verdict}: {control.metric} {interval(control.difference, control.low, control.high)}")]


def _model(snapshot: Snapshot) -> list[Text]:
    best = next((m for m in snapshot.models if m.state == "promoted"), None)
    last = next((r for r in reversed(snapshot.rounds) if r.state in ("done", "failed")), None)
    active = next((r for r in snapshot.rounds if r.state in ("training", "judging")), None)
    if best is None:
        newest = snapshot.models[-1] if snapshot.models else None
        what = f"{newest.version} ({newest.kind}), no round finished yet" if newest else "none yet"
        lines = [_line("model", what)]
    else:
        lines = [_line("model", *model_words(best, snapshot.rounds))]
    if active is not None:
        lines.append(_line("", f"round {active.round}: {active.state} on {count(active.n_labels, 'label')}"))
    elif last is not None:
        lines.append(_line("", (clean(f"round {last.round}: {round_outcome(last)}: {last.verdict}"), "dim")))
    return lines


def model_words(model: ModelView, rounds: tuple[RoundView, ...]) -> list[str | tuple[str, str]]:
    """The promoted model with its scores, beside those of the pseudo-labels on the same held-out patches."""
    made = next((r for r in rounds if r.model == model.version), None)
    if model.scores is None or made is None:
        return [(model.version, "bold green"), "  not scored: no held-out labels yet"]
    parts: list[str | tuple[str, str]] = [(model.version, "bold green"), "  ", (scores(model.scores), "bold")]
    if made.baseline:
        parts.append(f"; pseudo-labels {made.baseline['f1']:.3f}, {made.baseline['dice']:.3f}")
    return [*parts, (f"; {made.n_gate} held out", "dim")]


def _quality(snapshot: Snapshot) -> list[Text]:
    """What more labels would bring; which segmentations to look at first."""
    lines = [] if snapshot.advice is None else [_line("advice", clean(advice_words(snapshot.advice)))]
    if snapshot.quality is None:
        return lines
    named, remark = worst_words(snapshot.quality)
    parts = [part for part in (named, (remark, "dim") if remark else "") if part]
    return [*lines, *(_line("look at" if n == 0 else "", part) for n, part in enumerate(parts))]


def _pseudo(snapshot: Snapshot) -> list[Text]:
    """What "auto" chose to pseudo-label with, and why; no line where config.toml says it."""
    pseudo = snapshot.pseudo
    return [] if pseudo is None else [_line("pseudo", clean(pseudo.chosen), (": " + clean(pseudo.why), "dim"))]


def round_outcome(round_: RoundView) -> str:
    """One word or two for how a round ended."""
    if round_.state == "failed":
        return "failed"
    return {True: "promoted", False: "not promoted", None: round_.state}[round_.promoted]


def _volumes(snapshot: Snapshot) -> list[Text]:
    """The counts along the flow."""
    parts: list[tuple[str, str]] = []
    for key, words in PIPELINE:
        n = snapshot.volumes[key]
        parts.append((f"{n} {words}", "dim" if not n else "red" if key == "set_aside" else ""))
    first, second = parts[:3], parts[3:]
    return [_line(h, Text(", ").join(Text(*p) for p in row)) for h, row in (("volumes", first), ("", second))]


def problem_mark(problem: Problem) -> tuple[str, str]:
    """Glyph and colour of a problem."""
    return glyph(PROBLEM.get(problem.kind, "warn"))


def problem_words(problem: Problem) -> str:
    """A problem on one line, with its subject unless the message names it."""
    subject, message = clean(problem.subject), clean(problem.message)
    return message if subject in message or subject == "alscope" else f"{subject}: {message}"


def _problems(problems: tuple[Problem, ...], width: int | None, most: int | None) -> list[Text]:
    if not problems:
        return [_line("problems", glyph("ok"), "none")]
    lines: list[Text] = []
    for problem in problems[:most]:
        text = Text(problem_words(problem))
        room = None if width is None else max(20, width - LABEL - 2)
        rows = [text] if room is None else _two_lines(text, room, most is None)
        for number, row in enumerate(rows):
            heading = "problems" if not lines else ""
            lines.append(_line(heading, problem_mark(problem) if number == 0 else "  ", row))
    hidden = len(problems) - len(problems[:most])
    if hidden:
        lines.append(_line("", f"and {hidden} more: `alscope status --problems`"))
    return lines


def _two_lines(text: Text, width: int, all_of_it: bool) -> list[Text]:
    """Wrapped to a width: whole, or its first two lines."""
    from rich.console import Console

    rows = list(text.wrap(Console(width=width), width))
    for row in rows:
        row.rstrip()
    if all_of_it or len(rows) <= 2:
        return rows
    rest = Text(text.plain[len(rows[0].plain) :].lstrip())
    rest.truncate(width, overflow="ellipsis")
    return [rows[0], rest]


def summary(snapshot: Snapshot) -> str:
    """Everything on one line, for logs and pipes."""
    parts = [snapshot.daemon.state]
    parts += [clean(doing(j.stage, j.subject)) for j in snapshot.running] or ["idle"]
    parts.append(", ".join(f"{snapshot.volumes[key]} {words}" for key, words in PIPELINE if snapshot.volumes[key]))
    parts.append(f"{sum(q.state in ('open', 'claimed', 'rejected') for q in snapshot.queue)} to annotate")
    parts.append(count(snapshot.labels["accepted"], "label"))
    best = next((m for m in snapshot.models if m.state == "promoted"), None)
    parts += [f"{best.version} {scores(best.scores)}"] if best else []
    parts += [count(len(snapshot.problems), "problem")] if snapshot.problems else []
    return " | ".join(part for part in parts if part)


def event_line(at: float, message: str, now: float) -> Text:
    """An event with its time of day."""
    return Text.assemble((clock(at, now) + "  ", "dim"), clean(message))
