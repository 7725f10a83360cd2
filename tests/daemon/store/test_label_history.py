"""Undo and supersede against an oracle: whatever people do, the newest label that was not withdrawn counts, and nothing is lost."""

from __future__ import annotations

import random

import pytest

from daemon.errors import UsageError
from daemon.store.rows import Picked
from daemon.store.store import Store

N_STEPS = 60


class Oracle:
    """The labels of one patch as a stack; rounds remember what they used."""

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.ever: list[int] = []
        self.role = ""


@pytest.mark.parametrize("seed", range(8))
def test_whatever_people_do_the_newest_label_that_stands_counts(store: Store, add_volume, seed: int) -> None:
    rng = random.Random(seed)
    volume = add_volume()
    made = store.annotation.suggest([Picked(volume, row, 0.5, "far") for row in range(3)], 2.0)
    oracles = {suggestion: Oracle() for suggestion in made}
    used: dict[int, set[int]] = {}
    now = 10.0
    for _ in range(N_STEPS):
        now += 1
        name = rng.choice(made)
        oracle = oracles[name]
        asked = store.annotation.suggestion(name)
        action = rng.choice(["accept", "accept", "undo", "undo", "reject", "round"])
        if action in ("accept", "reject"):
            number = store.labels.receive(asked, b"/ws/inbox/%s.nii.gz" % name.encode(), f"{now}", {"user": "ana"}, now)
            (received,) = store.labels.received("id = ?", [number])
            assert received.file.endswith(f"{number:05d}.nii.gz")
            with pytest.raises(UsageError, match="is being checked"):
                store.labels.withdraw(received.suggestion, now)
            if action == "reject":
                store.labels.reject(received, "wrong shape", now)
            else:
                key = f"label-{number}"
                store.learning.add_artifact(key, "label", 1, 1.0, now)
                role = rng.choice(["train", "gate"])
                oracle.role = oracle.role or role
                oracle.stack.append(store.labels.accept(received, key, role, 3, [], now))
                oracle.ever.append(oracle.stack[-1])
        elif action == "undo" and not oracle.stack:
            with pytest.raises(UsageError, match="no label that could be undone"):
                store.labels.withdraw(asked, now)
        elif action == "undo":
            rejected = asked.state == "rejected"
            gone = oracle.stack.pop()
            left, rounds = store.labels.withdraw(asked, now)
            assert left == len(oracle.stack)
            assert rounds == sorted(n for n, labels in used.items() if gone in labels)
            state = store.annotation.suggestion(name).state
            assert state == ("rejected" if rejected else "accepted" if oracle.stack else "open")
        elif action == "round" and store.learning.active_round() is None:
            number = store.learning.open_round(store.labels.current(), "digest", 0.5, now)
            used[number] = {label.id for label in store.labels.current()}
            store.learning.fail_round(number, "not wanted", now)
        check(store, oracles, used)


def check(store: Store, oracles: dict[str, Oracle], used: dict[int, set[int]]) -> None:
    current = {label.id: label for label in store.labels.current()}
    assert set(current) == {oracle.stack[-1] for oracle in oracles.values() if oracle.stack}
    for name, oracle in oracles.items():
        if oracle.stack:
            assert current[oracle.stack[-1]].role == oracle.role, "a patch keeps the role that it had"
        for (received,) in [
            store.labels.received("id = ?", [r.id]) for r in store.labels.received("state = 'accepted'")
        ]:
            if received.suggestion.id == name:
                key = store.labels.artifact_of(received.id)
                expected = current[oracle.stack[-1]].artifact if oracle.stack else None
                assert key == expected, "labels/ holds what counts, or nothing"
    rows = {r["id"]: r for r in store.annotation._db.query("SELECT * FROM label")}
    assert set(rows) == {label for oracle in oracles.values() for label in oracle.ever}, "nothing is ever deleted"
    for oracle in oracles.values():
        for label in oracle.ever:
            assert (rows[label]["withdrawn_at"] is None) == (label in oracle.stack)
        for below, above in zip(oracle.stack, oracle.stack[1:], strict=False):
            assert rows[below]["superseded_by"] == above
    for number, labels in used.items():
        assert {label.id for label in store.labels.round_labels(number)} == labels, "a round keeps what it used"
