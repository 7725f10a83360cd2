"""What raises an alarm, what does not, and that each is told once: on a real store, with couriers that only take notes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.alarming import Alarming
from daemon.alarms import (
    HOLD_S,
    LATE_S,
    MOST_TRIES,
    RECENT_S,
    STARTING_S,
    Alarm,
    Expectation,
    Patience,
    arrivals_alarm,
    disk_alarm,
    filled,
    payload,
    queue_alarm,
    told,
)
from daemon.config import from_mapping
from daemon.courier import Delivered, Letter
from daemon.store.alarm_listing import alarms
from daemon.store.connection import open_reader
from daemon.store.rows import Novelty
from daemon.store.store import Store
from tests.daemon.scene import HOSTILE, Scene

HOUR = 3600.0


@pytest.fixture
def scene(tmp_path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


class Watch:
    """An `Alarming` on a scene; `letters` is what its couriers were given."""

    def __init__(self, scene: Scene, channels=("command",), **alarms) -> None:
        self.scene = scene
        self.letters: list[tuple[str, Letter]] = []
        raw = {"workspace": "ws", "watch": [{"folder": "in"}], "alarms": {"disk_gb": 0.0, "kinds": KINDS} | alarms}
        self.settings = from_mapping(raw, scene.config)
        self.channels = channels
        self.start(scene.now - 2 * STARTING_S)

    def start(self, at: float) -> None:
        ways = {c: lambda letter, c=c: self.letters.append((c, letter)) for c in self.channels}
        self.alarming = Alarming(self.settings, self.scene.workspace, self.scene.store, at, ways)

    def look(self, after: float = 0.0, error: str = "") -> list[str]:
        """Look once, let the couriers come back; returns what they were given."""
        self.scene.now += after
        before = len(self.letters)
        self.alarming.look(self.scene.now)
        fresh = self.letters[before:]
        for channel, letter in fresh:
            self.alarming.delivered(Delivered(channel, letter.ids, error), self.scene.now)
        return [letter.message for _, letter in fresh]

    def raised(self) -> list[tuple[str, str]]:
        db = open_reader(self.scene.workspace.root / "alscope.db")
        try:
            return [(a.kind, a.message) for a in alarms(db, 100)][::-1]
        finally:
            db.close()


KINDS = ["novelty", "quality", "training", "disk", "watcher", "arrivals"]


def test_a_volume_unlike_all_others_is_told_once_and_not_again_after_a_restart(scene):
    scene.live()
    watch = Watch(scene, kinds=["novelty"])
    assert watch.look() == []
    scene.novel(scene.volumes[3])
    (message,) = watch.look(10)
    assert message == "alscope: novelty: stack_03.tif: unlike everything before it"
    assert watch.look(10) == []
    scene.store.close()
    scene.store = Store(scene.workspace.root)
    watch.start(scene.now)
    assert watch.look(LATE_S / 2) == []
    assert [kind for kind, _ in watch.raised()] == ["novelty"]


def test_another_encoder_does_not_raise_the_same_alarm_again(scene):
    scene.live()
    watch = Watch(scene, kinds=["novelty"])
    scene.novel(scene.volumes[3])
    assert len(watch.look(10)) == 1
    scene.encoder("descriptor", 99)
    (current,) = scene.store.encoders.in_use().values()
    novelty = Novelty(0.8, 0.6, 3, (scene.volumes[0], 1), 0)
    scene.store.selection.add_novelty(scene.volumes[3], current.id, novelty, "again unlike everything", scene.now)
    assert watch.look(10) == []


def test_drift_of_intensity_and_focus_is_told_with_the_name(scene):
    scene.live()
    watch = Watch(scene, kinds=["quality"])
    watch.look()
    volume = scene.volume(HOSTILE)
    quality = {"warnings": ["mean intensity 12, usually about 120: has it drifted?", "is it out of focus?"]}
    scene.store.volumes.set_quality(volume, quality)
    (message,) = watch.look(10)
    assert message.isprintable()
    assert "a[red]b[bold]\\x1b[31m" in message
    assert "has it drifted?; is it out of focus?" in message
    scene.volume("fine.tif")
    assert watch.look(10) == []


def test_an_alarm_that_could_not_be_written_down_is_raised_the_next_time(scene, monkeypatch):
    scene.live()
    watch = Watch(scene, kinds=["quality"])
    watch.look()
    scene.store.volumes.set_quality(scene.volume("dim.tif"), {"warnings": ["dim"]})
    with monkeypatch.context() as patch:
        patch.setattr(scene.store.alarms, "raise_", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watch.look(10)
    assert watch.look(10) == ["alscope: quality: dim.tif: dim"]


def test_finished_trainings_are_told_promoted_or_not(scene):
    scene.live()
    watch = Watch(scene, kinds=["training"])
    (message,) = watch.look()  # the rounds of the scene
    assert "and 1 more" in message
    scene.round(3, 0.5, False)
    (message,) = watch.look(10)
    assert message.startswith("alscope: training: round 3: M_f-003 not promoted: F1 0.5")


def test_a_round_that_failed_and_ends_well_later_is_told_of_twice(scene):
    scene.live()
    watch = Watch(scene, kinds=["training"])
    watch.look()
    learning = scene.store.learning
    number = learning.open_round(scene.store.labels.current(), "digest", 0.5, scene.now)
    learning.fail_round(number, "the worker died", scene.now)
    assert watch.look(10) == [f"alscope: training: round {number}: failed: the worker died"]
    assert watch.look(10) == []
    learning.reopen_round(number)
    assert watch.look(10) == []
    version = f"M_f-{number:03d}"
    learning.add_model(version, "finetuned", "candidate", scene.artifact("finetune-again"), None, [], "d", scene.now)
    learning.judge(number, version)
    learning.finish_round(learning.active_round(), False, "so", None, None, scene.now)
    assert watch.look(10) == [f"alscope: training: round {number}: {version} not promoted: so"]
    assert watch.look(10) == []


def test_what_happened_long_ago_is_not_told(scene):
    scene.live()
    scene.novel(scene.volumes[3])
    watch = Watch(scene)
    scene.now += 1.1 * RECENT_S
    assert watch.look() == []


def test_a_full_queue_is_told_when_nobody_begins(scene):
    scene.live()
    watch = Watch(scene, kinds=["queue"])
    watch.settings = from_mapping(
        {
            "workspace": "ws",
            "watch": [{"folder": "in"}],
            "selection": {"queue_depth": 4},
            "alarms": {"kinds": ["queue"]},
        },
        scene.config,
    )
    watch.start(scene.now)
    assert watch.look() == []  # only just
    (message,) = watch.look(HOLD_S["queue"])
    assert (
        message
        == "alscope: queue: 4 patches wait for an expert and nobody has begun: `alscope annotate` opens the first"
    )
    assert watch.look(HOUR) == []


@pytest.mark.parametrize(
    ("ready", "in_hand", "coming", "begun", "subject"),
    [
        (8, 0, 0, True, "full"),
        (8, 1, 0, True, None),  # somebody is at it
        (7, 0, 0, True, None),
        (0, 0, 0, True, "empty"),
        (0, 0, 0, False, None),  # nothing was ever suggested: it has not begun
        (0, 1, 0, True, None),
        (0, 0, 2, True, None),
    ],
)
def test_the_queue_as_a_condition(ready, in_hand, coming, begun, subject):
    found = queue_alarm(ready, in_hand, coming, 8, begun, "why")
    assert (found.subject if found else None) == subject


def test_nothing_arriving_is_told_only_while_a_run_is_declared(scene):
    scene.live()
    watch = Watch(scene, kinds=["arrivals"])
    assert watch.look(10 * HOUR) == []
    scene.store.alarms.expect(Expectation(scene.now, 2 * HOUR, scene.now + 20 * HOUR))
    assert watch.look(1.9 * HOUR) == []
    (message,) = watch.look(0.2 * HOUR)
    assert "nothing has arrived for 2 h 06 min, expected at least every 2 h 00 min" in message
    problems = scene.store.alarms.problems(("arrivals",))
    assert len(problems) == 1
    scene.arriving("late.tif")
    assert watch.look(60) == []
    assert scene.store.alarms.problems(("arrivals",)) == []
    assert len(watch.look(6.1 * HOUR)) == 1  # quiet again, and the last time is long ago
    watch.look(20 * HOUR)
    assert scene.store.alarms.expectation() is None  # it ended by itself


@pytest.mark.parametrize(
    ("expected", "last", "started", "now", "late"),
    [
        (None, None, 0.0, 1e6, False),
        (Expectation(0.0, HOUR, None), None, 0.0, HOUR + 1, True),
        (Expectation(0.0, HOUR, None), 10.0, 0.0, HOUR + 1, False),
        (Expectation(0.0, HOUR, None), None, HOUR, HOUR + 1, False),  # it has only just started
        (Expectation(0.0, HOUR, HOUR), None, 0.0, HOUR + 1, False),  # the run is over
    ],
)
def test_arrivals_as_a_condition(expected, last, started, now, late):
    assert (arrivals_alarm(expected, last, started, now) is not None) == late


def test_a_condition_that_comes_and_goes_is_told_once_in_a_while(scene):
    watch = Watch(scene, kinds=["watcher"], repeat_h=6)
    state = scene.store.state

    def blind() -> list[str]:
        state.problem("watcher", "events", "no file events", scene.now)
        watch.look(1)
        return watch.look(HOLD_S["watcher"])

    assert blind() == ["alscope: watcher: no file events"]
    assert watch.look(HOUR) == []
    state.solved("watcher", "events")
    watch.look(10)
    assert blind() == []
    state.solved("watcher", "events")
    watch.look(6 * HOUR)
    assert blind() == ["alscope: watcher: no file events"]


def test_a_restart_while_a_condition_lasts_tells_nothing_twice(scene):
    watch = Watch(scene, kinds=["watcher", "arrivals"])
    scene.store.state.problem("folder", "/data", "/data: cannot be reached", scene.now)
    scene.store.alarms.expect(Expectation(scene.now - 3 * HOUR, HOUR, None))
    scene.store.state.started(1, "test", scene.now)
    watch.look()
    watch.look(60)
    assert len(watch.raised()) == 2
    watch.start(scene.now)
    watch.look(1)
    watch.look(2 * STARTING_S)
    assert len(watch.letters) == len({letter.ids for _, letter in watch.letters})
    assert len(watch.raised()) == 2


def test_little_room_on_the_disk(tmp_path):
    assert disk_alarm(10.0, 10.0, "ws") is None
    found = disk_alarm(9.9, 10.0, "ws")
    assert found is not None
    assert "9.9 GB free, alarms.disk_gb = 10" in found.message


def test_at_most_so_many_deliveries_in_an_hour_and_nothing_is_lost(scene):
    scene.live()
    watch = Watch(scene, kinds=["quality"], most_per_hour=3)
    watch.look()
    told_at = []
    for number in range(20):
        scene.store.volumes.set_quality(scene.volume(f"dim_{number:02d}.tif"), {"warnings": ["dim"]})
        if watch.look(120):
            told_at.append(scene.now)
    assert len(told_at) == 3
    (rest,) = watch.look(HOUR)
    assert "dim_03.tif" in rest
    assert "and 16 more" in rest
    assert len({n for _, letter in watch.letters for n in letter.ids}) == 20
    assert all(sum(a < b <= a + HOUR for b in told_at) < 3 for a in told_at)


def test_each_way_out_is_counted_for_itself_and_a_failure_is_tried_again_and_seen(scene):
    scene.live()
    watch = Watch(scene, ("command", "webhook"), kinds=["novelty"])
    scene.novel(scene.volumes[3])
    scene.now += 10
    watch.alarming.look(scene.now)
    (a, letter), (b, _) = watch.letters
    assert {a, b} == {"command", "webhook"}
    watch.alarming.look(scene.now + 1)
    assert len(watch.letters) == 2  # both are under way
    watch.alarming.delivered(Delivered("command", letter.ids, ""), scene.now)
    watch.alarming.delivered(Delivered("webhook", letter.ids, "host: answered 500"), scene.now)
    assert [m for _, _, m in scene.store.alarms.problems(("alarms",))] == [
        "host: answered 500; alarms are not told by alarms.webhook (`alscope alarms test` tries it)"
    ]
    for _ in range(2 * MOST_TRIES):
        watch.look(2 * HOUR, error="host: answered 500")
    tries = [channel for channel, _ in watch.letters]
    assert tries.count("command") == 1
    assert tries.count("webhook") == MOST_TRIES


def test_a_delivery_that_was_cut_short_is_made_by_the_next_daemon(scene):
    scene.live()
    watch = Watch(scene, kinds=["novelty"])
    scene.novel(scene.volumes[3])
    watch.alarming.look(scene.now)
    watch.start(scene.now)  # nothing was reported
    assert len(watch.look(10)) == 1
    assert watch.look(10) == []
    assert watch.letters[0][1].ids == watch.letters[1][1].ids  # the receiver can tell


def test_only_the_kinds_that_were_asked_for(scene):
    scene.live()
    scene.novel(scene.volumes[3])
    assert Watch(scene, kinds=[]).look() == []


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None), min_size=1))
def test_a_message_is_one_harmless_argument(subject, message):
    text = told([Alarm("novelty", subject, message), Alarm("quality", "x", "y")])
    assert text.isprintable()
    assert text.startswith("alscope: novelty: ")
    assert len(text) <= 1000
    hostile = told([Alarm("novelty", "x", "{kind} {message} $(reboot) `reboot` ; -rf")])
    assert filled(["say", "--to={kind}", "{message}"], {"message": hostile, "kind": "novelty"}) == [
        "say",
        "--to=novelty",
        hostile,
    ]


def test_the_payload_says_all_of_it():
    found = payload([(7, Alarm("disk", "workspace", "little room"), 1.5)], "/ws", "scope1")
    assert found["text"] == "alscope: disk: little room"
    expected = {"id": 7, "kind": "disk", "subject": "workspace", "message": "little room", "raised_at": 1.5}
    assert found["alarms"] == [expected]


@given(st.lists(st.tuples(st.floats(0, 200), st.booleans()), max_size=40))
def test_patience_lets_through_what_was_true_all_the_time(steps):
    patience, now, since = Patience(), 0.0, None
    alarm = Alarm("watcher", "events", "blind", True)
    for wait, true in steps:
        now += wait
        since = (now if since is None else since) if true else None
        expected = true and since is not None and now - since >= HOLD_S["watcher"]
        assert bool(patience.held([alarm] if true else [], now)) == expected


def test_many_volumes_do_not_slow_the_pulse(scene):
    """Only the first look after a start reads all of the last day."""
    scene.live()
    with scene.store.transaction():
        for number in range(500):
            volume = scene.volume(f"many_{number}.tif")
            scene.store.volumes.set_quality(volume, {"warnings": []})
    watch = Watch(scene)
    watch.look()
    began = time.perf_counter()
    for _ in range(10):
        watch.look(10)
    assert (time.perf_counter() - began) / 10 < 0.05
