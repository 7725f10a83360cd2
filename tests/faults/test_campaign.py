"""A slice of `make faults`: what is injected is injected, the product bears it, and a product that does not is found out."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest

from daemon import files
from tests.faults.campaign import engine_faults, life
from tests.faults.campaign.__main__ import main
from tests.faults.campaign.ledger import Ledger, Line
from tests.faults.campaign.points import Plan

SLICE = [
    ("kill -9 at the n-th side effect", 60),
    ("power cut, again and again", 0),
    ("ENOSPC at side effects", 0),
    ("pages of the database overwritten", 0),
]


@pytest.fixture
def short(monkeypatch):
    """Fewer lives to a run, and one acquisition."""
    monkeypatch.setattr(life, "N_VOLUMES", 1)
    monkeypatch.setattr(engine_faults, "MOST_LIVES", 8)
    monkeypatch.setattr(engine_faults, "LIVES", 3)


@pytest.mark.parametrize(("fault", "number"), SLICE)
def test_nothing_is_lost_duplicated_or_stuck(fault, number, tmp_path, short):
    run = engine_faults.play(fault, tmp_path / "run", number, seed=20261126)
    assert run.faults > 0, "nothing was injected"
    assert not run.found, (run.found, run.points)


def test_a_copy_that_is_not_synced_is_found_out(tmp_path, monkeypatch):
    def carelessly(source: Path, target: Path) -> None:
        tmp = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(source, tmp)
        os.replace(tmp, target)

    monkeypatch.setattr(life, "N_VOLUMES", 1)
    monkeypatch.setattr(files, "copy_durably", carelessly)
    found = (engine_faults.play("power cut, again and again", tmp_path / str(n), n, 1).found for n in itertools.count())
    assert any(found.violations for found in itertools.islice(found, 5))


def test_the_nth_side_effect_is_the_same_in_every_life(tmp_path):
    told = []
    for name in ("a", "b"):
        root = tmp_path / name
        life.prepare(root)
        plan = Plan("kill", 23, str(root / "ws"), told=str(tmp_path / "told"))
        assert life.live(root, plan, life.Weather(1.8e9, {})) == -9
        told.append((tmp_path / "told").read_text())
        (tmp_path / "told").unlink()
    assert told[0].split()[0] == told[1].split()[0]


def test_a_disk_that_is_read_only_at_the_start_is_one_line(tmp_path):
    """The tables of a new database could not be written: the daemon ended with a traceback."""
    life.prepare(tmp_path)
    plan = Plan("EROFS", 1, str(tmp_path / "ws" / "alscope.db"), until=10**6)
    assert life.live(tmp_path, plan, life.Weather(1.8e9, {})) == life.REFUSED
    assert "is its disk mounted read-only?" in (tmp_path / "words").read_text()


def test_a_campaign_goes_on_where_it_was_ended(tmp_path, capsys, short):
    path = tmp_path / "ledger.csv"
    fault = "kill -9 at the n-th side effect"
    Ledger(path).add(Line(fault, 0, 1, 1, 0, 0, 0, 0, 0.1, "."))
    with open(path, "a") as f:
        f.write(f"{fault},1,1,1,0,")  # as a kill leaves it
    assert main(["--runs", "1", "--only", fault, "--ledger", str(path)]) == 0
    assert [line.number for line in Ledger(path).lines] == [0, 1]
    assert f"| {fault} | 2 | 2 | 0 | 0 | 0 | 0 |" in capsys.readouterr().out
    Ledger(path).add(Line(fault, 2, 1, 1, 1, 0, 0, 0, 0.1, "a label is lost."))
    assert main(["--runs", "0", "--ledger", str(path)]) == 1
