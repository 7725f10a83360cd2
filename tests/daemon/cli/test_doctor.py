"""doctor: finds what is wrong with a real folder, file or setting, and says how to mend it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import daemon
from daemon.cli import checks, checks_gpu, checks_workspace
from daemon.config import from_mapping


def by_name(alscope, *more: str) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in alscope("doctor", "--json", *more).data}


def test_a_sound_machine(scene, alscope):
    found = by_name(alscope)
    assert {c["state"] for c in found.values()} <= {"ok", "warn"}
    assert {
        "python",
        "import name",
        "sqlite",
        "clock",
        "config",
        "workspace",
        "disk",
        "database",
        "gpu",
    } <= found.keys()
    assert {"watched folder", "file events"} <= found.keys()
    done = alscope("doctor")
    assert done.code == 0
    assert "nothing stands in the way" in done.out
    assert not list(scene.root.glob("**/.alscope-doctor*"))


def test_every_failure_comes_with_its_remedy(scene, alscope):
    (scene.root / "in").rmdir()
    scene.config.write_text(scene.config.read_text().replace("min_free_gb = 0.0", 'min_free_gb = 1e9\ndevice = "cuda"'))
    scene.close()
    (scene.workspace.root / "alscope.db").write_bytes(b"broken " * 1000)
    done = alscope("doctor", "--json")
    assert done.code == 1
    failed = {c["name"] for c in done.data if c["state"] == "fail"}
    assert {"watched folder", "disk", "database"} <= failed
    assert all(c["mend"] for c in done.data if c["state"] != "ok")
    assert "-> " in alscope("doctor").out


def test_a_broken_configuration_does_not_hide_the_rest(scene, alscope):
    scene.config.write_text("wrkspace = 1\n")
    found = by_name(alscope)
    assert found["config"]["state"] == "fail"
    assert "wrkspace" in found["config"]["found"] or "watch" in found["config"]["found"]
    assert found["python"]["state"] == "ok"


def test_settings_of_an_encoder_that_is_not_trained_are_named(tmp_path):
    def found(**encoder: object) -> checks.Check:
        run = {"device": "cpu"}
        settings = from_mapping({"watch": [{"folder": "in"}], "run": run, "encoder": encoder}, tmp_path / "config.toml")
        return next(c for c in checks.configured(settings) if c.name == "encoder")

    assert found().state == found(image_px=32, pooling="mean_std").state == "ok"
    assert "autoencoder" in found(size="tiny", mask_ratio=0.5).found
    idle = found(mask_ratio=0.5, base_lr=0.01)
    assert idle.state == "warn"
    assert idle.found.endswith("encoder.base_lr, encoder.mask_ratio act on nothing")
    assert "encoder.size" in idle.mend


def test_the_running_daemon_is_named(scene, alscope):
    scene.running()
    assert f"pid {os.getpid()}" in by_name(alscope)["database"]["found"]


def test_files_from_the_future_are_noticed(scene, alscope):
    path = scene.root / "in" / "late.tif"
    path.write_bytes(b"x")
    os.utime(path, (time.time() + 7200, time.time() + 7200))
    done = [c for c in alscope("doctor", "--json").data if c["name"] == "watched folder"]
    assert [c["state"] for c in done] == ["ok", "warn"]
    assert "in the future" in done[1]["found"]


def test_a_workspace_on_a_network_share(tmp_path, monkeypatch):
    settings = from_mapping({"watch": [{"folder": "in"}]}, tmp_path / "config.toml")
    monkeypatch.setattr(checks_workspace, "file_system_of", lambda path: "nfs4")
    first = next(checks.configured(settings))
    assert first.state == "fail"
    assert "nfs4" in first.found


def test_torch_and_faiss_really_compute():
    assert [(c.name, c.state) for c in checks.deep()] in (
        [("torch", "ok"), ("faiss", "ok")],
        [("torch", "warn"), ("faiss", "ok")],  # a GPU that torch does not see
    )


def test_a_crash_in_an_import_is_a_finding(monkeypatch):
    monkeypatch.setattr(checks_gpu, "TORCH", "import os; os.abort()")
    monkeypatch.setattr(checks_gpu, "FAISS", "raise ImportError('libfaiss.so is missing')")
    torch, faiss = checks.deep()
    assert torch.state == faiss.state == "fail"
    assert "ended with code" in torch.found
    assert "libfaiss.so is missing" in faiss.found


def test_our_name_is_ours():
    assert Path(daemon.__file__).parent == Path(__file__).resolve().parents[3] / "daemon"
