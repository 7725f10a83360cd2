"""Errors that say whether trying again can help. A message names the file or key, what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class AlcoreError(Exception):
    """Base of every error raised on purpose below the daemon. `kind` goes into result files and the database.

    `detail` carries facts that the daemon acts on, as plain JSON types.
    """

    kind = "error"

    def __init__(self, message: str = "", detail: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.detail: dict[str, Any] = dict(detail or {})


class PermanentError(AlcoreError):
    """Trying again cannot help: the input or the configuration has to change first."""

    kind = "permanent"


class TransientError(AlcoreError):
    """Trying again later may help: a lost worker, a busy device, a file that is locked."""

    kind = "transient"


class DiskFullError(TransientError):
    """There was no room for a result: nothing is wrong with the input, and trying again helps once there is room."""

    kind = "disk_full"


class UnreadableVolumeError(PermanentError):
    """A file that is no usable volume: truncated, not an image, absurd, or ambiguous."""

    kind = "unreadable"


class MissingExtraError(PermanentError):
    """The file needs a package that is not installed: it is looked at again when the daemon starts next."""

    kind = "missing_extra"


def install_line(extra: str, *more: str) -> str:
    """What to type for an extra, and where: alscope is on no registry, so its extras come from a clone. more: arguments of `pip
    install`, each a command of its own after that."""
    return (
        " && ".join([f'pip install ".[{extra}]"', *(f"pip install {line}" for line in more)])
        + " in your clone of alscope"
    )


class PartOfSetError(PermanentError):
    """The file is one of several that make up a volume together: they have to be taken as one fileset."""

    kind = "part_of_set"

    def __init__(self, message: str, owner: str, members: Sequence[str]) -> None:
        """owner: path of the file that stands for the set. members: names in its folder, the owner's included."""
        super().__init__(message, {"owner": owner, "members": list(members)})


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
