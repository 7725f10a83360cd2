"""doctor on machines that something is wrong with: each fault is planted, found, and comes with what mends it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon import gpus
from daemon.cli import checks_cluster, checks_folders, checks_gpu, checks_system, checks_workspace
from daemon.cli.checking import Check
from daemon.cli.checks_qt import DEBIAN, missing_libraries, qt_libraries
from daemon.config import Settings, from_mapping
from daemon.device import affinity, gpu_names
from daemon.store.connection import DATABASE, open_writer
from daemon.store.schema import migrations
from tests.daemon.executors.clusters import RealCluster

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534


def settings_of(root: Path, **tables: object) -> Settings:
    (root / "in").mkdir(exist_ok=True)
    return from_mapping({"watch": [{"folder": "in"}], **tables}, root / "config.toml")


def is_mended(check: Check, state: str, *words: str) -> None:
    assert check.state == state, check
    for word in words:
        assert word in f"{check.found} -> {check.mend}", check
    assert check.mend or check.state == "ok"


# the system


def test_two_faiss_packages(tmp_path, monkeypatch):
    assert checks_system.faiss_package().state == "ok"
    for name in ("faiss_cpu", "faiss_gpu"):
        about = tmp_path / f"{name}-1.0.dist-info" / "METADATA"
        about.parent.mkdir()
        about.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    is_mended(checks_system.faiss_package(), "fail", "overwrite each other", "pip uninstall faiss-gpu faiss-cpu")


def test_an_old_sqlite_and_a_clock_that_was_never_set(monkeypatch):
    assert checks_system.clock().state == "ok"
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 30, 0))
    is_mended(checks_system.sqlite(), "fail", "3.37.0")
    at_first = time.gmtime(0)
    monkeypatch.setattr(time, "localtime", lambda *_: at_first)
    is_mended(checks_system.clock(), "fail", "timedatectl set-ntp true")


def test_what_keeps_the_clock_is_told(monkeypatch):
    assert checks_system.kept_by_a_server() in (True, False, None)
    monkeypatch.setattr(checks_system, "kept_by_a_server", lambda: False)
    assert "timedatectl set-ntp true" in checks_system.clock().found


def test_more_memory_is_promised_than_there_is(tmp_path, monkeypatch):
    assert checks_system.memory(settings_of(tmp_path, run={"ram_gb": 0.5})).state == "ok"
    is_mended(checks_system.memory(settings_of(tmp_path, run={"ram_gb": 1e5})), "warn", "run.ram_gb =")
    (tmp_path / "memory.max").write_text(str(2 << 30))
    monkeypatch.setattr(checks_system, "CGROUP", tmp_path / "memory.max")
    is_mended(checks_system.memory(settings_of(tmp_path, run={"ram_gb": 1.5})), "warn", "2 GB")


# the workspace


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EROFS, "mounted read-only"), (errno.ENOSPC, "free some space"), (errno.EACCES, "sudo chown -R")],
)
def test_each_reason_why_a_workspace_cannot_be_written_has_a_remedy(tmp_path, monkeypatch, code, words):
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "rename", refuse)
    (found,) = checks_workspace.workspace(settings_of(tmp_path))
    is_mended(found, "fail", words)
    assert not list(tmp_path.glob(".alscope-doctor*"))


def test_hardly_any_room_for_files(tmp_path, monkeypatch):
    monkeypatch.setattr(checks_workspace, "FEW_FILES", 1 << 62)
    found = checks_workspace.room(settings_of(tmp_path, run={"min_free_gb": 0.0}))
    if os.statvfs(tmp_path).f_files:
        is_mended(found, "warn", "more files only", "remove many small files")


def test_a_workspace_that_everybody_may_write_to(tmp_path):
    settings = settings_of(tmp_path)
    settings.workspace.mkdir(exist_ok=True)
    settings.workspace.chmod(0o777)
    (found,) = checks_workspace.workspace(settings)
    is_mended(found, "warn", "everybody on this machine may write", f"chmod o-rwx {settings.workspace}")
    settings.workspace.chmod(0o755)
    (found,) = checks_workspace.workspace(settings)
    assert found.state == "ok"


def test_a_workspace_and_volumes_of_somebody_else(scene):
    """As root ran it once by mistake, and as a microscope's user saves with a strict umask."""
    volume = scene.root / "in" / "a.tif"
    volume.write_bytes(b"x")
    volume.chmod(0o600)
    volume.parent.chmod(0o755)  # whatever the umask of this process has become
    scene.close()
    for folder in (scene.root, *scene.root.parents):
        if folder != Path("/") and folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o755)
    scene.workspace.root.chmod(0o777)
    scene.workspace.inbox.chmod(0o755 if os.geteuid() == 0 else 0o555)
    if os.geteuid() != 0:
        volume.chmod(0o000)
    found = {c["name"]: c for c in as_another_user(scene.config)}
    assert found["workspace"]["state"] == "fail"
    assert "inbox" in found["workspace"]["found"]
    assert "chown" in found["workspace"]["mend"]
    shut = found["watched folder"]  # the last that is said of it
    assert (shut["state"], "a.tif" in shut["found"], "chmod" in shut["mend"]) == ("fail", True, True)


