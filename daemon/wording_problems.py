"""Words for what is wrong: how bad each kind is, and what to do about it."""

from __future__ import annotations

from daemon.store.views import Problem
from daemon.wording import clean
from daemon.wording_state import glyph

GRAVE = ("daemon", "disk", "folder", "job", "arrivals")
"""Kinds that stop the loop or lose time at the microscope; all others are worth a look."""


def problem_state(problem: Problem) -> str:
    """ "fail" or "warn"."""
    return "fail" if problem.kind in GRAVE else "warn"


def problem_mark(problem: Problem) -> tuple[str, str]:
    """Glyph and colour of a problem."""
    return glyph(problem_state(problem))


def problem_words(problem: Problem) -> str:
    """A problem on one line, with its subject unless the message names it."""
    subject, message = clean(problem.subject), clean(problem.message)
    return message if subject in message or subject == "alscope" else f"{subject}: {message}"


def with_remedy(problem: Problem) -> str:
    """The same with what to do, unless the message says it."""
    return problem_words(problem) + (f" → {problem.todo}" if problem.todo else "")
