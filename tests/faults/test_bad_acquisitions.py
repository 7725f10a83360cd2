"""Everything that should not be in a watched folder, at once, before a real daemon: each file ends as a reason or as a whole volume."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.types import Box
from alcore.volumes import open_volume, parts
from daemon.wording import clean
from tests.alcore.volumes import malformed
from tests.daemon.daemons import RealDaemon, real_daemon
from tests.daemon.test_status import CONTROL
from tests.faults import bad_files
from tests.faults.invariants import check

CONFIG = """
workspace = "ws"
[[watch]]
folder = "in/stacks"
settle_s = 0.3
axes = "ZYX"
[[watch]]
folder = "in/others"
settle_s = 0.3
[patch]
shape_px = [8, 64, 64]
[encoder]
min_patches = 100000
[training]
pretrain = false
[run]
min_free_gb = 0.0
rescan_s = 2.0
nice = 0
workers = 2
max_volume_gb = 8.0
"""
REMEDY = re.compile(
    r"(copy|copy or save|save) (it|them)|copy what it points to|leave it out|set \w+ =|check its permissions|export that",
    re.IGNORECASE,
)
"""What tells a person what to do."""
JARGON = re.compile(r"[A-Z]\w+Error|Exception|Traceback|errno|0x[0-9a-f]{6}|<\w+[ .]")
"""What tells a person nothing."""


def query(daemon: RealDaemon, sql: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(f"file:{daemon.workspace}/alscope.db?mode=ro", uri=True, timeout=10)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def filled(stacks: Path, others: Path, scratch: Path, find: Callable[[str], Path]) -> tuple[set[str], list[str]]:
    """Everything bad, in the two watched folders. Returns the names of what is no file, and which real data are not at hand."""
    absent = []
    for folder in (stacks, others, scratch):
        folder.mkdir(parents=True)
    bad_files.malformed_tiffs(stacks)
    bad_files.malformed_zarrs(others, scratch)
    bad_files.own_formats(others, scratch)
    bad_files.oddly_named(others)
    tifffile.imwrite(scratch / "secret.tif", malformed.stack(9), photometric="minisblack")
    left_alone = bad_files.strange(stacks, scratch)
    try:
        (stacks / "real").mkdir()
        bad_files.real_malformed(stacks / "real", find("malformed"))
    except pytest.skip.Exception as e:
        absent.append(str(e))
    try:
        formats = find("formats")
        for name, path in bad_files.REAL.items():
            bad_files.truncated(others, formats / path, name)
    except pytest.skip.Exception as e:
        absent.append(str(e))
    return left_alone, absent


def test_every_bad_acquisition_ends_as_a_reason(
    tmp_path: Path, real_data: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with real_daemon(tmp_path, CONFIG) as daemon:
        if os.geteuid() == 0 and shutil.which("setpriv"):  # root reads everything, unless it forgoes that
            daemon.prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
        stacks, others = daemon.folder / "stacks", daemon.folder / "others"
        left_alone, absent = filled(stacks, others, tmp_path / "scratch", real_data)
        good = bad_files.good(stacks)
        if os.geteuid() == 0 and not daemon.prefix:
            (stacks / "unreadable.tif").unlink()
        expected = {str(p.relative_to(daemon.folder)) for p in acquisitions(daemon.folder)}
        daemon.start()
        daemon.ready()

        def answered() -> set[str]:
            rows = query(daemon, "SELECT path FROM source WHERE state IN ('ingested', 'set_aside')")
            return {os.path.relpath(os.fsdecode(path), daemon.folder) for (path,) in rows}

        end = time.monotonic() + 90
        while answered() != expected:  # none is left arriving, none is there twice
            assert time.monotonic() < end, (expected ^ answered(), daemon.log[-2000:])
            time.sleep(0.2)
        shot = daemon.wait(lambda s: not s.running, 30)
        rows = query(
            daemon,
            "SELECT s.path, s.name, s.state, s.reason, json_extract(v.info, '$.shape') FROM source s"
            " LEFT JOIN source_part l ON l.source_id = s.id LEFT JOIN volume v ON v.id = l.volume_id",
        )
        kinds = query(daemon, "SELECT DISTINCT error_kind, attempts FROM job WHERE state <> 'done'")
        volumes, status = daemon.alscope("volumes"), daemon.alscope("status", "--problems")
        assert daemon.stop() == 0

    with capsys.disabled():
        print("\n\nacquisitions that should not be there")
        for path, _, state, reason, shape in sorted(rows):
            name = os.path.relpath(os.fsdecode(path), daemon.folder)
            print(f"{clean(name)[-48:]:48} {state:9} {shape or reason}")
        print("\n".join(absent))
    told = {os.path.relpath(os.fsdecode(path), daemon.folder): (name, state, why) for path, name, state, why, _ in rows}
    assert set(told) == expected
    assert not left_alone & {name for name, _, _ in told.values()}
    read = {name: tuple(json.loads(shape))[1:] for _, name, state, _, shape in rows if state == "ingested"}
    assert good.items() <= read.items()
    for name in read.keys() - good.keys():  # what was cut off behind the images: not one voxel may differ
        original = real_data("formats") / bad_files.REAL[name.split(" of ")[1]]
        np.testing.assert_array_equal(voxels(others / name), voxels(original))
        assert ".czi" in name
    for name, state, why in told.values():
        if state == "set_aside":
            assert name in why
            assert "\n" not in why and len(why) < 330 + len(name), why
            assert REMEDY.search(why) and not JARGON.search(why.replace(name, "")), why
            assert clean(why) in volumes.stdout and clean(why) in status.stdout
    assert kinds == [("unreadable", 1)]  # no worker died of one, and none was tried twice
    assert (volumes.returncode, status.returncode) == (0, 0)
    assert not CONTROL.search(volumes.stdout + status.stdout)
    assert shot.volumes["arriving"] == 0
    check(daemon.workspace)


def voxels(path: Path) -> list[np.ndarray[Any, Any]]:
    """(C, Z, Y, X) of every volume in a file."""
    found = []
    for part in parts(path):
        with open_volume(path, dict(part.select)) as volume:
            found.append(volume.read(Box((0, 0, 0), volume.shape[1:])))
    return found


def acquisitions(folder: Path) -> list[Path]:
    """Every file, and every tree, that must be answered for. Links and what is neither file nor folder are left alone."""
    found: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink():
            continue
        if entry.is_dir() and entry.suffix == ".zarr":
            found += [entry] if any(p.is_file() for p in entry.rglob("*")) else []
        elif entry.is_dir():
            found += acquisitions(entry)
        elif entry.is_file():
            found.append(entry)
    return found
