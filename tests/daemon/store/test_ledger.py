"""The minutes ledger: by label, person, day and round, from what windows tell; tools that tell nothing are counted as such."""

from __future__ import annotations

import time
from typing import Any

import pytest

from daemon.store import ledger
from daemon.store.report import snapshot
from daemon.store.rows import Picked
from daemon.store.store import Store
from daemon.wording_work import spent_words

NOON = time.mktime((2026, 3, 2, 12, 0, 0, 0, 0, -1))
DAY = 86400.0


def answer(store: Store, name: str, user: str, at: float, work: Any = None, role: str = "train") -> None:
    note: dict[str, Any] = {"user": user} | ({} if work is None else {"work": work})
    number = store.labels.receive(store.annotation.suggestion(name), b"/x.tif", "sha", note, at)
    (received,) = store.labels.received("id = ?", [number])
    store.learning.add_artifact(f"label-{number}", "label", 1, 0.1, at)
    store.labels.accept(received, f"label-{number}", role, 3, [], at)


def work(minutes: float, clicks: int = 10, voxels: int = 100) -> dict[str, Any]:
    return {"active_s": 60 * minutes, "clicks": clicks, "changed_voxels": voxels, "open_s": 90 * minutes}


@pytest.fixture
def kept(store, add_volume) -> Store:
    """Six suggestions, five answered; the second was answered twice, the fourth by another tool."""
    volume = add_volume(n=6)
    store.annotation.suggest([Picked(volume, i, 0.5, "far", why={"n_objects": 4.0 + i}) for i in range(6)], 1.0)
    answer(store, "s00001", "ana", NOON, work(4))
    answer(store, "s00002", "ben", NOON + 60, work(6))
    answer(store, "s00002", "ana", NOON + 120, work(2), "train")
    answer(store, "s00003", "ana", NOON + DAY, work(8, 40, 1000), "gate")
    answer(store, "s00004", "ben", NOON + DAY)
    answer(store, "s00005", "", NOON + DAY, {"active_s": "long", "clicks": -3, "changed_voxels": True})
    return store


def test_every_label_has_its_work_and_nonsense_counts_as_unknown(kept):
    found = ledger.entries(kept._db.conn)
    assert [(e.suggestion, e.user, e.minutes, e.clicks, e.changed_voxels, e.expected) for e in found] == [
        ("s00001", "ana", 4.0, 10, 100, 4.0),
        ("s00002", "ben", 6.0, 10, 100, 5.0),
        ("s00002", "ana", 2.0, 10, 100, 5.0),
        ("s00003", "ana", 8.0, 40, 1000, 6.0),
        ("s00004", "ben", None, None, None, 7.0),
        ("s00005", "", None, None, None, 8.0),
    ]
    assert ledger.timed(found) == [(4.0, 4.0), (5.0, 6.0), (5.0, 2.0), (6.0, 8.0)]
    users = ledger.by(found, "user")
    assert {name: (s.labels, s.timed, s.minutes, s.clicks) for name, s in users.items()} == {
        "ana": (3, 3, 14.0, 60),
        "ben": (2, 1, 6.0, 10),
        "": (1, 0, 0.0, 0),
    }
    days = ledger.by(found, "day")
    assert {name: (s.labels, s.minutes) for name, s in days.items()} == {
        "2026-03-02": (3, 12.0),
        "2026-03-03": (3, 8.0),
    }


def test_today_is_what_one_person_did(kept):
    found = ledger.progress_since(kept._db.conn, "ana", NOON + DAY / 2)
    assert (found.labels, found.objects, found.minutes, found.since_round) == (1, 3, 8.0, 4)
    assert found.words() == "1 label today (3 objects, 8 min)"
    assert ledger.progress_since(kept._db.conn, "cleo", 0).words() == "no label yet today"


def skip(store: Store, name: str, user: str, at: float, work_: Any = None, **more: Any) -> None:
    """As `daemon.commands.obey` leaves it."""
    wish = {"id": name, "user": user, "kind": "artefact"} | ({} if work_ is None else {"work": work_}) | more
    store.annotation.move(name, "skipped", "artefact", at, skip_kind="artefact", by=user)
    store.state.command_done(f"{at:020.0f}-{name}", "skip", wish, True, f"{name} skipped", at)


