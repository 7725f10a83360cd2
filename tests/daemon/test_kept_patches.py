"""Labels outlive the files they were drawn on: what people were shown repels for ever, whichever encoder selects."""

from __future__ import annotations

from alcore.artifact import read_manifest
from daemon.executors.port import Order
from tests.daemon.play import Stage, answer_all, events
from tests.daemon.selection_play import Change, hold, jobs, orders
from tests.pages import rows_of


def gone(stage: Stage, name: str, is_gone: bool = True) -> None:
    stage.store.sources.set_gone(bytes(stage.folder / name), is_gone)


def patches(stage: Stage, rows: dict[str, list[int]]) -> set[tuple[str, int]]:
    """{(name of the volume, patch)} of rows by embedding key."""
    found = set()
    for key, numbers in rows.items():
        job = stage.store.jobs.by_key(key)
        volume = job.volume_id or int(job.subject.removeprefix("kept:"))
        found |= {(stage.store.volumes.name(volume), row) for row in numbers}
    return found


def last(stage: Stage, name: str) -> Order:
    return orders(stage, name)[-1]


def holding(held: set[str]) -> Change:
    """Stages in `held` never end; of the encoders only the one that is trained."""
    return lambda order, said: hold(*held)(order, said)


def test_labels_of_a_file_that_is_gone_repel_after_a_switch_of_encoders(play):
    held = {"encoder", "pretrain"}
    stage = play(holding(held))
    stage.drop("a.tif", b"one")
    stage.run()
    answer_all(stage)
    stage.run()
    gone(stage, "a.tif")
    stage.drop("b.tif", b"two")
    held.clear()
    stage.restart()
    stage.run()
    (current,) = stage.store.encoders.in_use().values()
    assert current.kind == "mae"
    kept = last(stage, "kept_embedding")
    assert kept.params["rows"] == [0, 1, 2, 3]
    assert {i.key.split("-")[0] for i in kept.inputs["image"]} == {"package"}
    assert kept.inputs["encoder"][0].key == current.artifact
    order = last(stage, "suggestions")
    assert {
        read_manifest(stage.workspace.artifacts.path(row["embedding"])).inputs["encoder"][0] for row in rows_of(order)
    } == {current.artifact}
    assert patches(stage, order.params["labelled"]) == {("a.tif", row) for row in range(4)}
    assert patches(stage, order.params["labelled"]) <= patches(stage, order.params["covered"])
    assert patches(stage, order.params["only"]) == {("a.tif", row) for row in range(4)}
    known = [o for o in orders(stage, "novelty") if kept.key in {row["embedding"] for row in rows_of(o)}]
    assert known and all(kept.key not in o.params["new"] for o in known)


def test_the_switch_waits_for_what_was_kept(play):
    held = {"encoder", "pretrain"}
    stage = play(holding(held))
    stage.drop("a.tif", b"one")
    stage.run()
    answer_all(stage)
    stage.run()
    gone(stage, "a.tif")
    stage.drop("b.tif", b"two")
    held.clear()
    held.add("kept_embedding")
    stage.restart()
    for _ in range(12):
        stage.turn()
    in_use = stage.store.encoders.in_use()
    assert {state: e.kind for state, e in in_use.items()} == {"current": "descriptor", "embedding": "mae"}
    held.clear()
    stage.restart()
    stage.run()
    assert [e.kind for e in stage.store.encoders.in_use().values()] == ["mae"]


def test_a_file_that_comes_back_is_embedded_as_a_whole_and_chosen_from_again(play):
    held = {"encoder", "pretrain"}
    stage = play(holding(held), selection={"queue_depth": 1})
    stage.drop("a.tif", b"one")
    stage.drop("b.tif", b"two")
    stage.run()
    (first,) = stage.shot().queue
    answer_all(stage)
    stage.run()
    gone(stage, first.volume)
    held.clear()
    stage.restart()
    stage.run()
    before = last(stage, "suggestions")
    assert patches(stage, before.params["only"]) == {(first.volume, 0), (first.volume, 1)}
    gone(stage, first.volume, False)
    answer_all(stage)
    stage.run()
    after = last(stage, "suggestions")
    assert after.params["only"] == {}
    assert [stage.store.jobs.by_key(row["embedding"]).stage for row in rows_of(after)] == ["embedding"] * 2
    assert patches(stage, after.params["covered"]) == {(first.volume, 0), (first.volume, 1)}
    assert len(jobs(stage, "kept_embedding")) == 1


def test_nothing_new_is_asked_of_a_file_that_is_gone(play):
    """There were suggestions that could never be opened: their folder waited for the file, and the queue for them."""
    stage = play(selection={"queue_depth": 2}, encoder={"size": "descriptor"})
    stage.drop("a.tif", b"one")
    stage.run()
    assert len(stage.shot().queue) == 2
    gone(stage, "a.tif")
    answer_all(stage)
    stage.run()
    assert stage.shot().queue == ()
    stage.drop("b.tif", b"two")
    stage.run()
    assert {q.volume for q in stage.shot().queue} == {"b.tif"}
    order = last(stage, "suggestions")
    assert patches(stage, order.params["only"]) == {("a.tif", row) for row in (0, 1)}


def test_a_suggestion_that_can_never_be_opened_makes_room_for_another(play):
    """Its file went before its folder was made: it was "being prepared" for ever."""
    held = {"package"}
    stage = play(
        holding(held), selection={"queue_depth": 1}, encoder={"size": "descriptor"}, training={"pretrain": False}
    )
    stage.drop("a.tif", b"one")
    stage.drop("b.tif", b"two")
    for _ in range(8):
        stage.turn()
    (asked,) = stage.shot().queue
    assert not asked.ready
    gone(stage, asked.volume)
    held.clear()
    stage.restart()
    stage.run()
    (instead,) = stage.shot().queue
    assert instead.ready and instead.volume != asked.volume
    assert any(f"{asked.id} is taken out of the queue: its file cannot be read now" in told for told in events(stage))
    gone(stage, asked.volume, False)
    shown = set()
    for _ in range(8):
        shown |= {q.volume for q in stage.shot().queue}
        answer_all(stage)
        stage.run()
    assert asked.volume in shown  # it may be asked about again


def test_what_nothing_was_kept_of_does_not_keep_an_encoder_from_serving(play):
    """The folder of a suggestion was not made yet when the file went."""
    held = {"encoder", "package", "pretrain"}
    stage = play(holding(held), selection={"queue_depth": 1})
    stage.drop("a.tif", b"one")
    stage.drop("b.tif", b"two")
    for _ in range(12):
        stage.turn()
    (asked,) = stage.shot().queue
    gone(stage, asked.volume)
    held.discard("encoder")
    stage.restart()
    for _ in range(12):
        stage.turn()
    assert [e.kind for e in stage.store.encoders.in_use().values()] == ["mae"]
    assert "kept_embedding" not in stage.stages()
