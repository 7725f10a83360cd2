"""Looking again and again: what another process wrote is on the next frame, and what nobody changed is not read again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from daemon.errors import WorkspaceError
from daemon.look import Looker, look
from daemon.store.connection import DATABASE
from daemon.store.report import STALE_S
from tests.daemon.scene import Scene


@pytest.fixture
def scene(tmp_path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


@pytest.fixture
def looker(scene):
    with closing(Looker(scene.workspace.root)) as made:
        yield made


def statements(looker: Looker) -> list[str]:
    """What its connection is asked from now on."""
    asked: list[str] = []
    assert looker._connection is not None
    looker._connection.set_trace_callback(asked.append)
    return asked


def test_what_another_process_wrote_is_on_the_next_frame(scene, looker):
    scene.troubled().running()
    before = looker.look(scene.now)
    code = (
        "import sys, pathlib; from daemon.store.store import Store\n"
        "store = Store(pathlib.Path(sys.argv[1])); store.state.event('volume', 'from elsewhere', 1.0)\n"
        "store.state.problem('folder', 'x', 'gone away', 1.0); store.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(scene.workspace.root)], check=True)
    after = looker.look(scene.now)
    assert after.events[0].message == "from elsewhere" != before.events[0].message
    assert "gone away" in [p.message for p in after.problems]
    assert after == look(scene.workspace.root, scene.now)


def test_what_nobody_changed_is_not_read_again_and_what_is_seen_is_the_same(scene, looker):
    scene.troubled().running()
    first = looker.look(scene.now)
    asked = statements(looker)
    second = looker.look(scene.now)
    assert second == first == look(scene.workspace.root, scene.now)
    assert not [sql for sql in asked if "suggestion" in sql or "FROM job" in sql]
    scene.store.state.event("volume", "one more", scene.now)
    looker.look(scene.now)
    assert [sql for sql in asked if "FROM job" in sql]


def test_what_time_and_the_lock_change_is_fresh_without_any_commit(scene, looker):
    scene.troubled().running()
    seen = looker.look(scene.now + 1)
    assert (seen.at, seen.daemon.state) == (scene.now + 1, "running")
    later = looker.look(scene.now + 1 + STALE_S)
    assert (later.at, later.daemon.state) == (scene.now + 1 + STALE_S, "hanging")
    assert later.problems[0].kind == "daemon"
    scene._lock.release()
    assert looker.look(scene.now + 1).daemon.state == "crashed"


def test_between_looks_it_holds_up_no_checkpoint(scene, looker):
    looker.look(scene.now)
    scene.store.state.event("volume", "one more", scene.now)
    assert scene.store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert looker.look(scene.now).events[0].message == "one more"


def test_another_file_in_its_place_is_read_and_a_lost_one_is_missed(scene, looker, tmp_path):
    path, copy = scene.workspace.root / DATABASE, tmp_path / "copy.db"
    scene.store.checkpoint()
    shutil.copy(path, copy)
    scene.store.state.event("volume", "after the copy", scene.now)
    assert looker.look(scene.now).events[0].message == "after the copy"
    scene.close()
    for left in scene.workspace.root.glob("alscope.db-*"):
        left.unlink()
    os.replace(copy, path)
    assert "after the copy" not in [e.message for e in looker.look(scene.now).events]
    path.unlink()
    assert looker.look(scene.now).daemon.state == "never"


def test_a_file_that_is_overwritten_is_not_shown_as_it_was(scene, looker):
    scene.store.checkpoint()
    looker.look(scene.now)
    path = scene.workspace.root / DATABASE
    scene.close()
    path.write_bytes(b"no database" * 4096)
    with pytest.raises(WorkspaceError, match="damaged"):
        looker.look(scene.now)
