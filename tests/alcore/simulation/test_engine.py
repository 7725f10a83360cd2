"""A run in real processes: killed in the middle it goes on to the same tables, alone in its folder, and leaves no orphan."""

from __future__ import annotations

import csv
import errno
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from alcore.errors import DiskFullError, PartOfSetError, PermanentError, TransientError
from alcore.simulation import folder, worker
from alcore.simulation.engine import Engine, Progress
from alcore.simulation.pair import Pair, found
from alcore.simulation.settings import Settings
from alcore.simulation.worker import Player, Run
from tests.alcore.simulation.conftest import write_tissue

SETTINGS = Settings(patch_px=(6, 20, 20), regions=2)
ROOT = Path(__file__).resolve().parents[3]


def asked(tissue: Pair, out: Path, **more: object) -> Run:
    given: dict[str, object] = {
        "strategies": ("random", "coreset", "guided"),
        "starts": (False, True),
        "seeds": (0,),
        "learner": "fast",
    }
    return Run((tissue,), SETTINGS, out=out, **(given | more))  # type: ignore[arg-type]


def table(out: Path) -> list[dict[str, str]]:
    """results.csv but for what the clock says."""
    with open(out / "results.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def command(tissue: Pair, out: Path) -> list[str]:
    pairs = ["--image", str(tissue.image), "--labels", str(tissue.labels)]
    what = ["--strategies", "random,coreset,guided", "--pretraining", "both", "--seeds", "1", "--regions", "2"]
    return [
        *(sys.executable, "-m", "daemon.cli.main", "simulate", *pairs, *what, "--patch", "6", "20", "20"),
        *("--minutes-per-object", "0.25", "--out", str(out), "--workers", "2", "--device", "cpu"),
    ]


def children_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.slow
def test_a_killed_run_leaves_no_orphan_and_goes_on_to_the_same_tables(tissue: Pair, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(command(tissue, killed), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 240
    while len(cells := list(killed.glob("cells/*/*/*.json"))) < 6:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    workers = children_of(process)
    assert workers
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    assert not list(killed.glob("cells/*/*/*.tmp"))
    before = {path: path.stat().st_mtime_ns for path in cells}
    assert len(before) < 30
    subprocess.run(command(tissue, killed), cwd=ROOT, check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    found = Engine(asked(tissue, whole), 1, lambda progress: None, "guided").play()
    assert table(killed) == table(whole) and found.rows == found.played == 2 * (1 + 2 * (1 + 3 * 3))
    pages = ("report.html", *(str(path.relative_to(whole)) for path in sorted(whole.glob("tables/*"))))
    assert len(pages) > 4
    assert all((killed / name).read_bytes() == (whole / name).read_bytes() for name in pages[1:])
    assert (killed / "picks.csv").read_bytes() == (whole / "picks.csv").read_bytes()
    with np.load(killed / "latent.npz") as one, np.load(whole / "latent.npz") as two:
        assert one.files == two.files
        assert all((one[name] == two[name]).all() for name in one.files)
    mine, theirs = (json.loads((out / "run.json").read_text()) for out in (killed, whole))
    assert mine["pools"] == theirs["pools"] and mine["settings"]["expert"] == theirs["settings"]["expert"]


def test_what_is_there_is_not_played_again_and_more_can_be_asked_for(tissue: Pair, tmp_path: Path) -> None:
    told: list[Progress] = []
    run = asked(tissue, tmp_path, strategies=("random",), starts=(False,))
    found = Engine(run, 1, told.append).play()
    rows = found.rows
    assert rows == found.played == 2 * (1 + 1 + 3)
    assert told[-1].done == told[-1].total == rows and {p.doing for p in told if not p.total} == {"reading the images"}
    first = table(tmp_path)
    again = Engine(run, 1, told.append).play()
    assert (again.rows, again.played) == (rows, 0)
    assert again.shown == [] and not (tmp_path / "report.html").exists()  # nobody asked for pictures
    assert table(tmp_path) == first
    more = asked(tissue, tmp_path, strategies=("random", "coreset"), starts=(False,))
    (tmp_path / folder.FAILURE).write_text("of an earlier run")
    said: list[str] = []
    grown = Engine(more, 1, told.append, remark=said.append).play()
    assert said == [] and not (tmp_path / folder.FAILURE).exists()
    assert (grown.rows, grown.played) == (rows + 2 * 3, 2 * 3)
    with open(tmp_path / "picks.csv", newline="") as file:
        picks = list(csv.DictReader(file))
    assert len(picks) == 2 * 2 * 8
    assert [int(p["order"]) for p in picks[:8]] == list(range(1, 9))
    Engine(replace(run, strategies=("coreset",)), 1, told.append, remark=said.append).play()
    assert len(said) == 1 and said[0].startswith("6 results of an earlier run")
    assert "are no longer shown (strategies random)" in said[0] and "kept in cells/" in said[0]
    other = replace(run.settings, test_share=0.3)
    Engine(replace(run, settings=other), 1, told.append, remark=said.append).play()
    assert len(said) == 2 and "showed results of other settings, files or versions of alscope" in said[1]
    with np.load(tmp_path / "latent.npz") as latent:
        assert latent["embeddings_0"].shape[0] == 64 and list(latent["pools"]) == [tissue.name]
        for pick in picks:
            assert [int(pick[a]) for a in "zyx"] == latent["start_0"][int(pick["patch"])].tolist()


def test_several_images_are_several_pools(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two")):
        write_tissue(tmp_path / "data" / name, seed)
    settings = replace(SETTINGS, regions=1, budgets=(2,))
    run = Run(found(tmp_path / "data").pairs, settings, ("random",), (False,), (0,), "fast", tmp_path / "out")
    player = Player(run)
    plan = player.plan()
    assert [curve.first.pool for curve in plan.curves] == ["one", "one", "two", "two"]
    assert sum(player.play(curve) for curve in plan.curves) == 4 == player.report(plan.curves)
    assert len({row["f1"] for row in table(run.out) if row["strategy"] == "all"}) == 2
    with np.load(run.out / "latent.npz") as latent:
        assert list(latent["pools"]) == ["one", "two"]
        assert (latent["foreground_0"] != latent["foreground_1"]).any()
    about = json.loads((run.out / "run.json").read_text())
    assert about["pools"]["one"]["image"]["key"] != about["pools"]["two"]["image"]["key"]


def test_ctrl_c_ends_every_process(tissue: Pair, tmp_path: Path) -> None:
    process = subprocess.Popen(command(tissue, tmp_path), cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)
    until = time.monotonic() + 120
    while not (workers := children_of(process)):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in err
    assert not psutil.wait_procs(workers, timeout=10)[1]


@pytest.mark.timeout(400)
def test_ctrl_c_makes_tables_of_whole_runs_and_says_how_to_go_on(tissue: Pair, tmp_path: Path) -> None:
    more = [part if part != "1" else "6" for part in command(tissue, tmp_path)]  # seeds
    process = subprocess.Popen(more, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)
    until = time.monotonic() + 240
    while len(list(tmp_path.glob("cells/*/*/*.json"))) < 30:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.fullmatch(
        r"alscope: stopped: what was played is kept in \S+, and the same command goes on there; \d+ results are in \S+\n",
        err.decode(),
    )
    n_cells = len(list(tmp_path.glob("cells/*/*/*.json")))
    assert n_cells >= 30 and len(table(tmp_path)) == n_cells < 6 * 2 * 21
    assert re.search(r"Not finished: \d of 12 runs", (tmp_path / "report.html").read_text())
    assert list(tmp_path.glob("tables/strategies_*.md")) and not list(tmp_path.glob("cells/*/*/*.tmp"))


def test_an_error_in_the_middle_is_one_line(tissue: Pair, tmp_path: Path) -> None:
    """Workers that are killed leave semaphores behind, of which Python's tracker has nothing to say here."""
    process = subprocess.Popen(command(tissue, tmp_path), cwd=ROOT, stderr=subprocess.PIPE)
    until = time.monotonic() + 240
    while len(cells := list(tmp_path.glob("cells/*/*/*.json"))) < 2:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    for split in (0, 1):
        for strategy in ("random", "coreset", "guided"):
            for n in (2, 4, 8):
                (cells[0].parent / f"fast-pretrained-{strategy}-{split}-0-{n}.json").write_text("{")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 65 and b"not a readable cell" in err and err.count(b"\n") == 1


def test_a_damaged_file_of_the_cache_is_named(tissue: Pair, tmp_path: Path) -> None:
    run = asked(tissue, tmp_path, strategies=("random",), starts=(False,))
    folder.prepare(tmp_path)
    (tmp_path / folder.LOCK).touch()
    Player(run).plan()
    (path,) = tmp_path.glob("cache/artifacts/*/embedding-*/embeddings.npy")
    whole = path.read_bytes()
    path.chmod(0o640)
    path.write_bytes(b"")
    with pytest.raises(PermanentError, match=r"embeddings.npy: has 0 bytes in place of \d+ \(.*remove its folder") as e:
        Engine(run, 1, lambda progress: None).play()
    subprocess.run(str(e.value).split("made again: ")[1], shell=True, check=True)
    assert Engine(run, 1, lambda progress: None).play().rows
    assert path.read_bytes() == whole


def test_a_full_disk_is_no_fault_of_the_input_and_hides_no_cause(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for error in (full, DiskFullError("x: the disk is full; the work then goes on by itself")):
        found = worker._failure(error, tmp_path)
        assert isinstance(found, DiskFullError) and str(found).endswith("then the same command goes on")
    told = worker._failure(RuntimeError("a\nb"), tmp_path / "gone")
    assert isinstance(told, str) and told.startswith("RuntimeError: a b (the whole story could not be written")
    said = worker._failure(RuntimeError("c"), tmp_path)
    assert isinstance(said, str) and "RuntimeError: c" in (tmp_path / folder.FAILURE).read_text()
    several = PartOfSetError("a.tif: is one of two", "b.tif", ["a.tif", "b.tif"])
    assert str(pickle.loads(pickle.dumps(worker._failure(several, tmp_path)))) == "a.tif: is one of two"


def test_a_folder_is_for_one_run_at_a_time(tissue: Pair, tmp_path: Path) -> None:
    run = asked(tissue, tmp_path)
    folder.prepare(tmp_path)
    with folder.alone(tmp_path), pytest.raises(TransientError, match="another simulation is at work in this folder"):
        Engine(run, 1, lambda progress: None).play()


def test_what_a_worker_finds_wrong_reaches_the_person(tissue: Pair, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="--strategies 'best' does not exist; known: random, oracle"):
        Engine(asked(tissue, tmp_path, strategies=("best",)), 1, lambda progress: None).play()
