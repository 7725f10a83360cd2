"""Volumes with names that are hard to bear, through a real daemon to their segmentations, and on everything that people look at."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.arrays.synthetic import em_volume
from alcore.volumes.labels import read_labels
from daemon.demo.expert import Expert
from daemon.demo.microscope import calibration
from daemon.look import look
from daemon.store.sources import display_name
from daemon.view import PAGES, View
from tests.daemon.daemons import RealDaemon, real_daemon
from tests.daemon.test_dashboard import frame
from tests.daemon.test_status import CONTROL
from tests.faults.invariants import check
from tests.faults.test_bad_acquisitions import query
from tests.faults.test_kill_loop import CONFIG, VOXEL_UM

NAMES = (
    b"with spaces [and] brackets.tif",
    "\U0001f52c emoji.tif".encode(),
    b"new\nline.tif",
    b"x" * 251 + b".tif",
    b"not \xff utf-8.tif",
    b"not \xfe utf-8.tif",
    b"[red]markup[bold] [link=x].tif",
    b"esc\x1b[2J\x1b[31mape.tif",
    "\u202egpj.etirw ot thgir.tif".encode(),
    ("\u6f22" * 83).encode() + b".tif",
    ("\U00010400" * 62 + "abc").encode() + b".tif",
    b"a?b.tif",
    b"a*b.tif",
    b"a:b.tif",
    b"-rf.tif",
    b"--help.tif",
    b" leading and trailing .tif",
    b"CASE.tif",
    b"case.tif",
    "\u00c4\u00d6.tif".encode(),
    "\u00e4\u00f6.tif".encode(),
    b"con.tif",
    b"AUX.x.TIF",
    b"100%s{0}.tif",
    b"$(touch pwned) `id` '; DROP TABLE volume; --.tif",
    b"d\xff\n[red]\x1b[31m/in a folder.tif",
)
ILLEGAL = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|^[ .-]|[ .]$')
"""What some file system, or a careless shell, does not bear in a name."""
RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
LISTS = (["volumes"], ["queue"], ["jobs", "--limit", "0"], ["models"], ["label", "list"])


def written(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """A volume of one patch under every name. Returns the truth by the names that people are shown."""
    truth = {}
    for number, name in enumerate(NAMES):
        image, labels = em_volume((8, 48, 48), VOXEL_UM, np.random.default_rng(number + 10))
        path = Path(os.fsdecode(os.path.join(bytes(folder), name)))
        path.parent.mkdir(exist_ok=True)
        metadata, resolution = calibration(VOXEL_UM)
        told = metadata | {"axes": "ZYX"}
        tifffile.imwrite(path, image, imagej=True, metadata=told, resolution=resolution)
        truth[display_name(bytes(path))] = labels
    return truth


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RealDaemon]:
    with real_daemon(tmp_path, CONFIG + "workers = 2\n") as made:
        yield made


@contextlib.contextmanager
def working(expert: Expert) -> Iterator[None]:
    """An expert who answers while inside."""
    stop = threading.Event()
    thread = threading.Thread(target=expert.run, args=(stop,), name="expert")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not expert.error


def test_names_survive_everywhere(daemon: RealDaemon) -> None:
    truth = written(daemon.folder)
    assert len(truth) == len(NAMES)
    daemon.start()
    daemon.ready()
    daemon.wait(lambda s: s.volumes["ingested"] == len(NAMES), 120)
    for name in NAMES[:-1]:  # nothing asked for such labels
        with open(os.path.join(bytes(daemon.workspace / "inbox"), name.removesuffix(b".tif") + b".tif"), "wb") as f:
            f.write(b"a label")
    # how many of the four that the queue holds depends on how many volumes had come when it was filled
    daemon.wait(lambda s: all(q.ready for q in s.queue) and len(s.queue) >= 2 and not s.running, 120)
    looked_at(daemon)
    rejected = daemon.workspace / "rejected"
    daemon.wait(lambda s: len(list(rejected.iterdir())) == 2 * len(NAMES[:-1]), 60)  # each with its reason
    packaged(daemon, truth)
    assert daemon.stop() == 0
    check(daemon.workspace)
    assert "Traceback" not in daemon.log


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_names_survive_until_the_segmentations(
    daemon: RealDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = written(daemon.folder)
    expert = Expert(truth, daemon.workspace, 0.0, lambda: len(expert.answered) < 4)
    daemon.start()
    daemon.ready()
    with working(expert):
        daemon.wait(lambda s: s.volumes["predicted"] == len(NAMES) and not s.running, 400)
    looked_at(daemon)
    published(daemon)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in (b"x" * 251 + b".tif", b"not \xff utf-8.tif", b"-rf.tif"):
        done = daemon.alscope("predict", os.fsdecode(os.path.join(bytes(daemon.folder), name)), timeout=120)
        assert done.returncode == 0, done.stderr
        assert not CONTROL.search(done.stdout + done.stderr)
    made = sorted(p.suffix for p in here.iterdir())
    assert made == [".csv"] * 3 + [".tif"] * 3
    assert daemon.stop() == 0
    check(daemon.workspace)
    assert "Traceback" not in daemon.log


def looked_at(daemon: RealDaemon) -> None:
    """Every list and every page of the dashboard: whole lines of harmless text, valid JSON, the names as they are told."""
    shown = {display_name(name) for name in NAMES}
    for command in LISTS:
        listed = daemon.alscope(*command, "--json")
        plain = daemon.alscope(*command)
        assert (listed.returncode, plain.returncode) == (0, 0), plain.stderr
        assert not CONTROL.search(plain.stdout + listed.stdout)
        found = json.loads(listed.stdout)
        if command == ["volumes"]:
            assert {v["name"] for v in found} == shown
            assert all(name in plain.stdout for name in shown)
            assert len(plain.stdout.splitlines()) == len(found) + 1
        if command == ["queue"]:
            assert {q["volume"] for q in found} <= shown
    for options in ([], ["--problems"], ["--json"]):
        done = daemon.alscope("status", *options)
        assert done.returncode == 0
        assert not CONTROL.search(done.stdout)
    for page in PAGES:
        for width, height in ((80, 24), (200, 60)):
            text = "".join(frame(look(daemon.workspace, time.time()), width, height, View(page=page)))
            assert not CONTROL.search(text)


def published(daemon: RealDaemon) -> None:
    """One segmentation for each volume and its table, under a name of its own that every file system bears."""
    files = {f.decode() for f in os.listdir(bytes(daemon.workspace / "predictions"))}
    names = sorted(f for f in files if f.endswith(".tif"))
    assert len(names) == len(NAMES)
    assert files == set(names) | {str(Path(n).with_suffix(".csv")) for n in names}
    assert len({n.casefold() for n in names}) == len(NAMES)
    for name in names:
        assert not ILLEGAL.search(name) and not RESERVED.search(name), name
        assert len(name.encode()) <= 200, name
        instances, _ = read_labels(daemon.workspace / "predictions" / name)
        assert instances.shape == (8, 48, 48)
    listed = json.loads(daemon.alscope("volumes", "--json").stdout)
    assert {Path(v["prediction"]).name for v in listed} == set(names)
    assert query(daemon, "SELECT COUNT(DISTINCT path) FROM source WHERE state = 'ingested'") == [(len(NAMES),)]


def packaged(daemon: RealDaemon, truth: dict[str, np.ndarray[Any, Any]]) -> None:
    """What lies in the queue can be opened, and says where it comes from."""
    folders = [p for p in (daemon.workspace / "queue").iterdir() if not p.name.startswith(".")]
    assert folders
    for folder in folders:
        assert json.loads((folder / "suggestion.json").read_text())["volume_name"] in truth
        assert tifffile.imread(folder / "image.tif").shape[-2:] == (48, 48)
