"""kill -9 of a process that trains: the run that goes on from what it left gives the same weights as one that was left alone."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from alcore.nnunet import model, training
from alcore.nnunet.plan import PlanRequest
from alcore.run import QuietContext
from tests.alcore.nnunet.nnunet_blobs import QUICK, case

ROOT = Path(__file__).resolve().parents[3]
EPOCHS, KILLED_AFTER = 12, 3
PROGRAM = "import sys; from tests.alcore.nnunet.test_nnunet_kill import train; train(*sys.argv[1:])"


def train(scratch: str, cache: str, out: str) -> Path:
    """A short training in these folders."""
    for folder in (scratch, out):
        Path(folder).mkdir(parents=True, exist_ok=True)
    ctx = QuietContext(Path(scratch), Path(cache))
    cases = [case(1), case(2)]
    designed = training.design(PlanRequest("tiny"), cases, ctx)
    schedule = dataclasses.replace(QUICK, epochs=EPOCHS, iterations=2)
    mixture = training.Mixture(cases, held_out=[case(3), case(4)])
    training.train(designed, mixture, schedule, 5, None, Path(out), ctx, {"kind": "test"})
    return Path(out)


def test_a_killed_training_ends_in_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    scratch, cache, out = (str(tmp_path / name) for name in ("scratch", "cache", "out"))
    log = tmp_path / "scratch" / model.LOG
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", PROGRAM, scratch, cache, out], cwd=ROOT, env=environment) as process:
        until = time.monotonic() + 200
        while not log.exists() or log.read_text().count("\n") < KILLED_AFTER:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    done = log.read_text().count("\n")
    assert KILLED_AFTER <= done < EPOCHS
    os.truncate(
        next(p for p in (tmp_path / "cache").rglob("case_*.b2nd")), 100
    )  # as a power cut does; it is made again
    resumed = train(scratch, cache, out)
    whole = train(str(tmp_path / "scratch 2"), str(tmp_path / "cache 2"), str(tmp_path / "out 2"))
    assert (resumed / model.LOG).read_text() == (whole / model.LOG).read_text()
    first, second = model.load_weights(resumed), model.load_weights(whole)
    assert all(torch.equal(first[name], second[name]) for name in second)
