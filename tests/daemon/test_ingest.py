"""The scan against a real folder and a hostile writer: nothing lost, nothing half-read, nothing twice."""

from __future__ import annotations

import os
import queue
import shutil
import time
from pathlib import Path

import pytest

from daemon.arrival import Arriving, Gone, Reachable, Settled
from daemon.ingest import Ingest
from daemon.leases import open_for_writing
from daemon.walk import Folder

SETTLE_S = 1.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.fixture
def ingest(folder):
    reports: queue.SimpleQueue = queue.SimpleQueue()
    made = Ingest([Folder(folder, 0, SETTLE_S, ("*.tif",))], reports.put, {})
    made.reports = reports
    made.start()
    yield made
    made.close()


def collect(ingest, seconds: float, kind=Settled) -> list:
    """Reports of one kind within some time; settled files are acknowledged, as the engine would."""
    found = []
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            report = ingest.reports.get(timeout=left)
        except queue.Empty:
            break
        if isinstance(report, Settled):
            ingest.acknowledge(report.path, report.fingerprint)
        if isinstance(report, kind):
            found.append(report)
    return found


def names(reports) -> list[bytes]:
    return [os.path.basename(r.path) for r in reports]


def test_files_that_are_there_already_are_found(tmp_path, folder):
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.tif").write_bytes(b"x")
    (folder / "deep" / "er" / "b.tif").write_bytes(b"y")
    (folder / "notes.txt").write_bytes(b"z")
    (folder / ".a.tif.Ab3dE9").write_bytes(b"z")
    reports: queue.SimpleQueue = queue.SimpleQueue()
    ingest = Ingest([Folder(folder, 0, SETTLE_S, ("*.tif",))], reports.put, {})
    ingest.reports = reports
    ingest.start()
    try:
        assert sorted(names(collect(ingest, 3 * SETTLE_S))) == [b"a.tif", b"b.tif"]
    finally:
        ingest.close()


def test_a_file_that_grows_slowly_is_reported_once_and_whole(ingest, folder):
    with open(folder / "slow.tif", "wb") as f:
        ingest.wake()
        for _ in range(4):
            f.write(b"x" * 1000)
            f.flush()
            assert not collect(ingest, 0.6 * SETTLE_S)
        # a pause longer than the settle time, the file still open: the lease tells
        assert not collect(ingest, 2.5 * SETTLE_S)
    (settled,) = collect(ingest, 4 * SETTLE_S)
    assert settled.size == 4000
    assert not collect(ingest, 2 * SETTLE_S)


def test_a_settled_file_is_reported_until_it_is_acknowledged(ingest, folder):
    (folder / "a.tif").write_bytes(b"x")
    ingest.wake()
    until = time.monotonic() + 10
    seen = 0
    while seen < 2 and time.monotonic() < until:
        report = ingest.reports.get(timeout=10)
        seen += isinstance(report, Settled)
    assert seen == 2


def test_a_changed_file_arrives_again_and_a_moved_one_is_gone_here_and_found_there(ingest, folder):
    (folder / "a.tif").write_bytes(b"x")
    ingest.wake()
    assert len(collect(ingest, 3 * SETTLE_S)) == 1
    (folder / "a.tif").write_bytes(b"yy")
    ingest.wake()
    assert [r.size for r in collect(ingest, 3 * SETTLE_S)] == [2]
    (folder / "sub").mkdir()
    os.rename(folder / "a.tif", folder / "sub" / "b.tif")
    ingest.wake()
    reports = collect(ingest, 3 * SETTLE_S, (Gone, Settled))
    assert [r.gone for r in reports if isinstance(r, Gone)] == [True]
    assert names(r for r in reports if isinstance(r, Settled)) == [b"b.tif"]


def test_a_folder_that_disappears_is_unreachable_and_its_files_are_not_gone(ingest, folder):
    (folder / "a.tif").write_bytes(b"x")
    ingest.wake()
    collect(ingest, 3 * SETTLE_S)
    away = folder.with_name("away")
    os.rename(folder, away)
    ingest.wake()
    reports = collect(ingest, 1.0, (Gone, Reachable))
    assert len(reports) == 1
    assert reports[0].error
    os.rename(away, folder)
    ingest.wake()
    reports = collect(ingest, 2 * SETTLE_S, (Gone, Reachable, Settled))
    assert reports == [Reachable(folder, "")]


def test_links_are_not_followed_and_odd_names_survive(ingest, folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.tif").write_bytes(b"x")
    (folder / "link.tif").symlink_to(outside / "secret.tif")
    (folder / "loop").symlink_to(folder)
    odd = os.fsencode(folder) + b"/bad\xff\n[red].tif"
    with open(odd, "wb") as f:
        f.write(b"x")
    ingest.wake()
    assert [r.path for r in collect(ingest, 3 * SETTLE_S)] == [odd]


def test_what_it_waits_for_is_said(ingest, folder, tmp_path):
    (tmp_path / "written").write_bytes(b"x" * 1000)
    began = time.time()
    (tmp_path / "written").rename(folder / "a.tif")  # at once: a look between open and write would see 0 B
    ingest.wake()
    (first, *_) = collect(ingest, 0.8, Arriving)
    assert (first.why, first.wait_s) == ("1.0 kB", SETTLE_S)
    assert began - 0.01 <= first.quiet_since <= time.time() + 0.01


def test_deleting_the_tree_while_it_is_walked_harms_nothing(ingest, folder):
    for n in range(30):
        (folder / f"d{n}").mkdir()
        (folder / f"d{n}" / "a.tif").write_bytes(b"x")
    ingest.wake()
    time.sleep(0.3)
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "b.tif").write_bytes(b"x")
    ingest.wake()
    assert b"b.tif" in names(collect(ingest, 4 * SETTLE_S))
    assert ingest.is_alive()


def test_a_writer_is_noticed(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"x")
    if open_for_writing(os.fsencode(path)) is None:
        pytest.skip("this file system or kernel has no leases")
    assert open_for_writing(os.fsencode(path)) is False
    with open(path, "ab"):
        assert open_for_writing(os.fsencode(path)) is True
    assert open_for_writing(os.fsencode(path)) is False
