"""Errors that say whether trying again can help. A message names the file or key, what is wrong and what to do."""

from __future__ import annotations


class AlcoreError(Exception):
    """Base of every error raised on purpose below the daemon. `kind` goes into result files and the database."""

    kind = "error"


class PermanentError(AlcoreError):
    """Trying again cannot help: the input or the configuration has to change first."""

    kind = "permanent"


class TransientError(AlcoreError):
    """Trying again later may help: a lost worker, a busy device, a file that is locked."""

    kind = "transient"


class UnreadableVolumeError(PermanentError):
    """A file that is no usable volume: truncated, not an image, absurd, or ambiguous."""

    kind = "unreadable"


class SourceChangedError(PermanentError):
    """The acquisition file changed while it was read: the result is discarded and the file arrives again."""

    kind = "source_changed"


class SourceMissingError(TransientError):
    """The acquisition file cannot be reached just now (moved, deleted or unmounted)."""

    kind = "source_missing"


class BadLabelError(PermanentError):
    """A label that cannot be accepted; it is kept, with this reason beside it."""

    kind = "bad_label"


class EncoderRejectedError(PermanentError):
    """A trained encoder failed its self-test and must not select."""

    kind = "encoder_rejected"


class Preempted(AlcoreError):  # noqa: N818 - an outcome rather than a fault
    """The stage stopped at a checkpoint because it was asked to; run it again to continue."""

    kind = "preempted"
