"""The demo's actors: no voxel in two volumes, files like an instrument's, answers that are the truth of what was asked."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from alcore.types import Box
from alcore.volumes import check, open_volume
from daemon.demo import conductor, figures
from daemon.demo.expert import Expert
from daemon.demo.microscope import Microscope
from daemon.demo.split import Piece, split, synthetic
from daemon.errors import AlscopeError
from daemon.store.store import Store
from daemon.store.views import RoundView

VOXEL = (0.04, 0.008, 0.008)


def test_pool_and_tests_share_no_voxel_and_keep_their_distance():
    y, x, gap = 300, 400, 40
    places = np.arange(2 * y * x, dtype=np.int64).reshape(2, y, x)
    pool, tests = split(places, places, VOXEL, gap_px=gap)
    assert (len(pool), len(tests)) == (6, 3)
    seen = np.concatenate([p.image.ravel() for p in (*pool, *tests)])
    assert len(np.unique(seen)) == len(seen)
    assert all(np.array_equal(p.image, p.labels) for p in (*pool, *tests))
    assert len({p.name for p in (*pool, *tests)}) == 9
    corners = [(int(p.image[0, 0, 0]) // x, int(p.image[0, 0, 0]) % x) for p in tests]
    assert len({top for top, _ in corners}) == len({left for _, left in corners}) == 3  # one in every row and column
    for test in tests:
        for piece in pool:
            apart = [
                max(other.min() - mine.max(), mine.min() - other.max())
                for mine, other in ((test.image[0] // x, piece.image[0] // x), (test.image[0] % x, piece.image[0] % x))
            ]
            assert max(apart) > gap


def test_an_image_that_is_too_small_or_labels_of_another_shape_are_refused():
    with pytest.raises(AlscopeError, match="too small"):
        split(np.zeros((4, 64, 64)), np.zeros((4, 64, 64)), None, 64)
    with pytest.raises(AlscopeError, match="must be equal"):
        split(np.zeros((4, 64, 64)), np.zeros((4, 64, 65)), None, 64)


def test_the_synthetic_tissue_is_the_same_for_the_same_seed():
    from alcore.arrays.synthetic import em_volume

    pool, (test,) = synthetic(3)
    again, _ = em_volume(pool[0].image.shape, pool[0].voxel_um, np.random.default_rng([3, 0]))
    assert np.array_equal(pool[0].image, again)
    assert pool[0].labels.max() > 3
    assert not any(np.array_equal(pool[0].image, p.image) for p in pool[1:])
    assert test.image.shape != pool[0].image.shape


def test_the_microscope_writes_what_an_instrument_writes(tmp_path):
    image = np.random.default_rng(0).integers(0, 60000, (5, 40, 50), np.uint16)
    microscope = Microscope([Piece("a.tif", image, image, VOXEL)], tmp_path, 0.0)
    microscope.run(threading.Event())
    assert microscope.error == ""
    assert check.problems(tmp_path / "a.tif") == []
    with open_volume(tmp_path / "a.tif") as reader:
        assert reader.voxel_um == pytest.approx(VOXEL)
        assert np.array_equal(reader.read(Box((0, 0, 0), (5, 40, 50)))[0], image)


def test_a_microscope_that_is_stopped_leaves_a_file_that_is_seen_to_be_incomplete(tmp_path):
    image = np.zeros((50, 40, 50), np.uint8)
    stop = threading.Event()
    stop.set()
    Microscope([Piece("a.tif", image, image, VOXEL)], tmp_path, 10.0).run(stop)
    assert check.problems(tmp_path / "a.tif")


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    image = np.zeros((2, 40, 50), np.uint8)
    microscope = Microscope([Piece("a.tif", image, image, None)], tmp_path / "nowhere", 0.0)
    microscope.run(threading.Event())
    assert "cannot write" in microscope.error


def ask(workspace: Path, name: str, box: Box) -> None:
    folder = workspace / "queue" / name
    folder.mkdir(parents=True)
    (folder / "suggestion.json").write_text(json.dumps({"id": name, "volume_name": "a.tif", "box": box.to_json()}))


def test_the_expert_draws_the_truth_of_the_box_and_says_when_there_is_nothing(tmp_path):
    truth = np.zeros((4, 20, 20), np.uint16)
    truth[:, 2:6, 2:6] = 7
    for name in ("inbox", "commands"):
        (tmp_path / name).mkdir()
    ask(tmp_path, "s00001", Box((0, 0, 0), (4, 10, 10)))
    ask(tmp_path, "s00002", Box((0, 10, 10), (4, 10, 10)))
    allowed = iter([True, False, True])
    expert = Expert({"a.tif": truth}, tmp_path, 0.0, lambda: next(allowed, False))
    stop = threading.Event()
    thread = threading.Thread(target=expert.run, args=(stop,))
    thread.start()
    try:
        for _ in range(100):
            if len(expert.answered) == 2:
                break
            stop.wait(0.1)
    finally:
        stop.set()
        thread.join()
    assert expert.answered == ["s00001", "s00002"]
    assert np.array_equal(tifffile.imread(tmp_path / "inbox" / "s00001.tif"), truth[:, :10, :10])
    assert json.loads((tmp_path / "commands" / "label-s00002.note").read_text())["empty"] is True
    assert not (tmp_path / "commands" / "label-s00001.note").exists()


@pytest.mark.parametrize("save_s", [None, 0.0, 0.6])
def test_the_expert_saves_fast_at_once_or_slowly(tmp_path, save_s):
    truth = np.zeros((4, 20, 20), np.uint16)
    truth[:, 2:6, 2:6] = 7
    (tmp_path / "inbox").mkdir()
    ask(tmp_path, "s00001", Box((0, 0, 0), (4, 10, 10)))
    expert = Expert({"a.tif": truth}, tmp_path, 0.0, lambda: True, save_s=save_s)
    stop, sizes, path = threading.Event(), set(), tmp_path / "inbox" / "s00001.tif"
    thread = threading.Thread(target=expert.run, args=(stop,))
    thread.start()
    try:
        for _ in range(1000):
            sizes |= {path.stat().st_size} if path.exists() else set()
            if expert.answered:
                break
            stop.wait(0.01)
    finally:
        stop.set()
        thread.join()
    assert expert.answered == ["s00001"] and expert.error == ""
    assert np.array_equal(tifffile.imread(path), truth[:, :10, :10])
    assert [p.name for p in tmp_path.rglob("*.partial")] == []
    if save_s == 0:
        assert sizes == {path.stat().st_size}, "nobody sees half a file"
    if save_s:
        assert len(sizes) > 1, "the file grows while it is watched"


def test_a_forgetful_expert_leaves_whole_instances_out(tmp_path):
    truth = np.zeros((2, 40, 40), np.uint16)
    for i in range(1, 13):
        truth[:, 3 * i : 3 * i + 2, 5:30] = i
    (tmp_path / "inbox").mkdir()
    ask(tmp_path, "s00001", Box((0, 0, 0), (2, 40, 40)))
    rng = np.random.default_rng(0)
    expert = Expert({"a.tif": truth}, tmp_path, 0.0, lambda: True, forgets=0.5, rng=rng)
    stop = threading.Event()
    expert.may_answer = lambda: not (expert.answered and (stop.set() or True))
    expert.run(stop)
    drawn = tifffile.imread(tmp_path / "inbox" / "s00001.tif")
    kept = set(np.unique(drawn)) - {0}
    assert 0 < len(kept) < 12
    assert np.array_equal(drawn, np.where(np.isin(truth, list(kept)), truth, 0))
    assert truth.max() == 12, "the truth itself is not touched"
    with pytest.raises(ValueError, match="needs a random generator"):
        Expert({}, tmp_path, 0.0, lambda: True, forgets=0.5)


def test_only_an_earlier_demo_is_cleared(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(AlscopeError, match="not an earlier demo"):
        conductor.prepare_folder(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
    conductor.prepare_folder(tmp_path / "demo")
    (tmp_path / "demo" / "old").mkdir()
    conductor.prepare_folder(tmp_path / "demo")
    assert not (tmp_path / "demo" / "old").exists()


@pytest.mark.parametrize(
    ("shape", "n", "least"), [((16, 192, 192), 6, 24), ((30, 512, 324), 6, 32), ((1, 100, 100), 1, 7)]
)
def test_patches_are_as_many_as_asked(shape, n, least):
    from alcore.arrays.tiling import tile

    assert n * len(tile(shape, conductor.patch_for(shape, n, least))) >= least


def test_the_config_of_a_demo_on_a_cluster_is_valid(tmp_path):
    from daemon.config import load

    script = conductor.Script(2, 4, (16, 96, 96), 1.0, 0.1, 60.0, 24)
    run = load(conductor.write_config(tmp_path, script, "tcp://127.0.0.1:8786")).run
    assert (run.executor, run.address) == ("dask", "tcp://127.0.0.1:8786") and run.device in ("cpu", "cuda")


def test_the_config_it_writes_is_valid(tmp_path):
    from daemon.config import load

    settings = load(conductor.write_config(tmp_path, conductor.Script(2, 4, (16, 96, 96), 1.0, 0.1, 60.0, 24)))
    assert settings.patch.shape_px == (16, 96, 96)


def _round(state):
    return RoundView(1, state, 4, 2, 0.25, None, None, None, None, "", 0.0, None)


@pytest.mark.parametrize(
    ("new", "rounds", "may"),
    [
        (5, (), True),
        (6, (), False),  # a round is due
        (0, (_round("training"),), False),
        (0, (_round("done"),), True),
        (0, (_round("done"), _round("done")), False),  # the last one: more labels would begin another
    ],
)
def test_the_expert_gives_each_round_its_labels_and_no_round_too_many(tmp_path, new, rounds, may):
    with contextlib.closing(Store(tmp_path)):
        shot = conductor.seen(tmp_path)
    shot = replace(shot, labels={**shot.labels, "new": new}, rounds=rounds)
    assert conductor.expert_may_answer(shot, every=6, rounds=2) is may


def test_a_demo_in_which_nothing_moves_is_given_up_and_a_slow_one_is_not(tmp_path, monkeypatch):
    with contextlib.closing(Store(tmp_path)):
        shot = conductor.seen(tmp_path)
    looks = []

    def look(_):
        """Another label at each of the first looks, none afterwards."""
        looks.append(time.monotonic())
        return replace(shot, labels={**shot.labels, "new": min(len(looks), 4)})

    monkeypatch.setattr(conductor, "seen", look)
    script = conductor.Script(2, 6, (16, 96, 96), 1.0, 0.1, stuck_s=0.8, n_patches=24)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as daemon:
        with pytest.raises(AlscopeError, match="nothing has moved"):
            conductor.wait_until_over(tmp_path, script, 6, daemon, lambda: None, lambda: "")
        daemon.kill()
    assert (
        len(looks) >= 5
    )  # with half a second between two looks, it outlived its patience as long as there was progress


def test_pictures_are_made(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (5, 40, 50), np.uint8)
    mask = np.zeros((5, 40, 50), np.uint32)
    mask[:, 5:20, 5:20] = 70000
    figures.volume_picture(tmp_path / "a.png", "a [red].tif", image, [("pseudo-label", None), ("truth", mask)])
    scores = {"f1": 0.2, "dice": 0.3}
    summary = {
        "rounds": [{"fraction": 0.1, "scores": scores}],
        "pretrained_scores": scores,
        "pseudo_label_scores": scores,
    }
    figures.learning_curve(tmp_path / "curve.png", summary)
    for name in ("a.png", "curve.png"):
        assert (tmp_path / name).stat().st_size > 5000
    rgba = figures.colours(mask[0])
    assert (rgba[..., 3] > 0).sum() == (mask[0] > 0).sum()


def test_a_database_that_is_being_made_is_waited_for(tmp_path):
    """The expert asks while the daemon starts: for a moment there is a file without tables."""
    (tmp_path / "alscope.db").touch()
    found = conductor.seen(tmp_path)
    assert found is None or not found.queue
    (tmp_path / "alscope.db").write_bytes(b"")
    with contextlib.closing(sqlite3.connect(tmp_path / "alscope.db")) as db:
        db.execute("CREATE TABLE daemon (id INTEGER)")  # and then one with some of them
    assert conductor.seen(tmp_path) is None
