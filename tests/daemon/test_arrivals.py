"""What the scan, the engine and the store make of acquisitions that come, change, go and come back; one case each."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alcore.fileset import fingerprint_of
from daemon.arrival import Arriving, Gone, Reachable, Settled
from daemon.store.report import snapshot
from tests.daemon.arrivals import QUIET, SETTLE_S, Arrivals

ASIDE, ARRIVING, INGESTED = "set_aside", "arriving", "ingested"


@pytest.fixture
def arrivals(tmp_path, monkeypatch) -> Iterator[Arrivals]:
    made = Arrivals(tmp_path, monkeypatch)
    yield made
    made.close()


def states(arrivals: Arrivals) -> dict[str, str]:
    return {name: state for name, (state, _) in arrivals.there().items()}


def gone(arrivals: Arrivals) -> list[str]:
    return [r["name"] for r in arrivals.rows() if r["gone"]]


def away(arrivals: Arrivals) -> list[str]:
    return [r["name"] for r in arrivals.rows() if r["away"]]


def turn(arrivals: Arrivals, seconds: float = 0.0) -> None:
    arrivals.now += seconds
    arrivals.look()
    arrivals.hear()
    arrivals.tick()
    arrivals.hear()


def test_a_file_that_changes_after_it_was_read_and_goes_before_it_settles_is_gone(arrivals):
    path = arrivals.folder / "a.tif"
    path.write_bytes(b"one")
    arrivals.rest()
    path.write_bytes(b"two")
    turn(arrivals)
    path.unlink()
    arrivals.rest()
    assert (states(arrivals), gone(arrivals)) == ({}, ["a.tif"])
    path.write_bytes(b"three")
    arrivals.rest()
    assert states(arrivals) == {"a.tif": INGESTED}
    assert len(arrivals.store.jobs._db.execute("SELECT * FROM source_part").fetchall()) == 2  # the first is history


def test_what_became_what_it_was_is_not_waited_for_for_ever(arrivals):
    """A slice too many, taken away again: the fingerprint that is known already."""
    folder = arrivals.folder / "x.zarr"
    folder.mkdir()
    (folder / "zarr.json").write_bytes(b"{}")
    arrivals.rest()
    (folder / "extra").write_bytes(b"x")
    turn(arrivals)
    assert states(arrivals) == {"x.zarr": ARRIVING}
    (folder / "extra").unlink()
    arrivals.rest()
    assert states(arrivals) == {"x.zarr": INGESTED}


def test_what_was_arriving_when_the_daemon_was_killed_and_is_not_there_any_more_is_forgotten(arrivals):
    (arrivals.folder / "a.tif").write_bytes(b"one")
    turn(arrivals)
    assert arrivals.store.sources.n_arriving() == 1
    (arrivals.folder / "a.tif").unlink()
    arrivals.restart()
    arrivals.rest()
    assert arrivals.rows() == []


def test_a_set_is_not_read_again_after_a_restart(arrivals):
    (arrivals.folder / "a.tif").write_bytes(b"set:b.tif\n1")
    (arrivals.folder / "b.tif").write_bytes(b"in:a.tif\n2")
    arrivals.rest()
    assert states(arrivals) == {"a.tif": INGESTED}
    arrivals.restart()
    before = len(arrivals.told)
    arrivals.rest()
    assert not [e for e in arrivals.told[before:] if isinstance(e, (Arriving, Settled, Gone))]


def test_a_file_that_was_read_by_itself_becomes_part_of_a_set_and_is_free_again_when_that_ends(arrivals):
    (arrivals.folder / "b.tif").write_bytes(b"plain")
    arrivals.rest()
    (arrivals.folder / "a.tif").write_bytes(b"set:b.tif\n1")
    arrivals.rest()
    assert (states(arrivals), gone(arrivals)) == ({"a.tif": INGESTED}, ["b.tif"])
    (arrivals.folder / "a.tif").unlink()
    arrivals.rest()
    assert (states(arrivals), gone(arrivals)) == ({"b.tif": INGESTED}, ["a.tif"])
    (arrivals.folder / "a.tif").write_bytes(b"set:b.tif\n2")
    arrivals.rest()
    (arrivals.folder / "a.tif").write_bytes(b"plain, too")
    arrivals.rest()
    assert states(arrivals) == {"a.tif": INGESTED, "b.tif": INGESTED}


def test_files_of_a_damaged_owner_wait_for_it_and_do_not_go_in_circles(arrivals):
    (arrivals.folder / "a.tif").write_bytes(b"")
    for name in ("b.tif", "c.tif"):
        (arrivals.folder / name).write_bytes(b"in:a.tif\n" + name.encode())
    arrivals.rest()
    assert states(arrivals) == {"a.tif": ASIDE}
    (arrivals.folder / "a.tif").write_bytes(b"set:b.tif,c.tif\n")
    arrivals.rest()
    assert states(arrivals) == {"a.tif": INGESTED}


def test_a_set_that_was_gone_and_is_spoken_of_again_is_gone_again_when_its_files_are(arrivals):
    owner, member = arrivals.folder / "a.tif", arrivals.folder / "b.tif"
    member.write_bytes(b"in:a.tif\n1")
    arrivals.rest()
    member.unlink()
    arrivals.rest()
    assert states(arrivals) == {}
    member.write_bytes(b"in:a.tif\n2")
    turn(arrivals)
    turn(arrivals, SETTLE_S)
    member.unlink()  # the engine hears of the set after the scan has seen that nothing of it is there
    arrivals.store.sources.make_set(bytes(owner), 0, ("a.tif", "b.tif"), True, arrivals.now)
    arrivals.ingest.set_members(bytes(owner), ("a.tif", "b.tif"))
    arrivals.rest()
    assert (states(arrivals), arrivals.store.sources.n_arriving()) == ({}, 0)


def test_a_word_on_a_file_from_before_it_became_part_of_a_set_is_not_heard(arrivals):
    (arrivals.folder / "b.tif").write_bytes(b"in:a.tif\n2")
    arrivals.look()
    arrivals.now += SETTLE_S
    arrivals.look()  # that it is whole waits to be heard
    arrivals.ingest.set_members(bytes(arrivals.folder / "a.tif"), ("a.tif", "b.tif"))
    arrivals.hear()
    assert "b.tif" in arrivals.settled()
    assert "b.tif" not in states(arrivals)


def test_filesets_of_the_same_files_are_told_apart(tmp_path):
    """One set misses a file, and a folder of slices is no set: what is known of one says nothing of the other."""
    (tmp_path / "a.tif").write_bytes(b"1")
    a = bytes(tmp_path / "a.tif")
    found = [fingerprint_of(a), fingerprint_of(a, ("a.tif",)), fingerprint_of(a, ("a.tif", "b.tif"))]
    found.append(fingerprint_of(bytes(tmp_path)))
    assert len({f.content for f in found if f is not None}) == 4


def test_a_subfolder_that_cannot_be_listed_is_unreachable_and_nothing_in_it_is_gone(arrivals, monkeypatch):
    for folder in ("open", "shut"):
        (arrivals.folder / folder / "x.zarr").mkdir(parents=True)
        (arrivals.folder / folder / "x.zarr" / "zarr.json").write_bytes(folder.encode())
        (arrivals.folder / folder / "a.tif").write_bytes(folder.encode())
    arrivals.rest()
    shut = bytes(arrivals.folder / "shut")
    with monkeypatch.context() as patch:
        forbid(patch, shut)
        (arrivals.folder / "open" / "b.tif").write_bytes(b"new")
        arrivals.rest()
        assert gone(arrivals) == []
        assert states(arrivals) == dict.fromkeys(("open/a.tif", "open/b.tif", "open/x.zarr"), INGESTED)
        assert [p.kind for p in snapshot(arrivals.root / "ws", arrivals.now).problems].count("folder") == 1
        arrivals.restart()
        arrivals.rest()
        assert sorted(away(arrivals)) == ["a.tif", "x.zarr"]
    arrivals.restart()  # it can be listed again by the time of the next start
    arrivals.rest()
    assert len(states(arrivals)) == 5
    assert not [p for p in snapshot(arrivals.root / "ws", arrivals.now).problems if p.kind == "folder"]


def forbid(patch: pytest.MonkeyPatch, folder: bytes) -> None:
    """As for somebody who may not enter a folder (root, who runs the tests in a container, may)."""

    def refused(call: Any) -> Any:
        def checked(path: Any, *rest: Any, **more: Any) -> Any:
            if os.fsencode(path).startswith(folder):
                raise PermissionError(13, "Permission denied", path)
            return call(path, *rest, **more)

        return checked

    patch.setattr(os, "scandir", refused(os.scandir))
    patch.setattr(os, "lstat", refused(os.lstat))


def test_a_tree_with_a_folder_that_cannot_be_listed_is_unreachable(arrivals, monkeypatch):
    inner = arrivals.folder / "x.zarr" / "c"
    inner.mkdir(parents=True)
    (inner / "0").write_bytes(b"chunk")
    arrivals.rest()
    with monkeypatch.context() as patch:
        forbid(patch, bytes(inner))
        arrivals.rest()
        assert (gone(arrivals), away(arrivals)) == ([], ["x.zarr"])
    arrivals.rest()
    assert states(arrivals) == {"x.zarr": INGESTED}


def test_a_folder_that_is_unmounted_while_it_is_walked_loses_nothing(arrivals, monkeypatch):
    for name in ("a", "b"):
        (arrivals.folder / name).mkdir()
        (arrivals.folder / name / "v.tif").write_bytes(name.encode())
    arrivals.rest()
    real, left = os.scandir, arrivals.root / "away"

    def unmounting(path: Any) -> Any:
        if os.fsencode(path) == bytes(arrivals.folder):
            listed = list(real(path))
            arrivals.folder.rename(left)
            arrivals.folder.mkdir()
            return Listed(listed)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", unmounting)
        arrivals.look()
    arrivals.hear()
    assert gone(arrivals) == []
    arrivals.rest()
    assert (gone(arrivals), len(away(arrivals))) == ([], 2)


class Listed(list[Any]):
    def __enter__(self) -> Listed:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_an_acquisition_whose_folder_goes_while_it_is_read_is_read_when_the_folder_is_back(arrivals):
    (arrivals.folder / "a.tif").write_bytes(b"one")
    left = arrivals.root / "away"
    arrivals.meanwhile = lambda: arrivals.folder.rename(left) if arrivals.folder.exists() else None
    arrivals.rest()
    assert (states(arrivals), away(arrivals)) == ({}, ["a.tif"])
    assert arrivals.store.sources.n_arriving() == 0  # others do not wait for it
    arrivals.meanwhile = lambda: None
    left.rename(arrivals.folder)
    arrivals.rest()
    assert states(arrivals) == {"a.tif": INGESTED}


def test_a_change_that_passes_while_it_is_read_does_not_set_it_aside(arrivals):
    """A desktop's litter in a tree: there for a moment, and the fingerprint is what it was."""
    folder = arrivals.folder / "x.zarr"
    folder.mkdir()
    (folder / "zarr.json").write_bytes(b"{}")
    litter = folder / ".DS_Store"
    arrivals.meanwhile = litter.touch
    while not arrivals.worker.read:
        turn(arrivals, SETTLE_S)
    arrivals.meanwhile = lambda: None
    litter.unlink()
    arrivals.rest()
    assert states(arrivals) == {"x.zarr": INGESTED}


