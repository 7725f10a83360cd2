"""A database of the first version, with its rows as they were written then, under the present code: all is there and usable."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from alcore.fileset import fingerprint_of
from daemon.look import look
from daemon.store import listing, queue_listing
from daemon.store.connection import DATABASE, open_reader, open_writer
from daemon.store.schema import migrations
from daemon.store.store import Store

INFO = {
    "sha256": "aa",
    "shape": [1, 8, 96, 96],
    "dtype": "uint8",
    "voxel_um": [0.04, 0.02, 0.02],
    "voxel_source": "file",
}
INFO |= {"stats": []}


def old_fingerprint(path: Path) -> str:
    """As the first version wrote it."""
    s = path.stat()
    names = {"dev": s.st_dev, "ino": s.st_ino, "size": s.st_size, "mtime_ns": s.st_mtime_ns, "ctime_ns": s.st_ctime_ns}
    return json.dumps(names, sort_keys=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The watched folder: a.tif read, twin.tif the same bytes, bad.tif set aside, late.tif about to be read, new.tif growing."""
    made = tmp_path / "in"
    made.mkdir()
    for name in ("a.tif", "twin.tif", "bad.tif", "late.tif", "new.tif"):
        (made / name).write_bytes(b"twin" if name in ("a.tif", "twin.tif") else name.encode())
    return made


@pytest.fixture
def workspace(tmp_path: Path, folder: Path) -> Path:
    """A workspace whose database knows migration 0001 alone."""
    root = tmp_path / "ws"
    root.mkdir()
    db = open_writer(root / DATABASE)
    migrations().apply(db, stop_before="0002_parts")

    def add(table: str, **row: object) -> None:
        db.table(table).insert(row)

    def job(
        number: int, stage: str, subject: str, state: str, volume: int | None = None, params: object = None
    ) -> None:
        more = {"result": "{}"} if state == "done" else {"lease": "boot:1"} if state == "running" else {}
        more |= {"error": "bad", "error_kind": "unreadable"} if state == "failed" else {}
        add("job", id=number, key=f"{stage}-{number}", stage=stage, spec="spec", volume_id=volume, subject=subject,
            state=state, priority=50, inputs="{}", params=json.dumps(params or {}), attempts=1, created_at=1.0, **more)  # fmt: skip
        add("job_event", job_id=number, at=1.0, start="", finish="ready", note="wanted")

    for key in (
        "volume-1",
        "package-6",
        "label-7",
        "finetune-8",
        "embedding-5",
        "predict-9",
        "encoder-11",
        "encoder-12",
    ):
        add("artifact", key=key, stage=key.split("-")[0], bytes=10, seconds=1.0, created_at=1.0)
    add("volume", id=1, sha256="aa", name="a.tif", export_name="a", artifact="volume-1", info=json.dumps(INFO),
        read="{}", notes='["a note"]', created_at=2.0)  # fmt: skip
    states = [("a.tif", "ingested", 1, ""), ("twin.tif", "ingested", 1, ""), ("bad.tif", "set_aside", None, "is cut")]
    states += [("late.tif", "settled", None, ""), ("new.tif", "arriving", None, "growing")]
    for number, (name, state, volume, reason) in enumerate(states, 1):
        path = folder / name
        add("source", id=number, path=os.fsencode(path), name=name, watch=0, state=state, size=path.stat().st_size,
            fingerprint=old_fingerprint(path), reason=reason, volume_id=volume, first_seen=1.0, changed_at=2.0)  # fmt: skip
        if state != "arriving":
            done = {"ingested": "done", "set_aside": "failed", "settled": "running"}[state]
            job(number, "volume", f"source:{number}:ab", done, None, {"fingerprint": json.loads(old_fingerprint(path))})
    job(5, "embedding", "volume:1", "done", 1)
    job(10, "pseudo", "volume:1", "waiting", 1)
    job(11, "encoder", "pool:1", "done", None, {"read": [{}] * 99})
    job(12, "encoder", "pool:2", "done")
    job(13, "suggestions", "pool:1:2", "done", None, {"covered": {"embedding-5": [0, 1]}})
    job(14, "predict", "volume:1", "running", 1)
    add("encoder", id=1, artifact="encoder-11", state="retired", n_patches=1, result="{}", created_at=2.0)
    add("encoder", id=2, artifact="encoder-12", state="current", n_patches=2, result='{"dim": 8}', created_at=3.0)
    for row in range(2):
        add("patch", id=row + 1, volume_id=1, row=row, z=0, y=48 * row, x=0, dz=8, dy=48, dx=96)
    add("suggestion", id="s00001", patch_id=1, rank=1, distance=None, reason="seed", state="accepted",
        package="package-6", created_at=3.0, changed_at=4.0)  # fmt: skip
    add("suggestion", id="s00002", patch_id=2, rank=2, distance=0.5, reason="far", state="open",
        package="package-6", published=1, created_at=3.0, changed_at=4.0)  # fmt: skip
    add("received", id=1, suggestion_id="s00001", file="labels/received/s00001-00001.tif", sha256="bb", author="ana",
        inbox_path=b"/ws/inbox/s00001.tif", filed=1, state="accepted", received_at=4.0)  # fmt: skip
    add("label", id=1, patch_id=1, artifact="label-7", received_id=1, origin="human", role="train", n_objects=3,
        author="ana", warnings="[]", accepted_at=5.0)  # fmt: skip
    add("model", version="M_f-001", kind="finetuned", state="promoted", artifact="finetune-8", n_labels=1,
        labels_digest="d", created_at=6.0)  # fmt: skip
    add("round", number=1, state="done", labels_digest="d", n_labels=1, n_gate=0, fraction=0.5, model="M_f-001",
        promoted=1, started_at=5.0, finished_at=6.0)  # fmt: skip
    add("round_label", round=1, label_id=1, role="train")
    add("prediction", volume_id=1, model="M_f-001", artifact="predict-9", published=1, n_objects=4, created_at=7.0)
    db.close()
    return root


