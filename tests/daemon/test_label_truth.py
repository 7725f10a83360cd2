"""The real daemon: ground truth of a whole volume becomes labels in one command; undo, export, and labels of other tools."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile

from alcore.arrays.synthetic import em_volume
from alcore.volumes.labels import read_labels
from daemon.store.connection import DATABASE, open_reader
from tests.daemon.daemons import real_daemon
from tests.daemon.test_bad_input import CONFIG


@pytest.mark.timeout(600)
def test_truth_in_one_command(tmp_path: Path) -> None:
    with real_daemon(tmp_path, CONFIG) as daemon:
        image, truth = em_volume((8, 144, 96), (0.05, 0.01, 0.01), np.random.default_rng(1))
        truth = truth.astype(np.uint16)
        tifffile.imwrite(daemon.folder / "a.tif", image, photometric="minisblack", metadata={"axes": "ZYX"})
        file = tmp_path / "truth.nii.gz"
        nibabel.save(nibabel.Nifti1Image(truth.transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1])), file)

        def imported(*arguments: str) -> tuple[int, str]:
            ended = daemon.alscope("label", "import", *arguments, timeout=200)
            return ended.returncode, (ended.stdout + ended.stderr).strip()

        daemon.start()
        daemon.wait(lambda s: s.volumes["pseudo_labelled"] == 1 and any(q.ready for q in s.queue), 200)
        assert (
            imported(str(file), "--volume", "b.tif")[0] == 64
            or "did you mean 'a.tif'" in imported(str(file), "--volume", "b.tif")[1]
        )
        wrong = tmp_path / "wrong.tif"
        tifffile.imwrite(wrong, truth[:, :, :-1], photometric="minisblack")
        code, said = imported(str(wrong), "--volume", "a.tif")
        assert (code, "(8, 144, 95), but the volume is (8, 144, 96)" in said) == (65, True), said

        code, said = imported(str(file), "--volume", "a.tif", "--user", "ana")
        assert code == 0, said
        assert said.startswith("6 labels accepted"), said
        told = daemon.status()
        assert (told["labels"]["accepted"], told["patches"]["labelled"]) == (6, 6)
        assert told["labels"]["gate"] >= 1
        assert told["queue"] == []
        code, said = imported(str(file), "--volume", "a.tif", "--user", "ana")
        assert (code, said) == (0, "0 labels accepted (0 for training, 0 held out); 6 patches imported before")
        listed = json.loads(daemon.alscope("label", "list", "--json").stdout)
        assert len(listed) == 6
        assert {(x["author"], x["tool"], x["state"], x["current"]) for x in listed} == {
            ("ana", "import", "accepted", True)
        }

        for lies in received_files(daemon.workspace):
            assert (daemon.workspace / lies).is_file()
        rows = export(daemon, tmp_path / "out")
        assert len(rows) == 6
        seen = np.zeros(truth.shape, bool)
        for row in rows:
            box = tuple(slice(a, a + n) for a, n in zip(row["start"], row["shape"], strict=True))
            found, _ = read_labels(tmp_path / "out" / row["label"])
            expected = truth[box]
            assert np.array_equal(found > 0, expected > 0)
            pairs = np.unique(np.stack([found[found > 0], expected[found > 0]]), axis=1)
            assert pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == row["n_objects"]
            assert np.array_equal(read_labels(tmp_path / "out" / row["image"])[0], image[box])
            assert not seen[box].any()
            seen[box] = True
            assert (daemon.workspace / "labels" / f"{row['suggestion']}.tif").is_file()
        assert seen.all()

        first = rows[0]["suggestion"]
        said = daemon.alscope("label", "undo", first).stdout
        assert "it is open again" in said, said
        shot = daemon.wait(lambda s: any(q.id == first and q.ready for q in s.queue), 60)
        assert shot.labels["accepted"] == 5
        assert not (daemon.workspace / "labels" / f"{first}.tif").exists()
        assert len(export(daemon, tmp_path / "out")) == 5
        assert not (tmp_path / "out" / f"{first}_label.tif").exists()

        page = json.loads((daemon.workspace / "queue" / first / "suggestion.json").read_text())
        box = tuple(slice(a, a + n) for a, n in zip(page["box"]["start"], page["box"]["shape"], strict=True))
        nrrd.write(str(tmp_path / "mine.nrrd"), truth[box].transpose(2, 1, 0))
        ended = daemon.alscope(
            "label", "add", str(tmp_path / "mine.nrrd"), "--for", first, "--seen-slices", "0-3", timeout=100
        )
        assert ended.returncode == 0, ended.stderr
        (label,) = [
            x
            for x in json.loads(daemon.alscope("label", "list", "--json").stdout)
            if x["suggestion"] == first and x["current"]
        ]
        assert label["seen"] == 0.5
        second = rows[1]["suggestion"]  # imported, and never in the queue: a better label supersedes it all the same
        page = rows[1]
        box = tuple(slice(a, a + n) for a, n in zip(page["start"], page["shape"], strict=True))
        whole = tmp_path / f"{second}.tif.part"
        tifffile.imwrite(whole, np.where(truth[box] > 0, truth[box] + 1, 0), imagej=True)
        shutil.move(whole, daemon.workspace / "inbox" / f"{second}.tif")
        listed = lambda: json.loads(daemon.alscope("label", "list", "--json").stdout)  # noqa: E731
        daemon.wait(lambda s: {x["current"] for x in listed() if x["suggestion"] == second} == {True, False}, 60)
        assert len(listed()) == 8
        assert daemon.shot().labels["accepted"] == 6
        code, said = imported(str(file), "--volume", "a.tif", "--user", "ana")
        assert "0 labels accepted" in said and "2 patches labelled already" in said, said
        code, said = imported(str(file), "--volume", "a.tif", "--user", "ana", "--replace")
        assert "2 labels accepted" in said, said
        said = daemon.alscope("label", "undo", second).stdout
        assert "the one before it counts again (2 labels of it left)" in said, said
        assert daemon.stop() == 0


def export(daemon: object, folder: Path) -> list[dict[str, object]]:
    """`alscope label export`, and both manifests say the same."""
    ended = daemon.alscope("label", "export", str(folder))  # type: ignore[attr-defined]
    assert ended.returncode == 0, ended.stderr
    rows = json.loads((folder / "manifest.json").read_text())["labels"]
    with open(folder / "manifest.csv", newline="") as file:
        flat = list(csv.DictReader(file))
    assert [r["suggestion"] for r in flat] == [r["suggestion"] for r in rows]
    assert [int(r["start_y"]) for r in flat] == [r["start"][1] for r in rows]
    assert all((folder / r["label"]).is_file() and (folder / r["image"]).is_file() for r in rows)
    return rows


def received_files(workspace: Path) -> list[str]:
    """Where everything that came in lies now."""
    with contextlib.closing(open_reader(workspace / DATABASE)) as db:
        return [r["file"] for r in db.execute("SELECT file FROM received")]