def test_reading_that_was_cancelled_by_hand_says_so_and_can_be_asked_for_again(arrivals):
    (arrivals.folder / "a.tif").write_bytes(b"one")
    arrivals.executor.slots[False] = 0
    while not arrivals.jobs("ready"):
        turn(arrivals, SETTLE_S)
    arrivals.store.jobs.cancel(1, "cancelled by hand", arrivals.now)
    arrivals.executor.slots[False] = 100
    arrivals.rest()
    (row,) = arrivals.rows()
    assert row["state"] == ASIDE
    assert "cancelled by hand" in row["reason"] and "alscope jobs retry 1" in row["reason"]
    arrivals.store.jobs.retry(1, arrivals.now)
    arrivals.rest()
    assert states(arrivals) == {"a.tif": INGESTED}


def test_an_encoder_that_was_disturbed_by_a_touched_file_is_trained_again(tmp_path, monkeypatch):
    options = {"encoder": {"min_patches": 4}, "training": QUIET["training"]}
    arrivals = Arrivals(tmp_path, monkeypatch, **options)
    path = arrivals.folder / "a.tif"
    path.write_bytes(b"one")
    touched: list[str] = []

    def script(order: Any) -> Any:
        if order.stage == "encoder" and not touched:
            touched.append(order.key)
            os.utime(path, (1e9, 1e9))
        return arrivals.worker(order)

    arrivals.executor.script = script
    arrivals.rest()
    assert touched
    assert arrivals.store.encoders.in_use().keys() == {"current"}
    arrivals.close()


