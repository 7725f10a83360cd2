"""Transition tables of jobs, suggestions and models: pure data, and the one function that consults them."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.errors import IllegalTransitionError

LONGEST_WAIT_S = 600.0
"""No job waits longer than so for its next try, unless its file is away."""

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
        ("failed", "cancelled"),  # nobody waits for it any more, or it is made anew of what there is now
        ("done", "cancelled"),  # what it made was cleared away; wanted again, it is made again
        ("failed", "ready"),  # a person says: try again
        ("cancelled", "ready"),
    }
)

SUGGESTION_STATES = ("open", "claimed", "submitted", "accepted", "rejected", "skipped")

SUGGESTION_TRANSITIONS: frozenset[tuple[str, str]] = frozenset(
    {
        ("open", "claimed"),
        ("claimed", "open"),  # released, or the claim's lease ran out
        ("rejected", "claimed"),  # to mend the label
        ("claimed", "rejected"),  # released again: the mended label is still to come
        ("open", "submitted"),
        ("claimed", "submitted"),
        ("rejected", "submitted"),  # a mended label for the same patch
        ("submitted", "accepted"),
        ("submitted", "rejected"),
        ("accepted", "submitted"),  # a better label: supersedes, never overwrites
        ("accepted", "open"),  # its only label was withdrawn
        ("open", "skipped"),
        ("claimed", "skipped"),
        ("rejected", "skipped"),
        ("skipped", "open"),  # changed their mind
    }
)

MODEL_STATES = ("candidate", "promoted", "retired", "rejected", "baseline")
"""candidate: trained, not judged yet. promoted: in use, at most one. retired: was in use until another took over. rejected:
refused by the court, or taken out of use by a person. baseline: pre-trained on pseudo-labels."""

MODEL_TRANSITIONS: frozenset[tuple[str, str]] = frozenset(
    {
        ("candidate", "promoted"),  # by the verdict of its round
        ("candidate", "rejected"),
        ("promoted", "retired"),  # another takes over
        ("promoted", "rejected"),  # rolled back
        ("baseline", "promoted"),  # by the verdict on the first model that is no better than it
        ("retired", "promoted"),  # from here on: only by a person, see BY_HAND
        ("rejected", "promoted"),
    }
)
BY_HAND: frozenset[str] = frozenset({"retired", "rejected"})
"""From these states no round promotes a model: a person does, by `promote` or `rollback`."""


def check_transition(
    what: str, allowed: frozenset[tuple[str, str]], start: str, finish: str, story: Sequence[str] = ()
) -> None:
    """Raise IllegalTransitionError, with the story so far, unless start -> finish is in the table."""
    if (start, finish) not in allowed:
        told = "; ".join(story) or "no history"
        raise IllegalTransitionError(f"{what} cannot go from {start!r} to {finish!r} ({told})")
