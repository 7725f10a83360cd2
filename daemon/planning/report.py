"""The report after every round: its parts first, then the page, once."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

from alcore.stage import Input
from daemon.look import reading
from daemon.planner import Planner
from daemon.planning.training import UNDER_WAY
from daemon.reporting.gather import Gathering
from daemon.store.rows import Wanted
from daemon.store.store import Store

log = logging.getLogger("alscope.engine")

PARTS = ("latent_map", "gate_pictures")
SECTIONS = {"latent_map": "map", "gate_pictures": "gate"}
PATIENCE_S = 600.0
"""So long after a round the report waits for the comparison of selection with chance."""


@dataclass(frozen=True)
class ReportPlans:
    """The level is the newest round that ended: patches that come later do not ask for a new report.

    The recipe of each job is fixed when it is first wanted, however the pool grows meanwhile. given_up: rounds whose report could
    not be gathered since the daemon started.
    """

    store: Store
    planner: Planner
    given_up: set[int] = field(default_factory=set)

    def wanted(self, now: float) -> Iterator[Wanted]:
        """What the report of the newest round lacks."""
        ended = self.store.reports.newest_ended_round()
        if ended is None or ended[0] in self.given_up or self.store.jobs.states("report", f"round:{ended[0]}"):
            return
        number, at = ended
        subject = f"round:{number}"
        with reading(self.planner.workspace) as db:
            gathering = Gathering(self.planner, db)
            parts = [wanted for part in PARTS if (wanted := self._part(gathering, part, subject)) is not None]
            yield from parts
            if parts or self._under_way(subject) or (now < at + PATIENCE_S and self._comparing(number)):
                return
            made = {part: self._made(part, subject) for part in PARTS}
            try:
                wanted = gathering.report(subject, made, self._missing(subject), now)
            except (LookupError, TypeError, ValueError, sqlite3.Error) as e:
                self._give_up(number, e, now)  # what is read for people must not stop those who acquire
                return
            yield wanted

    def _give_up(self, number: int, error: Exception, now: float) -> None:
        log.exception("the report after round %d cannot be gathered", number)
        self.given_up.add(number)
        text = f"no report after round {number}: {type(error).__name__}: {error}; `alscope report` tries again"
        self.store.state.event("report", text, now)

    def _part(self, gathering: Gathering, part: str, subject: str) -> Wanted | None:
        """A part that was never wanted for this round, unless there is nothing to make it of."""
        if self.store.jobs.states(part, subject):
            return None
        if part == "gate_pictures":
            return gathering.gate_pictures(subject)
        encoder = gathering.encoder()
        before = self.store.reports.newest("latent_map", self.planner.map_spec(encoder)) if encoder else None
        return gathering.latent_map(subject, self.planner.artifact(before.key) if before else None)

    def _under_way(self, subject: str) -> bool:
        return any(state in UNDER_WAY for part in PARTS for _, state in self.store.jobs.states(part, subject))

    def _comparing(self, number: int) -> bool:
        """Is selection still to be compared with chance after this round?"""
        states = self.store.jobs.states("control", f"round:{number}")
        return any(state in UNDER_WAY for _, state in states)

    def _made(self, part: str, subject: str) -> Input | None:
        done = [job_id for job_id, state in self.store.jobs.states(part, subject) if state == "done"]
        job = self.store.jobs.get(done[-1]) if done else None
        return None if job is None else self.planner.artifact(job.key)

    def _missing(self, subject: str) -> dict[str, str]:
        """Why parts are missing that were tried, by section."""
        found = {}
        for part in PARTS:
            states = self.store.jobs.states(part, subject)
            if states and states[-1][1] != "done":
                found[SECTIONS[part]] = f"{SECTIONS[part]} is missing: {self.store.jobs.last_words(states[-1][0])}"
        return found
