"""kill -9 of daemon, worker and trainer across a pre-training and two rounds of real nnU-Net: the same models come out, to the bit.

A trainer is the worker that runs `pretrain` or `finetune`. That nothing survives a killed daemon is asserted at each kill.

The workspace is brought to the point where everything is suggested, and kept. From there it is played twice, once undisturbed
and once with kills at random moments; the answers of the expert are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from alcore.artifact import remove_tree
from alcore.nnunet import model
from daemon.demo.expert import Expert
from daemon.demo.microscope import Microscope
from daemon.housekeeping import Housekeeping
from daemon.retention import DAY_S
from daemon.store.connection import DATABASE, open_reader
from daemon.store.store import Store
from daemon.store.views import Snapshot
from daemon.workspace import Workspace
from tests.daemon.daemons import RealDaemon, real_daemon
from tests.faults.invariants import check
from tests.faults.test_kill_loop import pieces

N_PATCHES, EVERY, ROUNDS = 8, 2, 2
CONFIG = """
workspace = "ws"
[[watch]]
folder = "in"
settle_s = 0.5
[patch]
shape_px = [8, 48, 48]
[encoder]
size = "descriptor"
min_patches = 8
[selection]
strategy = "coreset"
queue_depth = 8
control_share = 0.0
[training]
every = 2
gate_min_patches = 1
pretrain_min_patches = {least}
pretrain_schedule = {{epochs = 30, iterations = 6}}
finetune_schedule = {{epochs = 30, iterations = 6}}
[inbox]
settle_s = 0.2
[run]
min_free_gb = 0.0
rescan_s = 2.0
nice = 0
workers = 1
threads = 1
"""
KILLS = (
    # the stage that runs, the largest share of it that is done, who is killed; "power" also cuts the newest checkpoint in half
    ("pretrain", 0.3, "worker"),
    ("pretrain", 0.9, "daemon"),
    ("finetune", 0.7, "worker"),
    ("predict", 0.0, "worker"),
    ("finetune", 0.5, "power"),
    ("evaluate", 0.0, "daemon"),
)


def lineage(workspace: Path) -> dict[str, Any]:
    """What became of it: models with parents, labels, states and weights, and rounds with their verdicts."""
    with contextlib.closing(open_reader(workspace / DATABASE)) as db:
        models = db.execute(
            "SELECT version, kind, state, parent, labels_digest, n_labels, scores, artifact FROM model ORDER BY id"
        ).fetchall()
        rounds = db.execute(
            "SELECT number, state, labels_digest, n_labels, n_gate, model, promoted, verdict FROM round ORDER BY number"
        ).fetchall()
    weights = {
        r["version"]: hashlib.sha256(
            (workspace / "artifacts" / r["artifact"].rsplit("-", 1)[-1][:2] / r["artifact"] / "weights.pt").read_bytes()
        ).hexdigest()
        for r in models
    }
    return {"models": [tuple(r) for r in models], "rounds": [tuple(r) for r in rounds], "weights": weights}


def over(shot: Snapshot) -> bool:
    """All rounds are judged and nothing is left to do."""
    waiting = sum(shot.jobs.get(state, 0) for state in ("waiting", "ready", "running"))
    return not waiting and [r.state for r in shot.rounds] == ["done"] * ROUNDS


def play(daemon: RealDaemon, kills: tuple[tuple[str, float, str], ...], rng: random.Random) -> dict[str, Any]:
    """From the suggestions to the end of the second round, with these kills on the way."""
    expert = Expert({p.name: p.labels for p in pieces()}, daemon.workspace, 0.0, lambda: False, save_s=0)

    def may_answer() -> bool:
        shot = daemon.shot()
        if (
            shot is None
            or shot.daemon.state != "running"
            or any(r.state in ("training", "judging") for r in shot.rounds)
        ):
            return False
        trained = shot.rounds[-1].n_labels if shot.rounds else 0
        settled = shot.labels["accepted"] == len(expert.answered)
        return settled and len(shot.rounds) < ROUNDS and shot.labels["train"] - trained < EVERY

    expert.may_answer = may_answer
    stop = threading.Event()
    thread = threading.Thread(target=expert.run, args=(stop,), name="expert")
    daemon.start()
    daemon.ready()
    thread.start()
    try:
        for stage, done, victim in kills:
            with contextlib.suppress(
                AssertionError
            ):  # that stage may have come to its end: then the moment is any other
                daemon.wait(lambda shot, s=stage, d=done: _runs(shot, s, d) or over(shot), 150)
            time.sleep(rng.uniform(0.0, 0.5))
            if victim == "worker" and (workers := daemon.family()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    max(workers, key=lambda p: p.cpu_times().user).send_signal(signal.SIGKILL)
                continue
            daemon.kill()
            check(daemon.workspace)
            if victim == "power":
                cut_short(daemon.workspace)
            daemon.start()
            daemon.ready()
        daemon.wait(over, 400)
    finally:
        stop.set()
        thread.join()
    assert not expert.error
    assert daemon.stop() == 0
    check(daemon.workspace)
    return lineage(daemon.workspace)


def cut_short(workspace: Path) -> None:
    """The newest checkpoint of every training lost its second half."""
    found = list(workspace.rglob("checkpoints/latest.pt"))
    assert found, "no training was under way"
    for latest in found:
        os.truncate(latest, latest.stat().st_size // 2)


def _runs(shot: Snapshot, stage: str, done: float) -> bool:
    return any(job.stage == stage and job.progress >= done for job in shot.running)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", [1])
def test_kills_at_random_moments_change_no_model(tmp_path: Path, seed: int) -> None:
    with real_daemon(tmp_path, CONFIG.format(least=1000)) as daemon:
        Microscope(pieces(), daemon.folder, 0.0).run(threading.Event())
        daemon.start()
        daemon.wait(lambda shot: sum(q.ready for q in shot.queue) == N_PATCHES, 120)
        assert daemon.stop() == 0
        kept = tmp_path / "kept"
        shutil.copytree(daemon.workspace, kept)
        daemon.config.write_text(CONFIG.format(least=N_PATCHES))
        expected = play(daemon, (), random.Random(0))
        remove_tree(daemon.workspace)
        kept.rename(daemon.workspace)
        rng = random.Random(seed)
        disturbed = play(daemon, KILLS, rng)
        assert [m[0] for m in expected["models"]] == ["M_p-001", "M_f-001", "M_f-002"]
        assert disturbed == expected
        assert "worker died" in _stories(daemon.workspace)
        only_models_stay(daemon.workspace, [m[-1] for m in disturbed["models"]])


def only_models_stay(workspace: Path, models: list[str]) -> None:
    """Years later no checkpoint and no prepared patch is left; every model, whatever became of it, can be loaded, and all that
    is on record lies there whole."""
    assert list(workspace.rglob("case_*.b2nd"))
    with contextlib.closing(Store(workspace)) as store:
        Housekeeping(store, Workspace(workspace), 14.0).run(time.time() + 1000 * DAY_S)
    for pattern in ("case_*", "latest.pt", "previous.pt"):
        assert not list(workspace.rglob(pattern)), pattern
    check(workspace)
    for key in models:
        folder = Workspace(workspace).artifacts.path(key)
        assert model.load_design(folder).n_classes == 2
        assert model.load_weights(folder)


def _stories(workspace: Path) -> str:
    with contextlib.closing(open_reader(workspace / DATABASE)) as db:
        return "\n".join(r["note"] for r in db.execute("SELECT note FROM job_event"))
