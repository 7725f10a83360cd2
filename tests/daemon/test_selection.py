"""What is decided about encoders, traits, suggestions, novelty and the control arm, with the science replaced by a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daemon import commands
from daemon.config import from_mapping
from daemon.executors.port import Finished, Order
from daemon.planning.selection import PATIENCE_S
from daemon.policy import FAR, LEAST_KNOWN, NOVELTY_FLOOR, encoder_kind, encoder_params, novelty_alarm
from tests.daemon.play import Stage, answer_all, events
from tests.daemon.scripted import results

Change = Callable[[Order, dict[str, Any]], Any]
REFUSED = "the encoder failed its self-test and must not select: self-retrieval 0.41, at least 0.95"


@pytest.fixture
def play(tmp_path) -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(change: Change | None = None, **options: Any) -> Stage:
        def script(order: Order) -> Any:
            said = results(order)
            return said if change is None else change(order, said)

        made.append(Stage(tmp_path, script, **({"selection": {"queue_depth": 4}} | options)))
        return made[-1]

    yield make
    for stage in made:
        stage.store.close()


def encoders(stage: Stage) -> list[tuple[str, str]]:
    return [(e.kind, e.state) for e in stage.shot().encoders]


def refuse(*kinds: str) -> Change:
    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "encoder" and order.params["kind"] in kinds:
            detail = {"selftest": {"self_retrieval": 0.41}}
            return Finished(order.job_id, order.fence, "failed", REFUSED, "encoder_rejected", detail)
        return said

    return change


def hold(*stages: str) -> Change:
    """These never end; of the encoders only the one that is trained."""

    def change(order: Order, said: dict[str, Any]) -> Any:
        return None if order.stage in stages and order.params.get("kind") != "descriptor" else said

    return change


# encoders


def test_suggestions_come_while_an_autoencoder_is_still_trained(play):
    stage = play(hold("encoder", "pretrain"))
    stage.drop("a.tif", b"one")
    stage.run()
    assert [q.ready for q in stage.shot().queue] == [True] * 4
    assert encoders(stage) == [("descriptor", "current")]
    (training,) = [j for j in stage.store.jobs.running() if j.stage == "encoder"]
    assert training.params["kind"] == "mae"


def test_the_descriptor_does_not_wait_behind_a_training_nor_in_a_process_of_its_own(play):
    stage = play(hold("pretrain"), encoder={"min_patches": 8})
    stage.drop("a.tif", b"one")
    stage.run()
    stage.executor.slots[True] = 0  # the lane of long jobs is taken by the pre-training
    stage.drop("b.tif", b"two")
    for _ in range(12):
        stage.turn()
    assert encoders(stage) == [("descriptor", "current")]
    (order,) = [o for o in stage.executor.orders if o.stage == "encoder"]
    assert (order.params["kind"], order.long, order.isolated) == ("descriptor", False, False)
    assert set(order.params) == {"kind", "image_px", "max_slices", "pooling", "seed", "read"}


def test_the_autoencoder_takes_over_when_everything_is_embedded_and_open_suggestions_stay(play):
    slow = {"on": True}

    def change(order: Order, said: dict[str, Any]) -> Any:
        trained = order.stage == "encoder" and order.params["kind"] == "mae"
        return None if trained and slow["on"] else said

    stage = play(change)
    for n in range(3):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    before = [(q.id, q.reason) for q in stage.shot().queue]
    assert len(before) == 4
    slow["on"] = False
    stage.restart()
    counts = []
    for _ in range(12):
        stage.turn()
        in_use = stage.store.encoders.in_use()
        coming = in_use.get("embedding")
        spec = stage.engine.planning.planner.embedding_spec(coming) if coming else ""
        counts.append((in_use["current"].kind, stage.store.jobs.n_done("embedding", spec)))
    assert {n for kind, n in counts if kind == "descriptor"} <= {0, 1, 2, 3}
    assert encoders(stage) == [("descriptor", "retired"), ("mae", "current")]
    assert [(q.id, q.reason) for q in stage.shot().queue] == before
    stage.run()
    answer_all(stage)
    stage.run()
    looked_again, order = [o for o in stage.executor.orders if o.stage == "suggestions"][:2]
    assert (
        sum(len(rows) for rows in looked_again.params["waiting"].values()) == 4
    )  # beside the new encoder's, and they stayed
    assert not order.params["waiting"]
    by_encoder = {stage.store.jobs.by_key(i.key).inputs["encoder"][0].key for i in order.inputs["embedding"]}
    assert by_encoder == {stage.store.encoders.in_use()["current"].artifact}
    assert sum(len(rows) for rows in order.params["covered"].values()) == 4  # the same patches, by their new embeddings
    assert sum(len(rows) for rows in order.params["labelled"].values()) == 4
    assert order.params["n_before"] == 4


def test_a_refused_encoder_leaves_the_descriptor_in_place_and_says_why(play):
    """On a pool that never changes there were no suggestions at all before."""
    stage = play(refuse("mae"))
    stage.drop("a.tif", b"one")
    stage.run()
    shot = stage.shot()
    assert encoders(stage) == [("descriptor", "current"), ("mae", "rejected")]
    assert len(shot.queue) == 4
    refused = shot.encoders[1]
    assert (refused.reason, refused.result) == (REFUSED, {"selftest": {"self_retrieval": 0.41}})
    (problem,) = [p for p in shot.problems if p.kind != "daemon"]
    assert problem.kind == "encoder"
    assert "self-retrieval 0.41" in problem.message
    assert "E-001 (descriptor) goes on selecting" in problem.message
    assert [s for s in stage.stages() if s == "encoder"] == ["encoder"] * 2


def test_after_a_refusal_it_is_tried_again_when_the_pool_has_doubled_and_not_before(play):
    stage = play(refuse("mae"), selection={"queue_depth": 1})
    tries = lambda: [o.subject for o in jobs(stage, "encoder") if o.params["kind"] == "mae"]  # noqa: E731
    stage.drop("a.tif", b"one")
    stage.drop("b.tif", b"two")
    stage.run()
    assert tries() == ["pool:8"]
    stage.drop("c.tif", b"three")
    stage.run()
    assert tries() == ["pool:8"]
    stage.executor.script = results
    stage.drop("d.tif", b"four")
    stage.run()
    assert tries() == ["pool:8", "pool:16"]
    assert encoders(stage)[-1] == ("mae", "current")
    assert not [p for p in stage.shot().problems if p.kind == "encoder"]  # the newer one passed


def test_another_way_of_training_is_tried_on_the_same_pool(play):
    stage = play(refuse("mae"))
    stage.drop("a.tif", b"one")
    stage.run()
    stage.store.close()
    other = play(encoder={"mask_ratio": 0.5})
    other.run()
    assert encoders(other) == [("descriptor", "retired"), ("mae", "rejected"), ("mae", "current")]


def test_if_every_encoder_is_refused_that_is_said_and_nothing_is_suggested(play):
    stage = play(refuse("mae", "descriptor"))
    stage.drop("a.tif", b"one")
    stage.run()
    told = [p.message for p in stage.shot().problems if p.kind == "encoder"]
    assert len(told) == 2
    assert all("nothing selects yet" in message for message in told)
    assert not stage.shot().queue


def test_an_encoder_with_which_most_volumes_cannot_be_embedded_is_not_switched_to(play):
    def change(order: Order, said: dict[str, Any]) -> Any:
        first = order.stage == "embedding" and stage.store.encoders.in_use()["embedding"].kind == "mae"
        if first and order.inputs["encoder"][0].key == stage.store.encoders.in_use()["embedding"].artifact:
            return Finished(order.job_id, order.fence, "failed", "NaN in its vectors", "defect")
        return said

    stage = play(change)
    stage.drop("a.tif", b"one")
    stage.run()
    assert encoders(stage) == [("descriptor", "current"), ("mae", "rejected")]
    assert "1 of 1 volumes could not be embedded with it" in stage.shot().encoders[1].reason
    assert len(stage.shot().queue) == 4


def test_with_size_descriptor_no_autoencoder_is_trained_and_the_descriptor_is_measured_anew_when_the_pool_has_doubled(
    play,
):
    stage = play(encoder={"size": "descriptor"})
    stage.drop("a.tif", b"one")
    stage.run()
    stage.drop("b.tif", b"two")
    stage.run()
    assert encoders(stage) == [("descriptor", "retired"), ("descriptor", "current")]


def test_a_change_of_mind_about_the_kind_of_encoder_is_obeyed_without_training_again(play):
    stage = play()
    stage.drop("a.tif", b"one")
    stage.run()
    stage.store.close()
    only = play(encoder={"size": "descriptor"})
    only.run()
    assert encoders(only) == [("descriptor", "current"), ("mae", "retired")]
    only.store.close()
    again = play()
    again.run()
    assert encoders(again) == [("descriptor", "retired"), ("mae", "current")]
    assert "encoder" not in again.stages() + only.stages()


def test_an_autoencoder_is_trained_on_a_gpu_or_where_its_size_is_named(tmp_path):
    watch = {"watch": [{"folder": "in"}]}
    for size, kinds in {
        "auto": ("descriptor", "mae"),
        "micro": ("mae", "mae"),
        "descriptor": ("descriptor",) * 2,
    }.items():
        encoder = from_mapping(watch | {"encoder": {"size": size}}, tmp_path / "config.toml").encoder
        assert (encoder_kind(encoder, "cpu"), encoder_kind(encoder, "cuda")) == kinds, size


def test_on_a_cpu_the_descriptor_goes_on_serving(play):
    stage = play(encoder={"size": "auto"})
    for number in range(4):
        stage.drop(f"{number}.tif", b"volume %d" % number)
    stage.run()
    assert [kind for kind, _ in encoders(stage)] == ["descriptor"] * len(encoders(stage))
    assert encoders(stage)[-1] == ("descriptor", "current")
    assert all(o.params["kind"] == "descriptor" for o in stage.executor.orders if o.stage == "encoder")


def test_encoder_params_of_both_kinds(tmp_path):
    watch = {"watch": [{"folder": "in"}]}
    more = {"size": "small", "pooling": "mean_std", "pretrained": "vit_small_patch16_224.dino", "accumulate": 4}
    encoder = from_mapping(watch | {"encoder": more}, tmp_path / "config.toml").encoder
    params = encoder_params(encoder, "mae", "cpu", 3)
    assert {name: params[name] for name in more} == more
    assert (params["kind"], params["seed"]) == ("mae", 3)
    assert encoder_params(encoder, "descriptor", "cuda", 3) == {
        "kind": "descriptor",
        "image_px": 64,
        "max_slices": 1024,
        "pooling": "mean_std",
        "seed": 3,
    }


# traits


def test_traits_follow_pseudo_labels_and_suggestions_wait_for_both(play):
    stage = play()
    stage.drop("a.tif", b"one")
    stage.run()
    stages = stage.stages()
    assert stages.index("pseudo") < stages.index("traits") < stages.index("suggestions")
    (order,) = [o for o in stage.executor.orders if o.stage == "suggestions"]
    (embedding,), (traits,), (volume,) = (order.inputs[name] for name in ("embedding", "traits", "volume"))
    assert order.params["traits_of"] == {embedding.key: 0}
    assert stage.store.jobs.by_key(traits.key).stage == "traits"
    assert stage.store.jobs.by_key(volume.key).stage == "volume"


def test_where_pseudo_labelling_failed_there_are_traits_without_and_again_when_it_works(play):
    works = {"on": False}

    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "pseudo" and not works["on"]:
            return Finished(order.job_id, order.fence, "failed", "no such backend", "permanent")
        return said

    stage = play(change)
    stage.drop("a.tif", b"one")
    stage.run()
    assert [bool(o.inputs["pseudo"]) for o in stage.executor.orders if o.stage == "traits"] == [False]
    assert len(stage.shot().queue) == 4
    works["on"] = True
    (failed,) = jobs(stage, "pseudo")
    stage.store.jobs.retry(failed.id, stage.now)
    stage.run()
    assert [bool(o.inputs["pseudo"]) for o in stage.executor.orders if o.stage == "traits"] == [False, True]


def test_slow_pseudo_labels_hold_suggestions_up_for_two_minutes_and_no_longer(play):
    stage = play(hold("pseudo"))
    stage.drop("a.tif", b"one")
    for _ in range(20):
        stage.turn()
    assert "suggestions" not in stage.stages()
    stage.now += PATIENCE_S + 1
    stage.turn()
    (order,) = [o for o in stage.executor.orders if o.stage == "suggestions"]
    assert (order.inputs["traits"], order.params["traits_of"]) == ([], {})


def test_predictions_of_the_promoted_model_reach_the_selection(play):
    stage = play(training={"every": 2})
    for n in range(3):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    for _ in range(2):
        answer_all(stage)
        stage.run()
    orders = [o for o in stage.executor.orders if o.stage == "suggestions"]
    assert orders[0].params["n_gated"] == 0
    assert orders[0].inputs["prediction"] == []
    last = orders[-1]
    assert last.params["n_gated"] > 0
    used = {key: last.inputs["prediction"][i].key for key, i in last.params["prediction_of"].items()}
    assert used
    for embedding, prediction in used.items():
        by_key = stage.store.jobs.by_key
        assert by_key(embedding).volume_id == by_key(prediction).volume_id


# the queue


def test_the_share_of_the_control_arm_holds_over_time(play):
    stage = play(selection={"queue_depth": 6, "control_share": 0.25})
    for n in range(8):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    shown = []
    while answer_all(stage):
        sql = "SELECT arm FROM suggestion ORDER BY rank"
        arms = [r["arm"] for r in stage.store.state._db.query(sql)]
        shown.append(abs(arms.count("control") - 0.25 * len(arms)))
        stage.run()
    assert len(arms) == 32
    assert arms.count("control") == 8
    assert max(shown) < 1


def test_what_looks_broken_is_not_queued_and_a_person_can_say_that_it_is_fine(play):
    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "suggestions":
            first = order.inputs["embedding"][0].key
            covered = order.params["covered"].get(first, [])
            bad = [row for row in (0, 1) if row not in covered]
            said["suggestions"] = [
                s for s in said["suggestions"] if (s["embedding"], s["row"]) not in ((first, 0), (first, 1))
            ]
            said["qc"] = [{"embedding": first, "row": row, "reason": f"blank {row}", "score": 2.0} for row in bad]
        return said

    stage = play(change)
    stage.drop("a.tif", b"one")
    stage.run()
    shot = stage.shot()
    assert [q.start[2] for q in shot.queue] == [32, 48]
    assert shot.patches["held_back"] == 2
    assert any("2 patches held back" in message for message in events(stage))
    answers = {}
    for name in ("q00001", "q00001", "q99999", "s00001", "q", "q" + "9" * 40, "q²"):
        asked = commands.ask(stage.workspace, "qc-ok", {"id": name})
        stage.run()
        answers.setdefault(name, []).append(stage.store.state.command_outcome(asked))
    assert answers["q00001"][0] == (True, "q00001 is suggested as s00003")
    assert [ok for name, said in answers.items() for ok, _ in said] == [True] + [False] * 6
    shot = stage.shot()
    assert [(q.id, q.arm, q.start[2]) for q in shot.queue if q.arm == "asked"] == [("s00003", "asked", 0)]
    assert "it was held back: blank 0" in shot.queue[-1].reason
    assert shot.patches["held_back"] == 1
    assert all(q.ready for q in shot.queue)


def test_the_folder_of_a_suggestion_shows_the_labelled_patches_most_like_it(play):
    stage = play()
    for n in range(3):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    answer_all(stage)
    stage.run()
    later = [o for o in stage.executor.orders if o.stage == "package"][4:]
    assert later
    for order in later:
        assert [n["suggestion"] for n in order.params["neighbours"]] == ["s00001", "s00002", "s00003"]
        packages = [stage.store.annotation.suggestion(n["suggestion"]).package for n in order.params["neighbours"]]
        assert [i.key for i in order.inputs["neighbour"]] == packages


# novelty and control


def test_how_new_a_volume_was_is_recorded_for_many_at_once_and_an_unusual_one_is_told(play):
    far = {"key": ""}

    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "novelty":
            for number, key in enumerate(order.params["new"]):
                said["novelty"][key] = dict(said["novelty"][key], median=0.1 + 0.001 * number, max=0.95)
            if order.inputs["embedding"][-1].key in order.params["new"] and len(order.inputs["embedding"]) == 10:
                far["key"] = order.params["new"][-1]
                said["novelty"][far["key"]]["median"] = 0.9
        return said

    stage = play(change, encoder={"size": "descriptor", "retrain_growth": 100.0})
    for n in range(9):
        stage.drop(f"v{n:02d}.tif", b"volume %d" % n)
    stage.run()
    orders = [o for o in stage.executor.orders if o.stage == "novelty"]
    assert sum(len(o.params["new"]) for o in orders) == 9
    assert len(orders) <= 3
    stage.drop("zz\x1b[31m.tif", b"another specimen")
    stage.run()
    shot = stage.shot()
    (problem,) = [p for p in shot.problems if p.kind == "novelty"]
    assert problem.subject.startswith("zz")
    assert "half of its patches lie farther than 0.90" in problem.message
    assert sum("unlike everything before it" in message for message in events(stage)) == 1
    volume = stage.store.jobs.by_key(far["key"]).volume_id
    labelled = [s for s in stage.store.labels.current() if s.volume_id == volume]
    assert not labelled
    while answer_all(stage):
        stage.run()
    assert not [p for p in stage.shot().problems if p.kind == "novelty"]  # one of its patches is labelled


def test_after_a_switch_novelty_is_measured_in_portions_each_beside_what_came_before_it(play, monkeypatch):
    monkeypatch.setattr("daemon.planning.pool.NEW_AT_ONCE", 2)
    stage = play(encoder={"size": "descriptor"})
    for n in range(5):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    by_key = stage.store.jobs.by_key
    seen: list[int] = []
    (current,) = stage.store.encoders.in_use().values()
    for order in [o for o in stage.executor.orders if o.stage == "novelty"]:
        if by_key(order.inputs["embedding"][0].key).inputs["encoder"][0].key != current.artifact:
            continue
        new = [by_key(key).volume_id for key in order.params["new"]]
        assert 1 <= len(new) <= 2
        seen += new
        assert sorted(by_key(i.key).volume_id for i in order.inputs["embedding"]) == sorted(seen)
    assert seen == sorted(seen)
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("median", "usual", "alarm"),
    [
        (None, [0.1] * 20, False),
        (0.9, [0.1] * (LEAST_KNOWN - 1), False),
        (0.1 + FAR * NOVELTY_FLOOR - 1e-6, [0.1] * LEAST_KNOWN, False),
        (0.1 + FAR * NOVELTY_FLOOR + 1e-6, [0.1] * LEAST_KNOWN, True),
        (0.5, [0.1, 0.2, 0.3, 0.4] * 5, False),  # a pool of many kinds: nothing is unusual
        (0.0, [0.5] * 20, False),  # known already is no alarm
    ],
)
def test_a_volume_is_unusual_beyond_five_robust_deviations(median, usual, alarm):
    assert bool(novelty_alarm(median, usual)) is alarm


def test_after_every_round_the_arms_are_compared_once(play):
    found = {"selected": 0.6, "control": 0.5, "difference": 0.1, "low": 0.02, "high": 0.2, "words": "Selection helps."}

    def change(order: Order, said: dict[str, Any]) -> Any:
        return said | found if order.stage == "control" else said

    stage = play(change, training={"every": 3}, selection={"queue_depth": 6, "control_share": 0.5})
    for n in range(4):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    answer_all(stage)
    stage.run()
    (order,) = [o for o in stage.executor.orders if o.stage == "control"]
    arms = {name: order.params[name] for name in ("selected", "control", "gate")}
    assert sorted(i for rows in arms.values() for i in rows) == list(range(len(order.inputs["label"])))
    sql = "SELECT l.artifact, l.role, s.arm FROM label l JOIN suggestion s ON s.patch_id = l.patch_id"
    truth = {r["artifact"]: "gate" if r["role"] == "gate" else r["arm"] for r in stage.store.state._db.query(sql)}
    assert {order.inputs["label"][i].key: name for name, rows in arms.items() for i in rows} == truth
    assert (stage.shot().control.round, stage.shot().control.difference) == (1, 0.1)
    assert any("after round 1: Selection helps." in message for message in events(stage))
    answer_all(stage)
    stage.run()
    assert [o.params["seed"] for o in stage.executor.orders if o.stage == "control"] == [1, 2]


def test_without_a_control_arm_nothing_is_compared(play):
    stage = play(training={"every": 2}, selection={"queue_depth": 4, "control_share": 0.0})
    stage.drop("a.tif", b"one")
    stage.run()
    answer_all(stage)
    stage.run()
    assert "control" not in stage.stages()
    assert stage.shot().control is None


# what is kept


def test_jobs_on_the_whole_pool_leave_little_behind(play):
    stage = play()
    for n in range(3):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    for name in ("encoder", "suggestions", "novelty"):
        found = jobs(stage, name)
        assert found
        for job in found:
            assert job.state == "done"
            assert job.inputs == {}
            assert any(key.startswith("inputs.") for key in job.params["forgotten"])
    assert stage.shot().volumes["indexed"] == 3
    assert json.dumps(stage.shot().to_json())


def test_a_job_that_waits_for_a_file_that_is_gone_is_no_problem_for_ever(play):
    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "pseudo":
            return Finished(order.job_id, order.fence, "failed", "a.tif: is not there now", "source_missing")
        return said

    stage = play(change)
    stage.drop("a.tif", b"one")
    for _ in range(6):
        stage.turn()
    retry = lambda: [p for p in stage.shot().problems if p.kind == "retry"]  # noqa: E731
    assert len(retry()) == 1  # it may be there again in a moment
    stage.store.sources.set_gone(bytes(stage.folder / "a.tif"), True)
    stage.turn()
    assert retry() == []


def jobs(stage: Stage, name: str) -> list[Any]:
    ids = [r["id"] for r in stage.store.jobs._db.query("SELECT id FROM job WHERE stage = ? ORDER BY id", [name])]
    return [stage.store.jobs.get(i) for i in ids]
