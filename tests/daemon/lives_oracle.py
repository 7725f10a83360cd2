"""What must be true of a workspace, from the words of DESIGN.md and docs: an account of its own, in plain dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from alcore.run import stage
from daemon.executors.port import Finished, Order

FIND_TRIES = 5
"""A file that is not found is looked for so often (docs/troubleshooting.md)."""
CLEARED = ("predict", "latent_map", "gate_pictures", "report")


@dataclass
class Job:
    """One job since its first order. state: running, waiting, done, failed (for good), gave up (for a passing reason), withdrawn
    (nobody wants it now), or "" where its file decided. attempts: None where its file decided."""

    stage: str
    key: str
    state: str = ""
    attempts: int | None = 0
    fence: int = 0

    @property
    def most(self) -> int:
        return max(stage(self.stage).max_attempts, FIND_TRIES if self.stage == "volume" else 0)


@dataclass
class Jobs:
    """Claimed once, tried no more often than it may be, never again once done or failed for good."""

    known: dict[int, Job] = field(default_factory=dict)
    retried: set[int] = field(default_factory=set)

    def begins(self, order: Order) -> None:
        job = self.known.setdefault(order.job_id, Job(order.stage, order.key))
        others = [n for n, j in self.known.items() if j.state == "running" and j.key == order.key]
        assert not others, f"{order.key} runs already, as job {others}"
        assert order.fence > job.fence, f"job {order.job_id} has the fence of an earlier claim"
        again = job.state in ("gave up", "withdrawn", "done") or order.job_id in self.retried
        assert job.state not in ("done", "failed") or order.job_id in self.retried or job.stage in CLEARED, (
            f"job {order.job_id} ({job.stage}) begins again, and is {job.state}"
        )
        self.retried.discard(order.job_id)
        job.state, job.fence = "running", order.fence
        job.attempts = None if job.attempts is None else (0 if again else job.attempts) + 1
        assert job.attempts is None or job.attempts <= job.most, f"attempt {job.attempts} of {order.stage}"

    def ends(self, said: Finished) -> str:
        """A worker says so; returns the state. A report of a claim that is not the present one is nothing."""
        job = self.known[said.job_id]
        if job.state != "running" or job.fence != said.fence:
            return "ignored"
        if said.outcome == "done":
            job.state = "done"
        elif said.outcome == "preempted" or said.kind == "disk_full":
            job.state = "waiting"
            self._not_spent(job)
        elif said.kind in ("source_changed", "source_missing"):
            job.state, job.attempts = "", None
        elif said.kind == "transient":
            spent = job.attempts is not None and job.attempts >= stage(job.stage).max_attempts
            job.state = "gave up" if spent else "waiting"
            if job.attempts is None:
                job.state = ""
        else:
            job.state = "failed"
        return job.state

    def restart(self) -> None:
        """What ran waits again, with no attempt spent; what was given up for passing reasons has new ones."""
        for job in self.known.values():
            if job.state == "running":
                job.state = "waiting"
                self._not_spent(job)

    @staticmethod
    def _not_spent(job: Job) -> None:
        job.attempts = None if job.attempts is None else job.attempts - 1

    def agree(self, rows: list[dict[str, Any]]) -> None:
        """The job table says the same. rows: id, stage, state, attempts, fence, error, recipe."""
        may_be = {
            "running": ("running",),
            "waiting": ("waiting", "ready"),
            "done": ("done",),
            "failed": ("failed",),
            "gave up": ("failed", "waiting", "ready", "cancelled"),
            "withdrawn": ("cancelled", "waiting", "ready"),
        }
        recipes = [r["recipe"] for r in rows if r["state"] in ("ready", "running")]
        assert len(recipes) == len(set(recipes)), "two jobs of one recipe are ready or running"
        for r in rows:
            job = self.known.get(r["id"])
            assert r["attempts"] <= (job.most if job else 0), f"job {r['id']} ({r['stage']}): {r['attempts']} attempts"
            if job is None or not job.state:
                assert r["state"] != "running", f"job {r['id']} runs, and nobody was told"
                continue
            if r["state"] == "cancelled" and job.state in ("waiting", "failed", "gave up"):
                job.state = "withdrawn"
            if r["state"] == "cancelled" and job.state == "done" and job.stage == "suggestions":
                job.state = "withdrawn"  # what it chose was taken back
            states = may_be[job.state]
            if job.state == "done" and job.stage in CLEARED:
                states = ("done", "cancelled", "ready", "waiting")
            if r["id"] in self.retried:
                states = (*states, "ready", "waiting", "cancelled")
                continue
            assert r["state"] in states, f"job {r['id']} ({r['stage']}) is {r['state']}, and ought to be {job.state}"
            if job.attempts is not None and job.state in ("running", "waiting", "failed"):
                assert r["attempts"] == job.attempts, (
                    f"job {r['id']} ({r['stage']}): {r['attempts']} not {job.attempts}"
                )


@dataclass
class Asked:
    """A suggestion. labels: (artifact, what was drawn) of those that were accepted and not undone, the last one counts.
    checking, spare: what was saved and is being checked, or lies in the inbox until that is over. rejected: its last file was."""

    state: str = "open"
    holder: str = ""
    labels: list[tuple[str, bytes]] = field(default_factory=list)
    checking: bytes | None = None
    spare: bytes | None = None
    rejected: bool = False
    shown: bool = False

    def arrives(self) -> None:
        """A file in the inbox is taken, unless another one of the patch is being checked."""
        if self.spare is None or self.state == "submitted":
            return
        self.checking, self.spare = self.spare, None
        self.state, self.holder = "submitted", ""

    def checked(self, artifact: str | None) -> None:
        """It was accepted under this name, or rejected."""
        assert self.checking is not None
        if artifact is not None:
            self.labels.append((artifact, self.checking))
        self.rejected = artifact is None
        self.state, self.checking = "rejected" if artifact is None else "accepted", None

    def undo(self) -> bool:
        """The newest label does not count any more; the one before it does, or the patch is asked for again."""
        if self.state == "submitted" or not self.labels:
            return False
        self.labels.pop()
        if not self.labels and self.state == "accepted":
            self.state = "open"
        return True

    def skip(self, user: str) -> bool:
        if self.state not in ("open", "claimed", "rejected") or self.holder not in ("", user):
            return False
        self.state, self.holder = "skipped", ""
        return True

    def claim(self, user: str) -> bool:
        if self.holder:
            return self.holder == user
        if self.state not in ("open", "rejected") or not self.shown or self.spare is not None:
            return False
        self.state, self.holder = "claimed", user
        return True

    def release(self, user: str) -> bool:
        if self.holder not in ("", user):
            return False
        if self.holder:
            self.state, self.holder = "rejected" if self.rejected else "open", ""
        return True


@dataclass
class Rounds:
    """Frozen label sets, and which model is in use. frozen: number -> role -> artifacts. uses: models that are or were in use, the
    present one last, without those that were rolled back. by_hand: models that only a person puts to use."""

    frozen: dict[int, dict[str, set[str]]] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    uses: list[str] = field(default_factory=list)
    by_hand: set[str] = field(default_factory=set)
    concluded: set[int] = field(default_factory=set)

    def new(self, current: set[str]) -> set[str]:
        """Labels that no round has learned from, but for those that failed."""
        seen = [sets for n, sets in self.frozen.items() if n not in self.failed]
        return current - {key for sets in seen for keys in sets.values() for key in keys}

    def takes_over(self, version: str) -> None:
        if self.uses:
            self.by_hand.add(self.uses[-1])
        self.uses = [*(v for v in self.uses if v != version), version]

    def roll_back(self) -> bool:
        if len(self.uses) < 2:
            return False
        self.by_hand.add(self.uses.pop())
        return True
