"""A share of the labelled patches is put before a second person who is not told: how well people agree, and what never trains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.arrays.matching import score
from alcore.arrays.synthetic import em_volume
from daemon import commands
from daemon.errors import UsageError
from daemon.executors.port import Finished
from daemon.look import reading
from daemon.store.listing import received
from tests.daemon.daemons import real_daemon
from tests.daemon.play import Stage
from tests.daemon.scripted import results
from tests.daemon.test_selection_for_real import CONFIG


@pytest.fixture
def stage(tmp_path) -> Iterator[Stage]:
    """Four suggestions, half of the labelled patches to be asked about again. A label that contains b"bad" is rejected."""

    def script(order: Any) -> Any:
        if order.stage == "label" and b"bad" in order.inputs["file"][0].path.read_bytes():
            return Finished(order.job_id, order.fence, "failed", "it is bad", "bad_label")
        return results(order)

    options = {"selection": {"queue_depth": 4}, "training": {"every": 99}, "annotation": {"repeat_share": 0.5}}
    made = Stage(tmp_path, script, **options)
    for n in range(3):
        made.drop(f"v{n}.tif", b"volume %d" % n)
    made.run()
    yield made
    made.store.close()


def answer(stage: Stage, name: str, user: str, content: bytes = b"label") -> None:
    commands.leave_label_note(stage.workspace, name, {"user": user} if user else {})
    stage.label(name, content + user.encode())
    stage.run()


def repeats(stage: Stage) -> dict[str, str]:
    """Suggestion of the repeat -> suggestion that it repeats."""
    sql = "SELECT id, repeat_of FROM suggestion WHERE repeat_of IS NOT NULL ORDER BY id"
    return {r["id"]: r["repeat_of"] for r in stage.store.repeats._db.query(sql)}


def test_a_second_person_is_asked_blindly_and_only_they_can_have_it(stage):
    answer(stage, "s00001", "ana")
    answer(stage, "s00002", "ana")
    assert repeats(stage) == {}  # there is nobody else
    answer(stage, "s00003", "ben")
    assert len(repeats(stage)) == 1  # half of three
    answer(stage, "s00004", "ben")
    asked = repeats(stage)
    assert len(asked) == 2
    drew = {"s00001": "ana", "s00002": "ana", "s00003": "ben", "s00004": "ben"}
    shown = {q.id: q for q in stage.shot().queue}
    for again, first in asked.items():
        before = stage.store.annotation.suggestion(first)
        assert (shown[again].state, shown[again].ready, shown[again].reason) == ("open", True, before.reason)
        page = (stage.workspace.queue / again / "suggestion.json").read_bytes()
        assert page != (stage.workspace.artifacts.path(before.package) / "suggestion.json").read_bytes()
        claims, other = stage.store.claims, {"ana": "ben", "ben": "ana"}[drew[first]]
        assert claims.drew_before(again, drew[first]) and not claims.drew_before(again, other)
        assert drew[asked[claims.next_for(other, lambda s: s not in asked)]] != other
    assert (
        stage.store.annotation.n_waiting_for_expert() == len(shown) - 2
    )  # the queue is filled as if they were not there


def test_its_label_is_compared_kept_and_never_trains(stage):
    for name, user in (("s00001", "ana"), ("s00002", "ben")):
        answer(stage, name, user)
    ((again, first),) = repeats(stage).items()
    other = "ben" if first == "s00001" else "ana"
    before = [(x.id, x.artifact) for x in stage.store.labels.current()]
    answer(stage, again, other, b"bad label ")
    assert stage.store.annotation.suggestion(again).state == "rejected"
    answer(stage, again, other, b"good label ")
    assert stage.store.annotation.suggestion(again).state == "accepted"
    assert [(x.id, x.artifact) for x in stage.store.labels.current()] == before
    people = stage.shot().work.agreement
    assert (people.n, people.people, people.asked) == (1, 2, 1)
    assert (people.f1, people.dice) == (pytest.approx(6 / 10), pytest.approx(120 / 180))
    assert "F1 0.600, Dice 0.667 (1 patch, 2 people): the human ceiling" in people.words()
    with reading(stage.workspace.root) as db:
        rows = [(r.suggestion, r.role, r.current) for r in received(db) if r.suggestion == again]
    assert rows == [(again, "repeat", True), (again, None, False)]
    published = (stage.workspace.labels / f"{again}.tif").read_bytes()
    assert published != (stage.workspace.labels / f"{first}.tif").read_bytes()
    with pytest.raises(UsageError, match="compare two people"):
        stage.store.labels.withdraw(stage.store.annotation.suggestion(again), stage.now)
    answer(stage, again, other, b"a better one ")
    agreements = [o for o in stage.executor.orders if o.stage == "agreement"]
    assert len({o.inputs["second"][0].key for o in agreements}) == 2
    answer(stage, first, "cleo", b"a third opinion ")  # supersedes the first label: the pair is another one
    assert [o.stage for o in stage.executor.orders].count("agreement") == 3
    assert stage.shot().work.agreement.n == 1
    assert stage.store.selection.arms() == [(x.artifact, x.role, "selected") for x in stage.store.labels.current()]


def test_a_label_by_the_same_person_or_by_nobody_says_nothing_of_agreement(stage):
    for name, user in (("s00001", "ana"), ("s00002", "ben")):
        answer(stage, name, user)
    ((again, first),) = repeats(stage).items()
    answer(stage, again, "ana" if first == "s00001" else "ben")
    assert stage.store.annotation.suggestion(again).state == "accepted"
    answer(stage, again, "")
    assert not [o for o in stage.executor.orders if o.stage == "agreement"]
    assert stage.shot().work.agreement.words() == "1 asked again of a second person, none answered and compared yet"


def test_without_a_share_nobody_is_asked_twice(tmp_path):
    made = Stage(tmp_path, selection={"queue_depth": 4}, training={"every": 99})
    made.drop("a.tif", b"one")
    made.run()
    answer(made, "s00001", "ana")
    answer(made, "s00002", "ben")
    assert repeats(made) == {}
    made.store.close()


@pytest.mark.slow
def test_two_people_with_tools_of_their_own_and_a_real_daemon(tmp_path):
    config = CONFIG.replace('size = "micro"', 'size = "descriptor"') + "[annotation]\nrepeat_share = 1.0\n"
    rng = np.random.default_rng(5)
    with real_daemon(tmp_path, config) as daemon:
        for number in range(2):
            image, _ = em_volume((16, 256, 256), (0.04, 0.02, 0.02), np.random.default_rng(number))
            tifffile.imwrite(daemon.folder / f"stack_{number}.tif", image, metadata={"axes": "ZYX"})
        daemon.start()
        daemon.wait(lambda shot: len(shot.queue) == 4 and all(q.ready for q in shot.queue), 150)

        first = daemon.alscope("queue", "claim", "--user", "ana").stdout.strip()
        second = daemon.alscope("queue", "claim", "--user", "ben").stdout.strip()
        assert (first, second) == ("s00001", "s00002")
        refused = daemon.alscope("queue", "claim", second, "--user", "ana")
        assert (refused.returncode, len(refused.stderr.strip().splitlines())) == (1, 1)
        assert "ben has s00002, for about 10 more min" in refused.stderr
        shown = {q["id"]: q["user"] for q in json.loads(daemon.alscope("queue", "--json").stdout)}
        assert shown == {"s00001": "ana", "s00002": "ben", "s00003": "", "s00004": ""}
        assert "ana, 10 min" in daemon.alscope("queue").stdout
        assert daemon.alscope("queue", "release", second, "--user", "ana").returncode == 1
        assert daemon.alscope("queue", "claim", second, "--user", "ana", "--take-over").returncode == 0

        masks = {}
        for name, user in ((first, "ana"), (second, "ben")):  # ben drew his all the same
            masks[name] = mask = np.zeros((16, 64, 64), np.uint16)
            for i, (y, x) in enumerate([(4, 4), (4, 34), (34, 4)], 1):
                mask[3:12, y : y + 14, x : x + 14] = i
            tifffile.imwrite(tmp_path / f"{name}.tif", mask)
            ended = daemon.alscope("label", "add", str(tmp_path / f"{name}.tif"), "--for", name, "--user", user)
            assert ended.returncode == 0, ended.stderr

        shot = daemon.wait(lambda shot: shot.work.agreement.asked == 2 and all(q.ready for q in shot.queue), 60)
        assert "asked" in shot.work.agreement.words()
        with reading(daemon.workspace) as db:
            asked = {r[1]: r[0] for r in db.execute("SELECT id, repeat_of FROM suggestion WHERE repeat_of IS NOT NULL")}
        again = asked[first]
        own = daemon.alscope("queue", "claim", again, "--user", "ana")
        assert (own.returncode, "kept for somebody else" in own.stderr) == (1, True)
        assert daemon.alscope("queue", "claim", again, "--user", "ben").returncode == 0
        other = np.roll(masks[first], 2, axis=2)
        other[other == 3] = 0
        other[13, rng.integers(0, 9) : 20, 40:60] = 9
        tifffile.imwrite(daemon.workspace / "inbox" / f"{again}.tif", other)  # from any tool: who has it, drew it
        daemon.wait(lambda shot: shot.work.agreement.n == 1, 60)
        people = json.loads(daemon.alscope("queue", "minutes", "--json").stdout)["agreement"]
        true = score(other, masks[first])
        assert (people["n"], people["people"]) == (1, 2)
        assert (people["f1"], people["dice"]) == (pytest.approx(true.f1), pytest.approx(true.dice))
        labels = json.loads(daemon.alscope("label", "list", "--json").stdout)
        assert {(x["suggestion"], x["author"], x["role"] == "repeat") for x in labels} == {
            (first, "ana", False),
            (second, "ben", False),
            (again, "ben", True),
        }
        assert "the human ceiling" in daemon.alscope("status").stdout
        assert daemon.stop() == 0
