"""Words and signs for the state of things, shared by status and dashboard: the daemon, jobs, models, encoders, events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from daemon.selftest import self_test_words
from daemon.store.views import DaemonView, Event, ModelView, RoundView, RunningJob, Snapshot
from daemon.wording import DAEMON, PIPELINE, STATE, clean, clock, count, doing, duration, interval, scores

Part = str | tuple[str, str]
"""Piece of a line: text, or text with its style."""
HANDED_BACK = ("open", "claimed", "rejected")
"""States of suggestions in which it is a person's turn."""
RESUMED = ("pretrain", "finetune", "encoder")
"""Jobs that go on from a checkpoint: what they have done since they were started says nothing of how fast they are."""
LEAST_AGE_S, LEAST_PROGRESS = 10.0, 0.05
"""Of a job before one can say how long it takes."""
ALARMING = ("alarm", "novelty", "quality", "set aside", "disk", "folder", "job")
"""Events that a person should not miss."""


def glyph(state: str) -> tuple[str, str]:
    """The sign of a state with its colour, ready for `Text.assemble`."""
    sign, colour = STATE.get(state, ("·", ""))
    return sign + " ", colour


def daemon_words(snapshot: Snapshot) -> list[Part]:
    """State of the daemon with its glyph, then pid and age or since when it is away, as parts of a line."""
    daemon, now = snapshot.daemon, snapshot.at
    sign, colour = DAEMON.get(daemon.state, ("?", ""))
    if daemon.state == "never":
        return [(f"{sign} not started yet", colour)]
    if daemon.state in ("stopped", "crashed"):
        return [(f"{sign} {_away(daemon, now)}", colour)]
    parts: list[Part] = [(f"{sign} {daemon.state}", colour)]
    if daemon.paused_until is not None:
        far = daemon.paused_until - now > 365 * 86400
        parts.append(" (`alscope resume` ends it)" if far else f" for {duration(daemon.paused_until - now)} more")
    if daemon.pid is not None:
        parts.append(f"  pid {daemon.pid}")
        if daemon.since is not None:
            parts.append(f", for {duration(now - daemon.since)}")
    return parts


def _away(daemon: DaemonView, now: float) -> str:
    if daemon.seen is None:
        return "not running"
    seen = f"last seen {duration(now - daemon.seen)} ago"
    if daemon.state == "stopped":
        return f"not running since {clock(daemon.seen, now)}, {seen}"
    return f"ended unexpectedly, {seen}, at {clock(daemon.seen, now)}"


def bar(fraction: float, width: int) -> Text:
    """A progress bar that is also readable without colour."""
    full = round(max(0.0, min(1.0, fraction)) * width)
    return Text.assemble(("━" * full, "green"), ("─" * (width - full), "dim"))


def job_line(job: RunningJob, now: float, bar_width: int) -> Text:
    """How far a running job is, what it does, and how long it will take, or (where that cannot be told) how long it has taken."""
    left = eta_words(job, now)
    time = f"about {left} left" if left else f"for {duration(now - job.started_at)}"
    return Text.assemble(
        bar(job.progress, bar_width), f" {job.progress:4.0%}  {clean(doing(job.stage, job.subject))}, {time}"
    )


def eta_words(job: RunningJob, now: float) -> str:
    """What is left of a job at its speed so far; "" where its own note says it, or nobody can."""
    age = now - job.started_at
    told = " left" in job.note or job.stage in RESUMED
    if told or age < LEAST_AGE_S or not LEAST_PROGRESS <= job.progress < 1:
        return ""
    return duration(age * (1 - job.progress) / job.progress)


def works(snapshot: Snapshot) -> bool:
    """Is there a daemon that does what the job table says is running?"""
    return snapshot.daemon.state in ("running", "paused", "hanging")


def together(*parts: str) -> str:
    """The parts that say something, one after the other."""
    return "; ".join(part for part in parts if part)


def rest_words(snapshot: Snapshot) -> str:
    """The jobs besides the first that runs."""
    more = [f"{len(snapshot.running) - 1} more running"] if len(snapshot.running) > 1 else []
    return ", ".join(more + [f"{snapshot.jobs[s]} {s}" for s in ("ready", "waiting") if snapshot.jobs.get(s)])


def idle_words(snapshot: Snapshot) -> str:
    """Why nothing runs."""
    n = len(snapshot.running)
    if not works(snapshot):
        return together("nothing", f"{n} cut short, to be continued" if n else "")
    if snapshot.daemon.note:
        return clean(snapshot.daemon.note)
    arriving = snapshot.volumes["arriving"]
    return f"waiting for {count(arriving, 'file')} to be whole" if arriving else "nothing to do"


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


def model_words(model: ModelView, rounds: tuple[RoundView, ...]) -> list[Part]:
    """The promoted model with its scores, beside those of the pseudo-labels on the same held-out patches."""
    made = next((r for r in rounds if r.model == model.version), None)
    name: list[Part] = [glyph("promoted"), (model.version, "bold")]
    if model.scores is None or made is None:
        return [*name, "  not scored: no held-out labels yet"]
    parts: list[Part] = [*name, "  ", (scores(model.scores), "bold")]
    if made.baseline:
        parts.append(f"; pseudo-labels {made.baseline['f1']:.3f}, {made.baseline['dice']:.3f}")
    return [*parts, (f"; {made.n_gate} held out", "dim")]


def score_words(value: Mapping[str, Any] | None) -> str:
    """The two scores that decide about promotion, with their 90 % intervals where there are any."""
    if not value:
        return "not scored"
    ends = value.get("interval") or {}
    words = []
    for key, name in (("f1", "F1"), ("dice", "Dice")):
        low_high = ends.get(key)
        words.append(f"{name} {value[key]:.3f}" + (f" ({low_high[0]:.2f}-{low_high[1]:.2f})" if low_high else ""))
    return " ".join(words)


def round_outcome(round_: RoundView) -> str:
    """One word or two for how a round ended."""
    if round_.state == "failed":
        return "failed"
    return {True: "promoted", False: "not promoted", None: round_.state}[round_.promoted]


def summary(snapshot: Snapshot) -> str:
    """Everything on one line, for logs and pipes."""
    parts = [snapshot.daemon.state]
    parts += [clean(doing(j.stage, j.subject)) for j in snapshot.running] or ["idle"]
    parts.append(", ".join(f"{snapshot.volumes[key]} {words}" for key, words in PIPELINE if snapshot.volumes[key]))
    parts.append(f"{sum(q.state in HANDED_BACK for q in snapshot.queue)} to annotate")
    parts.append(count(snapshot.labels["accepted"], "label"))
    best = next((m for m in snapshot.models if m.state == "promoted"), None)
    parts += [f"{best.version} {scores(best.scores)}"] if best else []
    parts += [count(len(snapshot.problems), "problem")] if snapshot.problems else []
    return " | ".join(part for part in parts if part)


def event_line(event: Event, now: float) -> Text:
    """An event with its time of day; one that a person should not miss has a mark."""
    mark = glyph("warn") if event.kind in ALARMING else ("  ", "")
    return Text.assemble((clock(event.at, now) + " ", "dim"), mark, clean(event.message))
