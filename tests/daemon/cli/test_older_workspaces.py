"""Workspaces that another version of alscope made: each command reads them, or says in one line what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.cli.main import main
from daemon.errors import WorkspaceError
from daemon.store.connection import DATABASE, import_sqlite_utils, open_writer
from daemon.store.schema import migrations
from daemon.store.store import Store

COMMANDS = (
    *("status", "status --json", "status --all", "dashboard --once", "dashboard --json", "queue", "queue --qc"),
    *("queue show s00001", "queue minutes", "volumes", "volumes --worst", "jobs", "jobs show 1", "models"),
    *("models show M_f-001", "encoders", "alarms", "expect", "label list", "pseudo scores", "doctor"),
)
KINDLY = "an older alscope made this database; the next `alscope run` brings it up to date"


def versions() -> list[str]:
    """Every schema that there was, by the migration that ended it, oldest first."""
    empty = import_sqlite_utils().Database(memory=True)
    found = [migration.name for migration in migrations().pending(empty)][1:]
    empty.close()
    return found


@pytest.fixture
def made_before(tmp_path, monkeypatch) -> Callable[[str], Path]:
    """Make a workspace as it was before a migration; returns it."""

    def make(name: str) -> Path:
        (tmp_path / "in").mkdir()
        (tmp_path / "config.toml").write_text('[[watch]]\nfolder = "in"\n')
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("ALSCOPE_CONFIG", raising=False)
        root = tmp_path / "workspace"
        root.mkdir()
        db = open_writer(root / DATABASE)
        migrations().apply(db, stop_before=name)
        db.table("daemon").insert(
            {"id": 1, "state": "stopped", "pid": 1, "version": "0.1.0", "started_at": 1.0, "seen_at": 2.0}
        )
        db.close()
        return root

    return make


@pytest.mark.parametrize("version", versions()[::9])
def test_a_workspace_of_any_older_version(version, made_before, capsys):
    made_before(version)
    said = []
    for command in COMMANDS:
        code = main(command.split())
        out, err = capsys.readouterr()
        assert code in (0, 64, 73), (command, err)
        assert err.count("\n") == (code != 0)
        assert code != 73 or KINDLY in err
        assert out or err
        said.append(out + err)
    assert KINDLY in said[0] or "not running" in said[0]
    assert "older alscope" in said[-1]  # doctor


def test_after_one_start_all_is_readable(made_before, capsys):
    Store(made_before(versions()[0])).close()
    for command in COMMANDS:
        assert main(command.split()) in (0, 64), (command, capsys.readouterr())


def test_a_workspace_of_a_newer_version_is_left_alone(made_before, capsys):
    root = made_before("")
    db = open_writer(root / DATABASE)
    db.table("_sqlite_migrations").insert({"migration_set": "alscope", "name": "0999_tomorrow", "applied_at": "2027"})
    db.execute("ALTER TABLE daemon RENAME COLUMN seen_at TO looked_at")
    db.close()
    before = (root / DATABASE).read_bytes()
    with pytest.raises(WorkspaceError, match=r"a newer alscope made this database \(it has 0999_tomorrow\)"):
        Store(root)
    assert main(["status"]) == 73
    assert "a newer alscope made this database" in capsys.readouterr().err
    assert main(["run"]) == 73
    capsys.readouterr()
    assert main(["doctor"]) == 1
    assert "install the alscope that made it again" in capsys.readouterr().out
    assert (root / DATABASE).read_bytes() == before