def test_one_file_that_is_gone_does_not_keep_an_encoder_from_serving(tmp_path, monkeypatch):
    options = {"encoder": {"min_patches": 8}, "training": QUIET["training"]}
    arrivals = Arrivals(tmp_path, monkeypatch, **options)
    for name in ("a.tif", "b.tif"):
        (arrivals.folder / name).write_bytes(name.encode())

    def script(order: Any) -> Any:
        if order.stage == "encoder":
            said = arrivals.worker(order)
            (arrivals.folder / "b.tif").unlink(missing_ok=True)
            return said
        return arrivals.worker(order)

    arrivals.executor.script = script
    arrivals.rest()
    assert arrivals.store.encoders.in_use().keys() == {"current"}
    arrivals.close()


def test_jobs_of_a_file_that_is_gone_wait_in_silence(arrivals):
    (arrivals.folder / "a.tif").write_bytes(b"one")
    arrivals.executor.script = lambda order: arrivals.worker(order) if order.stage == "volume" else None
    for _ in range(6):
        turn(arrivals, SETTLE_S)
    (job,) = arrivals.store.jobs.running()
    (arrivals.folder / "a.tif").unlink()
    turn(arrivals)
    arrivals.store.jobs.postponed(job.id, arrivals.now, "not there", "source_missing", arrivals.now, False)
    turn(arrivals, 100)
    before = arrivals.changes()
    for _ in range(20):
        turn(arrivals, 100)
    assert arrivals.changes() == before
    arrivals.executor.script = arrivals.worker
    (arrivals.folder / "a.tif").write_bytes(b"one")
    arrivals.rest()
    assert not arrivals.jobs("waiting")