@pytest.fixture
def store(workspace: Path) -> Iterator[Store]:
    made = Store(workspace)
    yield made
    made.close()


def test_every_row_is_still_there(workspace):
    def rows() -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(workspace / DATABASE)) as db:
            names = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
            return {name: db.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in names}

    before = rows()
    Store(workspace).close()
    after = rows()
    before.pop("_sqlite_migrations")
    assert {name: after[name] for name in before} == before
    assert after["source_part"] == 2
    with contextlib.closing(sqlite3.connect(workspace / DATABASE)) as db:
        assert db.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        assert not db.execute("PRAGMA foreign_key_check").fetchall()
    Store(workspace).close()  # and once more, with nothing left to do
    assert rows() == after


def test_no_file_has_to_be_read_again(store, folder):
    known = store.sources.known()
    for name in ("a.tif", "twin.tif", "bad.tif", "late.tif"):
        path = os.fsencode(folder / name)
        assert known[path].fingerprint == fingerprint_of(path).to_text()
        assert known[path].members is None
    (settled,) = store.sources.to_read(newest_first=True)
    assert (settled.path, settled.fingerprint) == (
        os.fsencode(folder / "late.tif"),
        fingerprint_of(os.fsencode(folder / "late.tif")).to_text(),
    )
    newest = {r["name"]: r["newest"] for r in store.sources._db.query("SELECT name, newest FROM source")}
    assert newest["a.tif"] == pytest.approx((folder / "a.tif").stat().st_mtime, abs=1e-3)


def test_a_volume_is_linked_with_its_sources_and_can_be_read(store, folder):
    (volume,) = store.volumes.readable()
    assert (volume.id, volume.name, volume.artifact, volume.n_patches) == (1, "a.tif", "volume-1", 2)
    assert volume.path == os.fsencode(folder / "a.tif")
    assert volume.content == fingerprint_of(volume.path).content
    store.sources.set_gone(volume.path, True)
    (volume,) = store.volumes.readable()
    assert volume.path == os.fsencode(folder / "twin.tif")
    assert store.volumes.quality(1) == {}
    row = next(store.volumes._db.query("SELECT folder, part FROM volume"))
    assert row == {"folder": "", "part": ""}


def test_reading_that_had_not_ended_is_planned_anew_and_other_work_goes_on(store):
    assert store.jobs.recover(9.0) == 0
    assert store.jobs.due(9.0) == 1
    assert [j.stage for j in store.jobs.ready(9, long=False)] == ["pseudo"]
    assert store.jobs.get(4).state == "cancelled"
    assert store.jobs.done_by_volume("embedding", "spec") == {1: "embedding-5"}


