"""Which encoder selects: the descriptor first, the autoencoder when it is better known, and none that was refused."""

from __future__ import annotations

from typing import Any

from daemon.config import from_mapping
from daemon.executors.port import Finished, Order
from daemon.policy import encoder_kind, encoder_params
from tests.daemon.play import answer_all
from tests.daemon.scripted import results
from tests.daemon.selection_play import REFUSED, encoders, hold, jobs, refuse
from tests.pages import rows_of


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
    by_encoder = {stage.store.jobs.by_key(row["embedding"]).inputs["encoder"][0].key for row in rows_of(order)}
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


def test_files_that_are_gone_do_not_make_a_pool_that_has_doubled(play):
    """Else every arrival would train an encoder anew, once most of what ever came lies on tapes."""
    stage = play(selection={"queue_depth": 1})
    tries = lambda: [o.subject for o in jobs(stage, "encoder") if o.params["kind"] == "mae"]  # noqa: E731
    stage.drop("a.tif", b"a")
    stage.drop("b.tif", b"b")
    stage.run()
    assert tries() == ["pool:8"]
    stage.store.sources.set_gone(bytes(stage.folder / "a.tif"), True)
    for name in "cd":
        stage.drop(f"{name}.tif", name.encode())
        stage.run()
    assert tries() == ["pool:8"]  # sixteen patches came, twelve can be read
    stage.drop("e.tif", b"e")
    stage.run()
    assert tries() == ["pool:8", "pool:16"]


def test_another_way_of_training_is_tried_on_the_same_pool(play):
    stage = play(refuse("mae"))
    stage.drop("a.tif", b"one")
    stage.run()
    stage.store.close()
    other = play(encoder={"mask_ratio": 0.5})
    other.run()
    assert encoders(other) == [("descriptor", "retired"), ("mae", "rejected"), ("mae", "current")]


def test_changed_settings_make_an_encoder_anew_on_the_same_pool_and_taken_back_they_train_nothing(play):
    stage = play()
    stage.drop("a.tif", b"one")
    stage.run()
    first = stage.store.encoders.in_use()["current"]
    stage.store.close()
    other = play(encoder={"mask_ratio": 0.5})
    other.run()
    assert encoders(other) == [("descriptor", "retired"), ("mae", "retired"), ("mae", "current")]
    (trained,) = [o for o in other.executor.orders if o.stage == "encoder"]
    assert trained.params["mask_ratio"] == 0.5
    other.store.close()
    again = play()
    again.run()
    assert encoders(again) == [("descriptor", "retired"), ("mae", "current"), ("mae", "retired")]
    assert again.store.encoders.in_use()["current"] == first
    assert "encoder" not in again.stages()


def test_a_descriptor_of_other_settings_takes_over_from_the_one_before(play):
    stage = play(encoder={"size": "auto"})
    stage.drop("a.tif", b"one")
    stage.run()
    stage.store.close()
    other = play(encoder={"size": "auto", "pooling": "mean_std"})
    other.run()
    assert encoders(other) == [("descriptor", "retired"), ("descriptor", "current")]
    (measured,) = [o for o in other.executor.orders if o.stage == "encoder"]
    assert measured.params["pooling"] == "mean_std"


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
