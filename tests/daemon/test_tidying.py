"""What piles up over months goes when nobody needs it; what cannot be made again, and what somebody reads, stays; also after a kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.executors.logs import WORKERS_LOG, shorten
from daemon.pages import PageKeeper
from daemon.retention import COMMANDS_S, DAY_S
from daemon.store.room import FIRST_EVENTS, LAST_EVENTS
from daemon.store.rows import EncoderRow, JobRow
from daemon.tidying import Tidying
from tests.daemon.pool import Pool

KEEP_DAYS = 10.0


class House:
    """A pool of three volumes that E-001 embedded first, and E-002 embeds and selects now."""

    def __init__(self, root: Path) -> None:
        self.pool = Pool(root, disk={"keep_days": KEEP_DAYS})
        self.pool.executor.slots = {False: 0, True: 0}
        self.pool.ingested(0, 2)
        self.old = self.pool.encoder()
        self.pool.embedded()
        self.pool.ingested(2, 1)
        self.new = self.pool.encoder()
        for volume in self.pool.volumes():
            self.pool.done(self.pool.planning.planner.embedding(volume, self.new), {"n": 8, "dim": 192})
        self.pool.store.encoders.switch(self.new.id)
        for job in self.query("SELECT key FROM job WHERE state = 'done'"):
            self.files(job["key"])

    def query(self, sql: str, *values: object) -> list[dict[str, object]]:
        return list(self.pool.store._db.query(sql, list(values)))

    def files(self, key: object) -> None:
        folder = self.pool.workspace.artifacts.path(str(key))
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        (folder / "vectors.npy").write_bytes(b"x" * 1000)
        folder.chmod(0o550)

    def tidy(self, days: float = 0.0, pressed: bool = False) -> int:
        """By a daemon that has just started, so many days later."""
        self.pool.now += days * DAY_S
        done, hands = 0, tidying(self.pool)
        for _ in range(20):
            done += hands.run(self.pool.now, pressed)
        return done

    def vectors(self, encoder: EncoderRow) -> set[int]:
        """Volumes of which vectors by this encoder are on record; all of them have their files, and no other vectors are there."""
        rows = self.query("SELECT key, spec, volume_id FROM job WHERE stage = 'embedding' AND state = 'done'")
        there = {p.parent.name for p in self.pool.workspace.artifacts.root.glob("[!.]*/embedding-*/manifest.json")}
        assert there == {r["key"] for r in rows}
        known = self.query("SELECT key FROM artifact WHERE stage = 'embedding' AND cleared_at IS NULL")
        assert there == {r["key"] for r in known}
        spec = self.pool.planning.planner.embedding_spec(encoder)
        return {int(str(r["volume_id"])) for r in rows if r["spec"] == spec}


def tidying(pool: Pool) -> Tidying:
    planner = pool.planning.planner
    specs_of = lambda e: [planner.embedding_spec(e), planner.kept_spec(e)]  # noqa: E731
    return Tidying(pool.store, pool.workspace, KEEP_DAYS, specs_of, PageKeeper(pool.workspace.artifacts))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    with contextlib.closing(made.pool):
        yield made


def test_vectors_by_an_encoder_out_of_use_go_after_some_days(house: House) -> None:
    house.tidy()
    house.tidy(KEEP_DAYS - 1)
    assert house.vectors(house.old) == {1, 2}
    before = house.pool.store.room.results()["embedding"]
    assert house.tidy(2) >= 2
    assert house.vectors(house.old) == set() and house.vectors(house.new) == {1, 2, 3}
    assert house.pool.store.room.results()["embedding"] == before * 3 // 5
    for encoder in (house.old, house.new):  # itself it stays
        assert house.pool.workspace.artifacts.has(encoder.artifact)
    said = [r["message"] for r in house.query("SELECT message FROM event WHERE kind = 'encoder'")]
    assert said == ["vectors of 2 volumes by encoders out of use cleared away (disk.keep_days)"]
    assert house.tidy(1) == 0


def test_at_once_when_room_is_short(house: House) -> None:
    house.tidy()
    house.pool.now += 1
    house.tidy(pressed=True)
    assert house.vectors(house.old) == set() and house.vectors(house.new) == {1, 2, 3}


def test_what_could_not_be_made_again_stays(house: House) -> None:
    house.pool.store.sources.set_gone(house.pool._path(0), True)
    house.tidy()
    house.tidy(KEEP_DAYS + 1)
    assert house.vectors(house.old) == {1}


def test_what_a_job_still_reads_stays_until_it_has_ended(house: House) -> None:
    key = house.query("SELECT key FROM job WHERE stage = 'embedding' AND volume_id = 2 ORDER BY id")[0]["key"]
    house.pool.store._db.execute(
        "INSERT INTO job (key, stage, spec, subject, state, priority, inputs, params, created_at)"
        " VALUES ('n-1', 'novelty', 's', 'pool', 'waiting', 1, json_object('embedding', json_array(json_object('key', ?,"
        " 'path', 'x'))), '{}', 0)",
        [key],
    )
    house.tidy()
    house.tidy(KEEP_DAYS + 1)
    assert house.vectors(house.old) == {2}
    house.pool.store._db.execute("DELETE FROM job WHERE key = 'n-1'")
    house.tidy(1)
    assert house.vectors(house.old) == set()


def test_taken_up_again_an_encoder_embeds_again_and_its_days_begin_anew(house: House) -> None:
    house.tidy()
    house.tidy(KEEP_DAYS + 1)
    store = house.pool.store
    store._db.execute("UPDATE encoder SET state = 'retired' WHERE id = ?", [house.new.id])
    store._db.execute("UPDATE encoder SET state = 'current' WHERE id = ?", [house.old.id])
    house.tidy(KEEP_DAYS + 1)  # E-002 is seen out of use now
    assert house.vectors(house.new) == {1, 2, 3}
    for wanted in house.pool.planning.pool.embeddings(house.pool.now):
        job = house.pool.done(wanted, {"n": 8, "dim": 192})
        house.files(job.key)
    assert house.vectors(house.old) == {1, 2, 3}
    house.tidy(KEEP_DAYS + 1)
    assert house.vectors(house.old) == {1, 2, 3} and house.vectors(house.new) == set()


def test_results_that_were_taken_in_go_and_are_not_asked_for_again(house: House) -> None:
    (wanted,) = list(house.pool.planning.pool.novelty())
    job = house.pool.done(wanted, {"novelty": {}})
    house.files(job.key)
    house.tidy(KEEP_DAYS - 1)
    assert house.pool.workspace.artifacts.has(job.key)
    house.tidy(2)
    assert not house.pool.workspace.artifacts.has(job.key)
    again = house.pool.store.jobs.get(job.id)
    assert again is not None and again.state == "done"
    assert house.pool.store.jobs.want(wanted, house.pool.now) is None


KILLED = """
import os, signal, sys
from pathlib import Path
import alcore.artifact
from daemon.pages import PageKeeper
from daemon.store.room import Room
from daemon.store.store import Store
from daemon.tidying import Tidying
from daemon.workspace import Workspace
root, when, now, *specs = sys.argv[1:]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if when == "before": Tidying._discard = die
if when == "aside": alcore.artifact.remove_tree = die
if when == "unrecorded": Room.cleared = die
workspace = Workspace(Path(root))
hands = Tidying(Store(workspace.root), workspace, 10.0, lambda e: specs, PageKeeper(workspace.artifacts))
while True: hands.run(float(now))
"""


@pytest.mark.parametrize("when", ["before", "aside", "unrecorded"])
def test_killed_in_the_middle_the_next_puts_it_right(house: House, when: str) -> None:
    house.tidy()
    house.pool.now += (KEEP_DAYS + 1) * DAY_S
    spec = house.pool.planning.planner.embedding_spec(house.old)
    command = [sys.executable, "-c", KILLED, str(house.pool.workspace.root), when, str(house.pool.now), spec]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    for row in house.query("SELECT key FROM job WHERE stage = 'embedding' AND state = 'done'"):
        assert house.pool.workspace.artifacts.has(str(row["key"]))  # nobody takes for there what is not
    house.tidy()
    assert house.vectors(house.old) == set() and house.vectors(house.new) == {1, 2, 3}
    house.pool.workspace.artifacts.clean_staging()
    assert not list(house.pool.workspace.artifacts.staging.iterdir())


# logs


def log_of(pool: Pool, job: int) -> Path:
    folder = pool.workspace.places.job(job)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("what happened")
    (folder / "order.json").write_text("{}")
    return folder


def failed(pool: Pool, job: JobRow, stage: str) -> None:
    pool.store._db.execute("UPDATE job SET state = 'failed', error = 'no', stage = ? WHERE id = ?", [stage, job.id])


def test_logs_of_jobs_that_ended_go_and_those_that_the_status_names_stay(house: House) -> None:
    pool = house.pool
    jobs = [
        job
        for row in house.query("SELECT id FROM job ORDER BY id")
        if (job := pool.store.jobs.get(int(str(row["id"]))))
    ]
    done, named, reading, with_scratch, recent, running = (log_of(pool, job.id) for job in jobs[:6])
    failed(pool, jobs[1], "pseudo")
    failed(pool, jobs[2], "volume")
    (with_scratch / "scratch").mkdir()
    pool.now += (KEEP_DAYS + 1) * DAY_S
    pool.store._db.execute("UPDATE job SET finished_at = ? WHERE id = ?", [pool.now - DAY_S, jobs[4].id])
    pool.store._db.execute("UPDATE job SET state = 'running', lease = 'me' WHERE id = ?", [jobs[5].id])
    lost, new = log_of(pool, 9999), log_of(pool, 9998)
    os.utime(lost, (pool.now - 11 * DAY_S,) * 2)
    os.utime(new, (pool.now,) * 2)
    house.tidy()
    assert [p for p in (done, reading, lost) if p.exists()] == []
    assert [p for p in (named, with_scratch, recent, running, new) if not p.exists()] == []


def test_a_log_is_cut_while_somebody_writes_to_it(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with open(path, "ab", buffering=0) as writer:
        for n in range(1000):
            writer.write(b"line %d\n" % n)
        assert not shorten(path, cap=20_000, tail=500)
        assert shorten(path, cap=5000, tail=500)
        writer.write(b"the next\n")
    lines = path.read_text().splitlines()
    assert path.stat().st_size < 700 and "before this line were removed" in lines[0]
    numbers = [int(line.removeprefix("line ")) for line in lines[1:-1]]
    assert numbers == list(range(numbers[0], 1000)) and lines[-1] == "the next"
    assert not shorten(tmp_path / "none.txt")


def test_a_running_job_cannot_fill_the_disk_with_its_log(house: House) -> None:
    running = house.query("SELECT id FROM job ORDER BY id DESC")[0]["id"]
    house.pool.store._db.execute("UPDATE job SET state = 'running', lease = 'me' WHERE id = ?", [running])
    logs = [log_of(house.pool, int(str(running))) / "log.txt", house.pool.workspace.places.jobs / WORKERS_LOG]
    for log in logs:
        with open(log, "wb") as f:
            f.truncate(20_000_001)
    tidying(house.pool).run(house.pool.now)
    assert [log.stat().st_size < 2_100_000 for log in logs] == [True, True]


# rows


def test_the_story_of_a_job_that_moved_ten_thousand_times_is_shortened(house: House) -> None:
    jobs = house.pool.store.jobs
    (row,) = house.query("SELECT MAX(id) AS id FROM job")
    job = int(str(row["id"]))
    add = "INSERT INTO job_event (job_id, at, start, finish, note) VALUES (?, ?, 'ready', ?, ?)"
    for n in range(1000):
        house.pool.store._db.execute(add, [job, n, "failed" if n % 100 == 50 else "running", str(n)])
    full = jobs.story(job)
    others = house.query("SELECT * FROM job_event WHERE job_id <> ?", job)
    house.tidy()
    story = jobs.story(job)
    failures = [line for line in full if "failed" in line]
    assert story[:FIRST_EVENTS] == full[:FIRST_EVENTS] and story[-LAST_EVENTS:] == full[-LAST_EVENTS:]
    assert [line for line in story if "failed" in line] == failures
    assert len(story) <= FIRST_EVENTS + LAST_EVENTS + len(failures)
    assert house.query("SELECT * FROM job_event WHERE job_id <> ?", job) == others
    assert house.tidy() == 0


def test_answers_to_commands_are_forgotten_but_not_what_the_ledger_counts(house: House) -> None:
    state, now = house.pool.store.state, house.pool.now
    for number, (verb, age) in enumerate([("pause", 1.1), ("pause", 0.9), ("skip", 1.1)]):
        state.command_done(str(number), verb, {}, True, "done", now - age * COMMANDS_S)
    house.tidy()
    assert [r["id"] for r in house.query("SELECT id FROM command ORDER BY id")] == ["1", "2"]
