"""Words for the minutes that people spent, what they bought, and how well people agree."""

from __future__ import annotations

from daemon.store.views import QueueItem, WorkView
from daemon.wording import count


def spent_words(work: WorkView) -> str:
    """Minutes spent on labels and on patches that were skipped so far; "" where no tool told any."""
    skipped = [s.minutes for s in work.skipped if s.minutes is not None]
    looked = f"{minutes(sum(skipped))} on {count(len(skipped), 'skipped patch', 'skipped patches')}" if skipped else ""
    return ", ".join(part for part in (_on_labels(work), looked) if part)


def _on_labels(work: WorkView) -> str:
    spent = work.spent
    if not spent.timed:
        return ""
    of = "" if spent.timed == spent.labels else f" of {spent.labels}"
    each = spent.minutes / spent.timed
    return f"{minutes(spent.minutes)} on {count(spent.timed, 'label')}{of}, {each:.1f} min each"


def bought_words(work: WorkView) -> str:
    """What the minutes of the newest round with a known gain bought; "" where there is none."""
    known = [b for b in work.bought if b.f1 is not None and b.dice is not None and b.spent.timed]
    if not known:
        return ""
    last = known[-1]
    return f"round {last.round}: {minutes(last.spent.minutes)} bought F1 {last.f1:+.3f}, Dice {last.dice:+.3f}"


def minutes(value: float) -> str:
    """ "34 min", "3 h 20 min"."""
    whole = round(value)
    return f"{value:.0f} min" if whole < 120 else f"{whole // 60} h {whole % 60} min"


def holder_words(item: QueueItem) -> str:
    """Who has a patch, and for how long without a sign of life; "" for nobody."""
    if not item.user:
        return ""
    left = "" if item.left_s is None else f", {max(1, round(item.left_s / 60))} min"
    return f"{item.user}{left}"
