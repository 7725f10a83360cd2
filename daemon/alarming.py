"""Raises alarms from what is true now, and hands them to the couriers: at most so many an hour, each once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from daemon.alarms import Alarm, Patience, arrivals_alarm, disk_alarm, payload, queue_alarm, starting, told
from daemon.budget import SUBJECT
from daemon.config import Settings
from daemon.config_alarms import Alarms
from daemon.courier import Carry, Courier, Delivered, Letter, by_command, here
from daemon.disk import free_gb
from daemon.store.claim_listing import nothing_words
from daemon.store.store import Store
from daemon.wording import clean
from daemon.workspace import Workspace

log = logging.getLogger("alscope.alarms")

BLIND = ("watcher", "folder")
"""Problems that mean: what arrives may not be seen."""
UNTOLD = ("queue", "disk", "watcher", "arrivals")
"""Kinds of which nobody else has left an event."""
HOUR_S = 3600.0
OVER = {
    "queue": "",
    "disk": "there is enough room on the disk again",
    "watcher": "the watched folders are seen again",
    "arrivals": "files arrive again, or none are expected",
}
"""What is said when a condition is over; nothing of the queue, which speaks for itself."""


@dataclass
class Alarming:
    """Called by the engine, in its thread. ways: how a letter is sent on each way out."""

    settings: Settings
    workspace: Workspace
    store: Store
    started: float
    ways: Mapping[str, Callable[[Letter], None]] = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)
    busy: set[str] = field(default_factory=set)

    def look(self, now: float) -> None:
        """Raise what is new, end what is over, and tell what waits."""
        kept, true = set(self.settings.alarms.kinds), self._conditions(now)
        found = [*self.store.alarms.happened(now), *self.patience.held(true, now)]
        for alarm in (a for a in found if a.kind in kept):
            if self.store.alarms.raise_(alarm, self.ways, self.settings.alarms.repeat_h * HOUR_S, now):
                log.warning("%s", told([alarm]))
                if alarm.kind in UNTOLD:
                    self.store.state.event("alarm", f"{alarm.kind}: {alarm.message}", now)
        unknown = ("arrivals",) if starting(self.started, now) else ()
        for alarm in self.store.alarms.end(true, unknown, now):
            if OVER.get(alarm.kind):
                self.store.state.event("alarm", OVER[alarm.kind], now)
        for channel in self.ways:
            self._tell(channel, now)

    def _conditions(self, now: float) -> list[Alarm]:
        """What is true now."""
        queue, store = self.store.queue_state(), self.store.alarms
        in_hand = queue.claimed + queue.checking + queue.rejected
        depth, begun = self.settings.selection.queue_depth, store.n_suggested() > 0
        blind = [Alarm("watcher", subject, text, True) for _, subject, text in store.problems(BLIND)]
        full = [Alarm(kind, name, text, True) for kind, name, text in store.problems(("disk",)) if name == SUBJECT]
        found = [
            queue_alarm(queue.ready, in_hand, queue.preparing, depth, begun, nothing_words(queue)),
            disk_alarm(free_gb(self.workspace.root), self.settings.alarms.disk_gb, clean(str(self.workspace.root))),
            self._late(now),
        ]
        return [*blind, *full, *(alarm for alarm in found if alarm is not None)]

    def _late(self, now: float) -> Alarm | None:
        """Does nothing arrive although a run is declared? It is a problem too, as long as it lasts."""
        expected = self.store.alarms.expectation()
        if expected is not None and not expected.holds(now):
            self.store.alarms.expect(None)
            self.store.state.event("alarm", "the declared run is over: no files are expected any more", now)
        late = arrivals_alarm(expected, self.store.alarms.last_arrival(), self.started, now)
        if late is not None:
            self.store.state.problem("arrivals", "microscope", late.message, now)
        elif self.store.alarms.problems(("arrivals",)):
            self.store.state.solved("arrivals", "microscope")
        return late

    def _tell(self, channel: str, now: float) -> None:
        """One letter at a time on each way out, with everything that waits."""
        if channel in self.busy:
            return
        waiting = self.store.alarms.waiting(channel, now)
        if not waiting or self.store.alarms.n_told(channel, now - HOUR_S) >= self.settings.alarms.most_per_hour:
            return
        alarms = [alarm for _, alarm, _ in waiting]
        content = payload(waiting, clean(str(self.workspace.root)), here())
        self.busy.add(channel)
        self.ways[channel](Letter(tuple(n for n, _, _ in waiting), alarms[0].kind, told(alarms), content))

    def delivered(self, event: Delivered, now: float) -> None:
        """A courier is back."""
        self.busy.discard(event.channel)
        error = clean(event.error)
        self.store.alarms.delivered(event.channel, event.ids, error, now)
        if not error:
            self.store.state.solved("alarms", event.channel)
            return
        text = f"{error}; alarms are not told by alarms.{event.channel} (`alscope alarms test` tries it)"
        if self.store.state.problem("alarms", event.channel, text, now):
            log.error("%s", text)


def ways_out(settings: Settings, workspace: Workspace) -> dict[str, Carry]:
    """The ways out that config.toml names."""
    alarms: Alarms = settings.alarms
    found: dict[str, Carry] = {}
    if alarms.command:
        found["command"] = by_command(alarms.command, alarms.timeout_s, workspace.root)
    if alarms.webhook:
        from daemon.webhook import by_webhook

        found["webhook"] = by_webhook(alarms.webhook, alarms.timeout_s)
    return found


def couriers(settings: Settings, workspace: Workspace, report: Callable[[Delivered], None]) -> dict[str, Courier]:
    """One for each way out."""
    return {channel: Courier(channel, carry, report) for channel, carry in ways_out(settings, workspace).items()}