AS_ANOTHER = f"""
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from daemon.cli import checks_folders, checks_workspace
from daemon.config import load
settings = load(Path(sys.argv[1]))
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
done = [*checks_workspace.workspace(settings), *checks_folders.watched_folder(settings.watch[0], 30.0)]
print(json.dumps([asdict(check) for check in done]))
"""


def as_another_user(config: Path) -> list[dict[str, str]]:
    """What doctor says of the folders to a user who is not root."""
    command = [sys.executable, "-c", AS_ANOTHER, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


# the database


def test_a_database_of_an_older_version_is_told_apart_from_a_broken_one(tmp_path):
    root = tmp_path / "workspace"
    root.mkdir()
    db = open_writer(root / DATABASE)
    migrations().apply(db, stop_before="0002_parts")
    db.close()
    (found,) = checks_database_of(settings_of(tmp_path))
    is_mended(found, "warn", "older alscope", "`alscope run`")


def checks_database_of(settings: Settings) -> list[Check]:
    from daemon.cli.checks_database import database

    return list(database(settings))


def test_a_clock_that_was_set_back(scene):
    scene.store.state.seen(time.time() + 7200, "")
    settings = from_mapping({"workspace": "ws", "watch": [{"folder": "in"}]}, scene.config)
    sound, ahead = checks_database_of(settings)
    assert sound.state == "ok"
    is_mended(ahead, "warn", "set back", "timedatectl")


# the watched folder


def test_a_network_share_warns_with_the_scan(tmp_path, monkeypatch):
    settings = settings_of(tmp_path)
    monkeypatch.setattr(checks_folders, "file_system_of", lambda path: "cifs")
    (found,) = checks_folders.watched_folder(settings.watch[0], settings.run.rescan_s)
    is_mended(found, "warn", "cifs", "scan every 10 s")


def test_a_share_whose_server_is_away(tmp_path, monkeypatch):
    settings = settings_of(tmp_path)
    monkeypatch.setattr(checks_folders, "ANSWER_S", 0.05)
    monkeypatch.setattr(checks_folders, "_newest_and_shut", lambda watch: time.sleep(0.5))
    (found,) = checks_folders.watched_folder(settings.watch[0], 30.0)
    is_mended(found, "fail", "no answer within", "mount the folder again")


@pytest.mark.parametrize(
    ("watches", "instances", "words"),
    [("1", "128", "max_user_watches"), ("99999", "0", "max_user_instances"), ("99999", "99999", "")],
)
def test_limits_of_inotify(tmp_path, monkeypatch, watches, instances, words):
    (tmp_path / "max_user_watches").write_text(watches)
    (tmp_path / "max_user_instances").write_text(instances)
    monkeypatch.setattr(checks_folders, "INOTIFY", tmp_path)
    found = checks_folders.file_events(settings_of(tmp_path))
    is_mended(found, "warn" if words else "ok", f"sysctl fs.inotify.{words}=" if words else "")


# the GPU


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A machine with a GPU from NVIDIA on its bus, and no driver yet."""
    for name, path in (("DRIVER", "driver"), ("NODE", "nvidia0"), ("PCI_DEVICES", "pci")):
        monkeypatch.setattr(gpus, name, tmp_path / path)
    device = tmp_path / "pci" / "0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")
    monkeypatch.setattr(checks_gpu, "has_cuda", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def load_driver(machine: Path) -> None:
    page = machine / "driver" / "gpus" / "0000:01:00.0" / "information"
    page.parent.mkdir(parents=True)
    page.write_text("Model: \t\t NVIDIA A100\n")
    (machine / "driver" / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54\n")


def test_a_gpu_without_its_driver(machine):
    is_mended(checks_gpu.gpu(settings_of(machine)), "warn", "no driver is loaded", "install the NVIDIA driver")
    is_mended(checks_gpu.gpu(settings_of(machine, run={"device": "cuda"})), "fail", "no driver is loaded")


def test_a_gpu_that_the_cluster_has(machine, monkeypatch):
    monkeypatch.setattr(gpus, "PCI_DEVICES", machine / "none")
    run = {"executor": "dask", "device": "cuda", "address": "tcp://127.0.0.1:1"}
    is_mended(checks_gpu.gpu(settings_of(machine, run=run)), "ok", "none is needed here")
    run = {"stages": {"finetune": "dask"}, "device": "cuda", "address": "tcp://127.0.0.1:1"}
    is_mended(checks_gpu.gpu(settings_of(machine, run=run)), "ok", "what stays here runs on the CPU")


def test_a_cluster_that_is_away_has_no_workers_or_others(machine, tmp_path, monkeypatch):
    run = {"executor": "dask", "device": "cpu", "address": "tcp://127.0.0.1:1"}
    away = checks_cluster.cluster(settings_of(machine, run=run))
    is_mended(away, "fail", "no scheduler can be reached at tcp://127.0.0.1:1", "correct run.address")
    (tmp_path / "cluster").mkdir()
    with RealCluster(tmp_path / "cluster") as real:
        settings = settings_of(machine, run=run | {"address": real.start_scheduler()})
        is_mended(checks_cluster.cluster(settings), "warn", "jobs wait until there is one", "start one")
        with_gpu = settings.model_copy(update={"run": settings.run.model_copy(update={"device": "cuda"})})
        real.start_worker(real.address)
        until = time.monotonic() + 30
        while (found := checks_cluster.cluster(settings)).state != "ok":
            assert time.monotonic() < until, found
        assert found.found == f"1 workers at {real.address}"
        is_mended(checks_cluster.cluster(with_gpu), "fail", "not used", "declares no GPU", "docs/cluster.md")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    is_mended(checks_cluster.cluster(settings), "fail", "not installed", "cluster")


def test_the_gpus_that_a_worker_has(machine, monkeypatch):
    load_driver(machine)
    other = machine / "driver" / "gpus" / "0000:02:00.0" / "information"
    other.parent.mkdir()
    other.write_text("Model: NVIDIA L4\n")
    assert gpu_names() == ("NVIDIA A100", "NVIDIA L4")
    for said, names in (("1", ("NVIDIA L4",)), ("", ()), ("1,0", ("NVIDIA L4", "NVIDIA A100")), ("7,GPU-1a", ())):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
        assert gpu_names() == names


def test_a_batch_job_has_the_cores_that_it_was_given(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    here = affinity()
    for said, found in (("1", 1), ("4096", here), ("0", here), ("many", here)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", said)
        assert affinity() == found


def test_a_gpu_that_is_hidden_or_shut(machine, monkeypatch):
    load_driver(machine)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    is_mended(checks_gpu.gpu(settings_of(machine)), "warn", "unset CUDA_VISIBLE_DEVICES")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(checks_gpu, "has_cuda", lambda: True)
    is_mended(checks_gpu.gpu(settings_of(machine)), "ok", "NVIDIA A100", "550.54")
    (machine / "nvidia0").write_text("")
    monkeypatch.setattr(os, "access", lambda path, mode: path != machine / "nvidia0")
    is_mended(checks_gpu.gpu(settings_of(machine)), "fail", "may not use", "usermod -aG video")


def test_a_gpu_that_faiss_does_not_see(monkeypatch):
    monkeypatch.setattr(checks_gpu, "has_cuda", lambda: True)
    code = 'print("""{"version": "1.9", "right": true, "gpus": 0}""")'
    monkeypatch.setattr(checks_gpu, "FAISS", code)
    is_mended(checks_gpu.faiss_computes(), "warn", "pip install faiss-gpu")


# Qt


@pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("ldd") is None, reason="gcc and ldd are wanted")
def test_a_library_that_the_loader_does_not_find(tmp_path):
    name = "libxcb-cursor.so.0"
    (tmp_path / "empty.c").write_text("int nothing;\nint *use(void) { return &nothing; }\n")
    (tmp_path / "user.c").write_text("extern int *use(void);\nint *user(void) { return use(); }\n")
    gcc = ["gcc", "-shared", "-fPIC", "-o"]
    subprocess.run([*gcc, name, "empty.c", f"-Wl,-soname,{name}"], cwd=tmp_path, check=True)
    subprocess.run([*gcc, "libuser.so", "user.c", f"./{name}"], cwd=tmp_path, check=True)
    (tmp_path / name).rename(tmp_path / "away")
    missing = missing_libraries(tmp_path / "libuser.so")
    if not Path("/usr/lib/x86_64-linux-gnu", name).exists():
        assert missing == [name]
    assert set(missing) <= {name}


def test_missing_libraries_are_named_with_their_packages(monkeypatch):
    monkeypatch.setattr("daemon.cli.checks_qt.missing_libraries", lambda path: ["libEGL.so.1", "libodd.so.7"])
    monkeypatch.setattr("daemon.cli.checks_qt._platform_plugin", lambda: Path("libqxcb.so"))
    is_mended(qt_libraries(screen=True), "warn", "libodd.so.7", f"sudo apt install {DEBIAN['libEGL.so.1']}")
    assert qt_libraries(screen=False).state == "ok"