def test_encoders_keep_their_place_and_what_worked_on_the_whole_pool_is_forgotten(store):
    serving = store.encoders.in_use()
    assert {state: (e.id, e.artifact, e.kind, e.n_patches) for state, e in serving.items()} == {
        "current": (2, "encoder-12", "mae", 2)
    }
    assert (
        serving["current"].design == ""
    )  # how it was made is not known: it serves until one made as config.toml says passes
    assert store.encoders.tried_on("mae", "any") is None
    assert store.encoders.tried_on("descriptor", "any") is None
    for number in (11, 13):
        job = store.jobs.get(number)
        assert (job.state, job.inputs, job.params) == ("done", {}, {})
    lanes = {r["stage"]: r["long"] for r in store.jobs._db.query("SELECT stage, long FROM job")}
    assert lanes == {"volume": 0, "embedding": 0, "pseudo": 0, "suggestions": 0, "encoder": 1, "predict": 1}


def test_work_that_had_not_ended_and_is_done_otherwise_now_is_planned_anew(store):
    assert store.jobs.get(14).state == "cancelled"
    assert store.jobs.get(10).state == "waiting"


@pytest.mark.parametrize(
    "version", ["0002_parts", "0003_fingerprints", "0004_scale", "0005_selection", "0006_pseudo_choice"]
)
def test_every_version_on_the_way_becomes_the_present_one(workspace, version):
    db = open_writer(workspace / DATABASE)
    migrations().apply(db, stop_before=version)
    db.close()
    with contextlib.closing(Store(workspace)) as store:
        assert store.encoders.in_use()["current"].id == 2
        assert [s.id for s in store.annotation.to_publish()] == []
        assert store.selection.covered() == {1: [0, 1]}
        assert store.selection.labelled() == {1: [0]}
        with contextlib.closing(open_reader(workspace / DATABASE)) as reader:
            assert not reader.execute("PRAGMA foreign_key_check").fetchall()


def test_a_source_of_the_first_version_takes_new_volumes(store):
    fingerprint = store.sources.source(4).fingerprint
    store.learning.add_artifact("volume-20", "volume", 1, 1.0, 9.0)
    volume = {"info": INFO | {"sha256": "cc"}, "patches": [{"start": [0, 0, 0], "shape": [8, 96, 96]}], "notes": []}
    result = {"volumes": [volume | {"part": "", "folder": "", "read": {}}], "refused": []}
    (made,) = store.volumes.ingest(4, fingerprint, "volume-20", result, 9.0)
    assert [v.id for v in store.volumes.readable()] == [1, made]
    assert store.training.n_new_labels() == 0  # the round of then has seen the label of then
    assert store.learning.promoted().version == "M_f-001"


def test_status_and_listings_show_it(store, workspace):
    shot = look(workspace, 10.0)
    assert (shot.volumes["ingested"], shot.volumes["set_aside"], shot.volumes["arriving"]) == (1, 1, 2)
    assert (shot.volumes["embedded"], shot.volumes["predicted"]) == (1, 1)
    assert shot.labels == {"accepted": 1, "train": 1, "gate": 0, "new": 0, "rejected": 0, "asked": 0}
    assert [(q.id, q.volume, q.ready) for q in shot.queue] == [("s00002", "a.tif", True)]
    assert [m.version for m in shot.models] == ["M_f-001"]
    assert [(p.kind, p.subject) for p in shot.problems if p.kind == "set aside"] == [("set aside", "bad.tif")]
    with contextlib.closing(open_reader(workspace / DATABASE)) as db:
        listed = {s.name: s for s in listing.sources(db, 10.0)}
        assert (listed["a.tif"].shape, listed["a.tif"].files, listed["a.tif"].notes) == ((8, 96, 96), 1, ("a note",))
        assert (listed["a.tif"].prediction, listed["twin.tif"].sha256) == ("a", "aa")
        assert listed["bad.tif"].reason == "is cut"
        assert {j.name for j in listing.jobs(db, None, 0)} >= {"a.tif", "bad.tif"}
        assert listing.job(db, 10).story == ((1.0, "", "ready", "wanted"),)
        assert [(r.suggestion, r.volume, r.current) for r in listing.received(db)] == [("s00001", "a.tif", True)]
        shown = queue_listing.suggestion(db, "s00002")
        assert (shown.published, shown.arm, dict(shown.why), shown.neighbours) == (True, "selected", {}, ())
