"""What people who annotate ask of the daemon: to have a patch, to keep it, to give it back, or to skip it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from alcore.annotate.draft_files import begun
from daemon.errors import AlscopeError, UsageError
from daemon.label_names import is_seen_mask
from daemon.machine import SUGGESTION_TRANSITIONS
from daemon.people import name_of
from daemon.store.claim_listing import nothing_words
from daemon.store.rows import SuggestionRow
from daemon.store.schema_claims import SKIP_REASONS

if TYPE_CHECKING:
    from daemon.engine import Engine
    from daemon.store.claims import Claim


class TakenError(AlscopeError):
    """Somebody else has the patch."""


class NotForYouError(AlscopeError):
    """The patch cannot be had: it is answered, skipped, being checked or being prepared."""


def claim(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """Let a user have a suggestion (id None: the next one). Answers JSON: {"id"}, or {"nothing": why}."""
    user, wanted = _user(arguments), arguments.get("id")
    if wanted is None:
        drafts = engine.workspace.drafts
        found = engine.store.claims.next_for(user, lambda s: _in_inbox(engine, s), lambda s: begun(drafts / s, user))
        if found is None:
            return json.dumps({"nothing": _nothing(engine)})
        _take(engine, found, user, now)
        return json.dumps({"id": found})
    suggestion = _suggestion(engine, str(wanted))
    held = engine.store.claims.holder(suggestion.id)
    if held is not None and held.user != user and not arguments.get("take_over"):
        raise TakenError(f"{_has(held)}; taking it over is possible (--take-over), and {held.user} is told")
    if held is None:
        _available(engine, suggestion)
    if engine.store.claims.drew_before(suggestion.id, user):
        raise NotForYouError(f"{suggestion.id} is kept for somebody else: you labelled the same place before")
    _take(engine, suggestion.id, user, now)
    return json.dumps({"id": suggestion.id})


def renew(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """Still at it: the lease begins anew. One that ran out meanwhile is taken again if nobody else has it."""
    user, suggestion = _user(arguments), _suggestion(engine, str(arguments["id"]))
    claims = engine.store.claims
    held, mine = claims.holder(suggestion.id), claims.latest_of(suggestion.id, user)
    if held is not None and held.user != user:
        raise TakenError(f"{_has(held)}; your label is kept as well when you save it")
    again = suggestion.state == "open" and mine is not None and mine.ended == "expired"
    if held is not None or (again and not _in_inbox(engine, suggestion.id)):
        _take(engine, suggestion.id, user, now)
        return f"{suggestion.id} is yours"
    raise NotForYouError(f"{suggestion.id} is not yours ({suggestion.state})")


def release(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """Give a suggestion back to the queue."""
    user, suggestion = _user(arguments), _suggestion(engine, str(arguments["id"]))
    held = engine.store.claims.holder(suggestion.id)
    if held is None:
        return f"nobody has {suggestion.id}"
    if held.user != user:
        raise TakenError(f"{_has(held)}; only {held.user} can give it back, or you take it over")
    engine.store.claims.give_back(suggestion.id, "released", now)
    return f"{suggestion.id} is back in the queue"


def skip(engine: Engine, arguments: dict[str, Any], now: float) -> str:
    """Take a suggestion out of the queue for good. kind: one of SKIP_REASONS; reason: words of the user's own."""
    suggestion = _suggestion(engine, str(arguments["id"]))
    user, kind, words = (
        name_of(arguments.get("user")),
        str(arguments.get("kind", "other")),
        str(arguments.get("reason", "")),
    )
    if kind not in SKIP_REASONS:
        raise UsageError(f"{kind!r} is no kind of reason; known: {', '.join(SKIP_REASONS)}")
    held = engine.store.claims.holder(suggestion.id)
    if held is not None and held.user != user:
        raise TakenError(f"{_has(held)}; ask them to skip it, or take it over first")
    if (suggestion.state, "skipped") not in SUGGESTION_TRANSITIONS:
        raise NotForYouError(
            f"{suggestion.id} does not wait any more ({suggestion.state}); `alscope queue` lists what does"
        )
    note = words if kind == "other" else f"{kind}: {words}" if words else kind
    engine.store.annotation.move(suggestion.id, "skipped", note, now, skip_kind=kind, by=user)
    return f"{suggestion.id} skipped"


def _take(engine: Engine, suggestion_id: str, user: str, now: float) -> None:
    lease_s = 60 * engine.settings.annotation.lease_min
    loser = engine.store.claims.take(suggestion_id, user, lease_s, now)
    if loser is not None:
        text = (
            f"{user} took {suggestion_id} over from {loser.user}; a label that {loser.user} still saves is kept as well"
        )
        engine.store.state.event("claim", text, now)


def _available(engine: Engine, suggestion: SuggestionRow) -> None:
    """Raise NotForYouError unless somebody can begin to work on it."""
    name, state = suggestion.id, suggestion.state
    if state == "submitted" or _in_inbox(engine, name):
        raise NotForYouError(f"{name}: a label of it is just being checked")
    if state == "accepted":
        raise NotForYouError(
            f"{name} is answered; a better label replaces the one that is there: save it as inbox/{name}.tif"
        )
    if state == "skipped" and suggestion.package is None:
        raise NotForYouError(
            f"{name} was taken out of the queue before its folder was made; another patch takes its place"
        )
    if state == "skipped":
        raise NotForYouError(f"{name} was skipped; a label that is saved as inbox/{name}.tif counts after all")
    if suggestion.package is None:
        raise NotForYouError(f"{name} is being prepared; try again in a moment")


def _nothing(engine: Engine) -> str:
    state = engine.store.queue_state()
    return nothing_words(state) or "what waits in the queue is for somebody else: you labelled the same places before"


def _in_inbox(engine: Engine, suggestion_id: str) -> bool:
    """Does a label of it lie in the inbox that the daemon has not looked at yet?"""
    return any(not is_seen_mask(path.name) for path in engine.workspace.inbox.glob(f"{suggestion_id}.*"))


def _suggestion(engine: Engine, suggestion_id: str) -> SuggestionRow:
    found = engine.store.annotation.suggestion(suggestion_id)
    if found is None:
        raise UsageError(f"there is no suggestion {suggestion_id!r}; `alscope queue` lists them")
    return found


def _user(arguments: dict[str, Any]) -> str:
    user = name_of(arguments["user"])
    if not user:
        raise UsageError("a patch is taken by somebody: say who you are (--user NAME)")
    return user


def _has(held: Claim) -> str:
    minutes = max(1, round(held.left_s / 60))
    return f"{held.user} has {held.suggestion}, for about {minutes} more min unless they go on working"


VERBS = {"claim": claim, "renew": renew, "release": release, "skip": skip}
