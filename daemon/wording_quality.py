"""Words for how good segmentations probably are, and for what more labels would bring."""

from __future__ import annotations

from daemon.advice import LITTLE
from daemon.store.views import AdviceView, QualityView, VolumeQuality
from daemon.wording import clean, count, duration


def advice_words(advice: AdviceView) -> str:
    """ "8 more patches: +0.01 F1 (0.00 to 0.02), about 35 min"."""
    if advice.gain is None or advice.low is None or advice.high is None:
        return advice.words
    gain = f"{advice.patches} more patches: {advice.gain:+.2f} F1 ({advice.low:.2f} to {advice.high:.2f})"
    time = "" if advice.minutes is None else f", about {duration(60 * advice.minutes)}"
    return gain + time + (": hardly worth it" if advice.high < LITTLE else "")


def expected_words(volume: VolumeQuality) -> str:
    """Dice with its interval, "beyond" where no held-out patch was like this; the bare confidence where it only ranks."""
    if volume.dice is None or volume.low is None or volume.high is None:
        return f"confidence {volume.confidence:.2f}"
    doubt = ", beyond what was held out" if volume.beyond else ""
    return f"Dice about {volume.dice:.2f} ({volume.low:.2f} to {volume.high:.2f}{doubt})"


def short_words(volume: VolumeQuality) -> str:
    """The same for a narrow column: "0.61 (0.48-0.74)", or the confidence with a mark that it is no score."""
    if volume.dice is None or volume.low is None or volume.high is None:
        return f"conf. {volume.confidence:.2f}"
    return f"{volume.dice:.2f} ({volume.low:.2f}-{volume.high:.2f}){'?' if volume.beyond else ''}"


def worst_words(quality: QualityView) -> tuple[str, str]:
    """The segmentations to look at first, and a remark on how far that can be trusted."""
    named = "; ".join(f"{clean(v.volume)}: {expected_words(v)}" for v in quality.worst)
    remarks = []
    if quality.why:
        remarks.append(f"confidence only ranks: {quality.why}")
    if quality.n_empty:
        remarks.append(f"nothing was found in {count(quality.n_empty, 'volume')}")
    return named, "; ".join(remarks)
