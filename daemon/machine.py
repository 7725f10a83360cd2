"""Transition tables of jobs and suggestions: pure data, and the one function that consults them."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.errors import IllegalTransitionError

JOB_STATES = ("waiting", "ready", "running", "done", "failed", "cancelled")

JOB_TRANSITIONS: frozenset[tuple[str, str]] = frozenset(
    {
        ("waiting", "ready"),  # its not_before has come
        ("ready", "running"),  # claimed by a worker
        ("ready", "done"),  # the artifact of this recipe exists already
        ("running", "done"),
        ("running", "waiting"),  # transient failure, preemption, or a worker that was lost
        ("running", "failed"),
        ("waiting", "cancelled"),
        ("ready", "cancelled"),
        ("running", "cancelled"),
        ("failed", "ready"),  # a person says: try again
        ("cancelled", "ready"),
    }
)

SUGGESTION_STATES = ("open", "claimed", "submitted", "accepted", "rejected", "skipped")

SUGGESTION_TRANSITIONS: frozenset[tuple[str, str]] = frozenset(
    {
        ("open", "claimed"),
        ("claimed", "open"),  # released, or the claim's lease ran out
        ("open", "submitted"),
        ("claimed", "submitted"),
        ("rejected", "submitted"),  # a mended label for the same patch
        ("submitted", "accepted"),
        ("submitted", "rejected"),
        ("accepted", "submitted"),  # a better label: supersedes, never overwrites
        ("open", "skipped"),
        ("claimed", "skipped"),
        ("rejected", "skipped"),
        ("skipped", "open"),  # changed their mind
    }
)


def check_transition(
    what: str, allowed: frozenset[tuple[str, str]], start: str, finish: str, story: Sequence[str] = ()
) -> None:
    """Raise IllegalTransitionError, with the story so far, unless start -> finish is in the table."""
    if (start, finish) not in allowed:
        told = "; ".join(story) or "no history"
        raise IllegalTransitionError(f"{what} cannot go from {start!r} to {finish!r} ({told})")