def test_a_result_for_a_file_that_left_and_was_forgotten_is_no_fault(arrivals):
    """Killed between the result and its record, and the file gone by the next start."""
    path = arrivals.folder / "a.tif"
    path.write_bytes(b"one")
    arrivals.executor.start = lambda order: arrivals.worker(order) and None  # published, and never heard of
    while not arrivals.worker.read:
        turn(arrivals, SETTLE_S)
    arrivals.store.jobs._db.execute("DELETE FROM source")
    arrivals.restart()
    arrivals.now += 60
    path.unlink()
    arrivals.rest()
    assert arrivals.rows() == []


def test_a_very_deep_tree_of_folders_is_walked(arrivals):
    here = os.open(arrivals.folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    (arrivals.folder / "a.tif").write_bytes(b"one")
    try:
        arrivals.rest()
        assert states(arrivals) == {"a.tif": INGESTED}
    finally:  # deeper than shutil.rmtree, and so pytest, can go
        subprocess.run(["rm", "-rf", arrivals.folder / "d"], check=True)


def test_a_file_among_the_slices_that_is_no_slice_is_not_missed(tmp_path, monkeypatch):
    arrivals = Arrivals(tmp_path, monkeypatch, watch=[{"folder": "in", "settle_s": SETTLE_S, "slices": ["."]}])
    for name in ("z0.tif", "z1.tif", "stack.mrc"):
        (arrivals.folder / name).write_bytes(name.encode())
    arrivals.rest()
    assert states(arrivals) == {".": INGESTED, "stack.mrc": INGESTED}
    (arrivals.folder / "z0.tif").unlink()
    (arrivals.folder / "z1.tif").unlink()
    arrivals.rest()
    assert (states(arrivals), gone(arrivals)) == ({"stack.mrc": INGESTED}, ["in"])
    arrivals.close()


def test_a_file_in_the_place_of_a_tree_that_still_settles_and_the_reverse(arrivals):
    path: Path = arrivals.folder / "x.zarr"
    path.mkdir()
    (path / "zarr.json").write_bytes(b"{}")
    turn(arrivals)
    shutil.rmtree(path)
    path.write_bytes(b"no tree")
    turn(arrivals, 1)
    turn(arrivals, SETTLE_S)  # as fast as a file
    assert arrivals.settled() == ["x.zarr"]
    path.unlink()
    path.write_bytes(b"other")
    turn(arrivals)
    path.unlink()
    path.mkdir()
    (path / "zarr.json").write_bytes(b"{}")
    turn(arrivals, 1)
    turn(arrivals, SETTLE_S)
    assert len(arrivals.heard(Settled)) == 1  # as slow as a tree of one file
    arrivals.rest()
    assert states(arrivals) == {"x.zarr": INGESTED}


def test_a_folder_that_comes_later_and_one_that_is_out_of_the_configuration(tmp_path, monkeypatch):
    one, two, three = ({"folder": name, "settle_s": SETTLE_S} for name in ("in", "two", "three"))
    arrivals = Arrivals(tmp_path, monkeypatch, watch=[one, two])
    turn(arrivals)
    assert [e.error != "" for e in arrivals.heard(Reachable)] == [False, True]
    (tmp_path / "two").mkdir()
    (arrivals.folder / "a.tif").write_bytes(b"a")
    (tmp_path / "two" / "b.tif").write_bytes(b"b")
    arrivals.rest()
    assert [(r["name"], r["watch"]) for r in arrivals.rows()] == [("a.tif", 0), ("b.tif", 1)]
    (tmp_path / "three").mkdir()
    before = len(arrivals.worker.read)
    arrivals.restart(watch=[three, two, one])
    arrivals.rest()
    assert [(r["name"], r["watch"]) for r in arrivals.rows()] == [("a.tif", 2), ("b.tif", 1)]
    arrivals.restart(watch=[one])
    arrivals.rest()
    assert [(r["name"], r["watch"], r["away"]) for r in arrivals.rows()] == [("a.tif", 0, 0), ("b.tif", -1, 1)]
    assert len(arrivals.store.volumes.readable()) == 1
    arrivals.restart(watch=[two, one])
    arrivals.rest()
    assert [(r["name"], r["watch"], r["away"]) for r in arrivals.rows()] == [("a.tif", 1, 0), ("b.tif", 0, 0)]
    assert len(arrivals.worker.read) == before  # nothing is read again
    arrivals.close()


def test_a_folder_under_a_new_name_is_read_there(tmp_path, monkeypatch):
    arrivals = Arrivals(tmp_path, monkeypatch)
    (arrivals.folder / "a.tif").write_bytes(b"a")
    arrivals.rest()
    arrivals.folder.rename(tmp_path / "new")
    arrivals.restart(watch=[{"folder": "new", "settle_s": SETTLE_S}])
    arrivals.rest()
    (volume,) = arrivals.store.volumes.readable()
    assert volume.path == bytes(tmp_path / "new" / "a.tif")
    arrivals.close()
