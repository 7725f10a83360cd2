"""The real daemon and its inbox: every tool's file, slow and partial saves, odd clocks, and files that cannot be labels."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from alcore.arrays.synthetic import em_volume
from alcore.volumes.labels import read_labels
from tests.alcore.stages.label_writers import TOOLS
from tests.daemon.daemons import RealDaemon, real_daemon
from tests.daemon.test_bad_input import CONFIG

USED = (
    "napari",
    "Fiji stack",
    "Fiji hyperstack of 32 bits",
    "QuPath",
    "NRRD gzip",
    "NIfTI gz float",
    "ITK nrrd",
    "ITK nii",
)
SETTLE_S = 0.2
N = 12


def asked(daemon: RealDaemon, truth: np.ndarray) -> dict[str, np.ndarray]:
    """The truth of every patch that waits, by suggestion."""
    shot = daemon.wait(lambda s: sum(q.ready for q in s.queue) == N, 240)
    found = {}
    for q in shot.queue:
        found[q.id] = truth[tuple(slice(a, a + n) for a, n in zip(q.start, q.shape, strict=True))]
    return found


def saved_slowly(path: Path, content: bytes, closes: bool) -> None:
    """In three pieces, each pause longer than the inbox waits; closing the file between them or not."""
    pieces = [content[:100], content[100 : len(content) // 2], content[len(content) // 2 :]]
    file = open(path, "wb")  # noqa: SIM115
    for piece in pieces:
        file.write(piece)
        file.flush()
        if closes:
            file.close()
            time.sleep(SETTLE_S / 2)
            file = open(path, "ab")  # noqa: SIM115
        else:
            time.sleep(3 * SETTLE_S)
    file.close()


def listed(daemon: RealDaemon) -> dict[str, dict[str, object]]:
    """The newest label of every suggestion."""
    rows = json.loads(daemon.alscope("label", "list", "--json").stdout)
    return {r["suggestion"]: r for r in reversed(rows)}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_is_saved_there_ends_as_a_label_or_as_a_reason(tmp_path: Path) -> None:
    image, truth = em_volume((8, 192, 144), (0.05, 0.01, 0.01), np.random.default_rng(1), fraction=0.3)
    truth = truth.astype(np.uint16)
    truth[:, ::48, ::48] = np.where(truth[:, ::48, ::48] == 0, truth.max() + 1, truth[:, ::48, ::48])  # none is empty
    margin = "\n[annotation]\nmargin_px = [0, 0, 0]\n[selection]\nqueue_depth = 12\ncontrol_share = 0.0\nvolume_share = 1.0\n"
    with real_daemon(tmp_path, CONFIG + margin) as daemon:
        tifffile.imwrite(daemon.folder / "a.tif", image, photometric="minisblack", metadata={"axes": "ZYX"})
        daemon.start()
        wanted = asked(daemon, truth)
        names, inbox = iter(wanted), daemon.workspace / "inbox"
        good: dict[str, np.ndarray] = {}
        for tool in USED:
            name = next(names)
            TOOLS[tool](tmp_path / name, wanted[name])
            (file,) = [p for p in tmp_path.glob(f"{name}.*") if p.is_file()]
            os.rename(file, inbox / file.name)
            good[name] = wanted[name]
        slow = []
        for closes in (True, False):
            name = next(names)
            tifffile.imwrite(tmp_path / "slow.tif", wanted[name], compression="zlib")
            content = (tmp_path / "slow.tif").read_bytes()
            slow.append(threading.Thread(target=saved_slowly, args=(inbox / f"{name}.tif", content, closes)))
            slow[-1].start()
            good[name] = wanted[name]
        for name, when in (
            (next(names), 4e9),
            (next(names), 0.0),
        ):  # of a machine whose clock is wrong, in 2096 and in 1970
            tifffile.imwrite(tmp_path / f"{name}.tif", wanted[name])
            os.utime(tmp_path / f"{name}.tif", (when, when))
            os.rename(tmp_path / f"{name}.tif", inbox / f"{name}.tif")
            good[name] = wanted[name]
        for thread in slow:
            thread.join()
        daemon.wait(lambda s: s.labels["accepted"] == len(good), 120)
        for name, labels in good.items():
            found, _ = read_labels(daemon.workspace / "labels" / f"{name}.tif")
            np.testing.assert_array_equal(found > 0, labels > 0, err_msg=name)
            assert len(np.unique(found)) == len(np.unique(labels))
        assert not [p for p in inbox.iterdir() if not p.name.startswith(".")]
        assert not [p for p in (daemon.workspace / "rejected").iterdir() if p.suffix != ".txt"], (
            "nothing was taken half"
        )

        name = min(good)
        for kind, says in (
            ("rgb", "colour"),
            ("float", "fractions"),
            ("ids", "ids from"),
            ("big", "inbox.max_gb"),
            ("half", "."),
        ):
            save_bad(inbox / f"{name}.tif", kind, good[name])
            before = len(list((daemon.workspace / "rejected").glob("*.txt")))
            daemon.wait(lambda s, n=before: len(list((daemon.workspace / "rejected").glob("*.txt"))) > n, 60)
            newest = max((daemon.workspace / "rejected").glob("*.txt"), key=lambda p: p.stat().st_mtime_ns)
            assert says in newest.read_text() and newest.read_text().count("\n") == 1, newest.read_text()
            assert newest.with_suffix("").is_file(), "the file is kept"
            assert listed(daemon)[name]["state"] in ("rejected", "accepted")
        np.testing.assert_array_equal(read_labels(daemon.workspace / "labels" / f"{name}.tif")[0] > 0, good[name] > 0)
        assert daemon.stop() == 0


def save_bad(path: Path, kind: str, labels: np.ndarray) -> None:
    """A file that cannot be a label, put there whole."""
    part = path.with_name(f".{path.name}.part")
    if kind == "rgb":
        tifffile.imwrite(part, np.zeros((*labels.shape, 3), np.uint8), photometric="rgb")
    elif kind == "float":
        tifffile.imwrite(part, labels + np.float32(0.25))
    elif kind == "ids":
        tifffile.imwrite(part, labels.astype(np.uint64) + (1 << 33))
    elif kind == "half":
        tifffile.imwrite(part, labels)
        part.write_bytes(part.read_bytes()[: labels.nbytes // 2])
    else:
        with open(part, "wb") as file:
            file.truncate(int(60e9))  # sparse: it takes no room
    os.rename(part, path)
