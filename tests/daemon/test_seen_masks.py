"""A mask of what was looked at, saved beside its label: both are taken together, whichever comes first, and nothing is lost."""

from __future__ import annotations

import os

import pytest

from daemon.executors.port import Finished
from daemon.walk import INBOX
from tests.daemon.play import Stage, events
from tests.daemon.scripted import results


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path, results)
    made.drop("a.tif", b"one")
    made.run()
    yield made
    made.store.close()


def write(stage, name: str, content: bytes):
    path = stage.inbox / name
    path.write_bytes(content)
    return path


def settle(stage, *names: str) -> None:
    for name in names:
        stage.settled(stage.inbox / name, INBOX)


def checked(stage) -> list[tuple[bytes, bytes | None]]:
    """(label, mask) as every check was given them."""
    found = []
    for order in stage.executor.orders:
        if order.stage == "label":
            seen = order.inputs["seen"]
            found.append((order.inputs["file"][0].path.read_bytes(), seen[0].path.read_bytes() if seen else None))
    return found


@pytest.mark.parametrize("mask", ["s00001.seen.tif", "s00001.seen.nii.gz", "s00001.SEEN.ome.tif"])
@pytest.mark.parametrize("first", ["mask", "label"])
def test_label_and_mask_are_taken_together_whichever_settles_first(stage, mask, first):
    write(stage, "s00001.nrrd", b"label")
    write(stage, mask, b"mask")
    settle(stage, *((mask, "s00001.nrrd") if first == "mask" else ("s00001.nrrd", mask)))
    settle(stage, "s00001.nrrd") if first == "label" else None  # the ingest reports again what nobody took
    stage.run()
    assert checked(stage) == [(b"label", b"mask")]
    assert not list(stage.inbox.iterdir())
    (kept,) = stage.store.labels.received("1 = 1")
    assert (kept.state, kept.seen.file) == ("accepted", f"labels/received/s00001-00001{mask[6:].lower()}")


def test_a_label_waits_for_a_mask_that_is_still_being_saved(stage):
    write(stage, "s00001.seen.tif", b"ma")
    settle(stage, "s00001.seen.tif")
    write(stage, "s00001.seen.tif", b"mask")  # the tool goes on
    write(stage, "s00001.tif", b"label")
    settle(stage, "s00001.tif")
    stage.run()
    assert checked(stage) == [] and len(list(stage.inbox.iterdir())) == 2
    settle(stage, "s00001.seen.tif", "s00001.tif")
    stage.run()
    assert checked(stage) == [(b"label", b"mask")]


def test_a_mask_alone_waits_says_so_once_and_keeps_the_patch_for_nobody(stage):
    write(stage, "s00001.seen.tif", b"mask")
    for _ in range(3):
        settle(stage, "s00001.seen.tif")
    assert [e for e in events(stage) if "waits" in e] == [
        "s00001.seen.tif waits: s00001 has no label yet: it is taken with s00001.tif"
    ]
    assert stage.store.annotation.suggestion("s00001").state == "open"
    assert (stage.inbox / "s00001.seen.tif").exists()


def test_a_mask_that_comes_too_late_says_what_to_do(stage):
    write(stage, "s00001.tif", b"label")
    settle(stage, "s00001.tif")
    stage.run()
    write(stage, "s00001.seen.tif", b"mask")
    settle(stage, "s00001.seen.tif")
    assert "s00001 is labelled already: save its label again, and the mask goes with it" in events(stage)[-1]
    write(stage, "s00001.tif", b"label")
    settle(stage, "s00001.tif")
    stage.run()
    assert checked(stage) == [(b"label", None), (b"label", b"mask")]


def test_of_two_masks_the_one_saved_last_counts_and_the_other_is_kept(stage):
    for n, name in enumerate(("s00001.seen.nrrd", "s00001.seen.tif")):
        os.utime(write(stage, name, name.encode()), (1000 + n, 1000 + n))
        settle(stage, name)
    write(stage, "s00001.tif", b"label")
    settle(stage, "s00001.tif")
    stage.run()
    assert checked(stage) == [(b"label", b"s00001.seen.tif")]
    aside = stage.workspace.rejected / "s00001.seen.nrrd"
    assert aside.read_bytes() == b"s00001.seen.nrrd"
    assert "was saved later" in aside.with_name("s00001.seen.nrrd.txt").read_text()


@pytest.mark.parametrize("kind", ["bad_label", "source_changed"])
def test_a_rejected_label_keeps_its_mask_and_one_half_written_goes_back_with_it(tmp_path, kind):
    def script(order):
        if order.stage == "label":
            return Finished(order.job_id, order.fence, "failed", "s00001.seen.tif: is it a label?", kind)
        return results(order)

    stage = Stage(tmp_path, script)
    stage.drop("a.tif", b"one")
    stage.run()
    write(stage, "s00001.seen.tif", b"mask")
    write(stage, "s00001.tif", b"label")
    settle(stage, "s00001.seen.tif", "s00001.tif")
    stage.run()
    where, prefix = (stage.workspace.rejected, "s00001-00001") if kind == "bad_label" else (stage.inbox, "s00001")
    assert (where / f"{prefix}.tif").read_bytes() == b"label"
    assert (where / f"{prefix}.seen.tif").read_bytes() == b"mask"
    stage.store.close()


@pytest.mark.parametrize("gone", ["s00001.tif", "s00001.seen.tif"])
def test_files_that_left_the_inbox_are_said_and_a_kill_between_two_moves_loses_neither(stage, gone):
    write(stage, "s00001.seen.tif", b"mask")
    write(stage, "s00001.tif", b"label")
    settle(stage, "s00001.seen.tif", "s00001.tif")
    kept = stage.inbox / ("s00001.tif" if "seen" in gone else "s00001.seen.tif")
    away = (stage.inbox / gone).rename(stage.inbox.parent / "taken_away")
    stage.restart()
    stage.run()
    (row,) = stage.store.labels.received("1 = 1")
    assert (row.state, row.reason) == ("rejected", f"{gone}: the file left the inbox before it could be read")
    found = [p.read_bytes() for p in [kept, *stage.workspace.rejected.glob("*.tif")] if p.exists()]
    assert found == [b"label" if "seen" in gone else b"mask"]
    assert away.exists()
