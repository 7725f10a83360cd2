"""`alscope report`: writes the page in its own process, whether a daemon runs or not, and does without what is missing."""

from __future__ import annotations

import json

import numpy as np

from daemon.config import load
from daemon.planner import Planner


def embedded(scene) -> None:
    """The volumes of the scene have embeddings and boxes on disk, as their stages leave them."""
    planner = Planner(load(scene.config), "cpu", scene.workspace.artifacts.path, scene.workspace.root)
    (encoder,) = [e for e in scene.store.encoders.in_use().values() if e.state == "current"]
    db = scene.store.state._db
    db.execute("UPDATE job SET spec = ? WHERE stage = 'embedding'", [planner.embedding_spec(encoder)])
    boxes = [{"start": [z, y, x], "shape": [32, 256, 256]} for z in (0, 32) for y in (0, 256) for x in (0, 256)]
    rows = np.random.default_rng(0).normal(size=(8, 6))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    for r in list(
        db.query("SELECT j.key, v.artifact FROM job j JOIN volume v ON v.id = j.volume_id WHERE j.stage = 'embedding'")
    ):
        for key, fill in ((r["key"], lambda out: np.save(out / "embeddings.npy", rows)), (r["artifact"], None)):
            path = scene.workspace.artifacts.path(key)
            path.mkdir(parents=True)
            if fill is not None:
                fill(path)
            else:
                (path / "patches.json").write_text(json.dumps(boxes))


def test_it_is_written_without_a_daemon_and_the_next_one_reuses_the_map(scene, alscope):
    scene.live()
    embedded(scene)
    scene.store.state.stopped(scene.now)
    done = alscope("report", "--json")
    assert done.code == 0, done.err
    folder = scene.workspace.report
    assert (
        done.data["page"] == str(folder / "report.html") and done.data["n_patches"] == 24 and done.data["notes"] == []
    )
    page = (folder / "report.html").read_text()
    assert "M_f-002" in page and "s00007" in page and "Selection helps: it does." in page
    for name in ("volumes", "rounds", "queue", "patches", "versions"):
        assert (folder / f"{name}.csv").stat().st_size > 20
    assert (folder / "figures" / "latent_map.svg").is_file()
    own = scene.workspace.places.cache / "report" / "artifacts"
    (first,) = own.glob("*/latent_map-*")
    (own / ".staging" / "report-1.999999999.ab").mkdir()
    assert not list(own.glob("[0-9a-f]*/report-*")), "the page lies in report/, not twice"
    again = alscope("report")
    assert again.code == 0 and "24 patches" in again.out
    assert not list((own / ".staging").iterdir()), "what a killed process began is gone"
    (second,) = own.glob("*/latent_map-*")
    assert json.loads((second / "manifest.json").read_text())["result"]["n_placed"] == 0
    assert first.name == second.name or json.loads((second / "manifest.json").read_text())["inputs"]["before"]


def test_what_cannot_be_made_is_said_and_the_rest_is_written(scene, alscope, tmp_path):
    scene.live()
    embedded(scene)
    next(scene.workspace.artifacts.root.glob("*/embedding-*/embeddings.npy")).write_bytes(b"cut")
    out = tmp_path / "talk"
    done = alscope("report", "--out", str(out), "--json")
    assert done.code == 0, done.err
    (note,) = done.data["notes"]
    assert "latent map could not be made" in note and "embeddings.npy: not a readable array" in note
    assert "latent map could not be made" in (out / "report.html").read_text()
    assert (out / "volumes.csv").is_file() and not scene.workspace.report.exists()


def test_refusals_are_one_line(scene, alscope, tmp_path):
    (tmp_path / "file").write_text("")
    done = alscope("report", "--out", str(tmp_path / "file"))
    assert done.code == 64 and "is no folder" in done.err
    scene.store.close()
    for path in scene.workspace.root.glob("alscope.db*"):
        path.unlink()
    done = alscope("report")
    assert done.code != 0 and "no database here yet" in done.err and len(done.err.strip().splitlines()) == 1