def test_minutes_on_patches_that_were_skipped_count_too(store, add_volume, tmp_path):
    volume = add_volume(n=7)
    store.annotation.suggest([Picked(volume, i, 0.5, "far") for i in range(7)], 1.0)
    skip(store, "s00001", "ana", NOON, work(3))
    skip(store, "s00002", "ana ", NOON + DAY, work(1.5))
    skip(store, "s00003", "ana", NOON + DAY)  # on the command line: nobody measured
    skip(store, "s00004", "ben", NOON + DAY, {"active_s": float("nan")})
    skip(store, "s00005", "ben", NOON + DAY, work(7))
    answer(store, "s00005", "ben", NOON + DAY + 60, work(9))  # a label came after all, with all the minutes
    store.annotation.take_back("s00006", "others teach more", NOON + DAY)
    refused = {"id": "s00007", "user": "ana", "work": work(99)}
    store.state.command_done("refused", "skip", refused, False, "ben has s00007", NOON + DAY)
    found = ledger.skips(store._db.conn)
    assert [(s.suggestion, s.user, s.minutes) for s in found] == [
        ("s00001", "ana", 3.0),
        ("s00002", "ana", 1.5),
        ("s00003", "ana", None),
        ("s00004", "ben", None),
    ]
    assert {s.kind for s in found} == {"artefact"}
    today = ledger.progress_since(store._db.conn, "ana", NOON + DAY / 2)
    assert (today.labels, today.skipped, today.skipped_minutes) == (0, 2, 1.5)
    assert today.words() == "no label yet today, 2 skipped (2 min)"
    assert spent_words(snapshot(tmp_path, NOON).work) == "9 min on 1 label, 9.0 min each, 4 min on 2 skipped patches"


def test_a_patch_skipped_twice_counts_once_with_what_it_took_last(store, add_volume):
    """The draft goes on with its minutes."""
    volume = add_volume(n=1)
    store.annotation.suggest([Picked(volume, 0, 0.5, "far")], 1.0)
    skip(store, "s00001", "ana", NOON, work(3))
    store.annotation.move("s00001", "open", "", NOON + 1)
    assert ledger.skips(store._db.conn) == []
    skip(store, "s00001", "ana", NOON + 2, work(5))
    assert [s.minutes for s in ledger.skips(store._db.conn)] == [5.0]


def test_what_the_minutes_of_a_round_bought(kept, tmp_path):
    """A label counts for the first round that used it; a gain is between two models on the same held-out labels."""
    learning = kept.learning

    def round_(number: int, f1: float, before: float | None, promoted: bool = True) -> None:
        labels = kept.labels.current()
        learning.open_round(labels, f"digest-{number}", 0.5, 9.0)
        learning.add_artifact(f"finetune-{number}", "finetune", 1, 1.0, 9.0)
        version = f"M_f-{number:03d}"
        learning.add_model(version, "finetuned", "candidate", f"finetune-{number}", None, labels, "d", 9.0)
        learning.judge(number, version)
        said = {"scores": {"f1": f1, "dice": f1 + 0.1}, "per_label": []}
        learning.add_evaluation(f"evaluate-{number}", version, f"gate-{number}", said, 9.0)
        if before is not None:
            said = {"scores": {"f1": before, "dice": before + 0.1}, "per_label": []}
            learning.add_evaluation(f"evaluate-{number}-before", "M_f-001", f"gate-{number}", said, 9.0)
        learning.finish_round(learning.active_round(), promoted, "so", {"f1": f1, "dice": f1 + 0.1}, None, 10.0)

    round_(1, 0.5, None)
    answer(kept, "s00006", "ben", NOON + 2 * DAY, work(5))
    round_(2, 0.62, 0.48)
    first, second = ledger.bought(kept._db.conn, ledger.entries(kept._db.conn))
    assert (first.spent.labels, first.spent.minutes, first.f1) == (5, 14.0, None)  # the superseded one was used by none
    assert (second.spent.labels, second.spent.minutes, second.promoted) == (1, 5.0, True)
    assert (second.f1, second.dice) == (pytest.approx(0.14), pytest.approx(0.14))
    work_ = snapshot(tmp_path, NOON).work
    assert (work_.spent.labels, work_.spent.timed, work_.spent.minutes) == (7, 5, 25.0)
    assert work_.bought == (first, second)


def test_the_queue_expects_what_people_needed_once_enough_is_known(store, add_volume, tmp_path):
    volume = add_volume(n=12)
    why = [{"n_objects": float(i), "minutes": 99.0} for i in range(11)] + [{"minutes": 99.0}]
    store.annotation.suggest([Picked(volume, i, 0.5, "far", why=why[i]) for i in range(12)], 1.0)
    for i in range(7):
        answer(store, f"s{i + 1:05d}", "ana", NOON, work(2 + 0.5 * i))
    assert {q.minutes for q in snapshot(tmp_path, NOON).queue} == {99.0}
    answer(store, "s00008", "ana", NOON, work(2 + 0.5 * 7))
    minutes = {q.id: q.minutes for q in snapshot(tmp_path, NOON).queue}
    assert minutes == {
        "s00009": pytest.approx(6.0),
        "s00010": pytest.approx(6.5),
        "s00011": pytest.approx(7.0),
        "s00012": 99.0,
    }
