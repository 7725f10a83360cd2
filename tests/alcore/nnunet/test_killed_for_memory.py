"""A training that Linux ends because memory ran out goes on with half the batch; one that was killed otherwise, as it was."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alcore.nnunet import killed, training
from alcore.nnunet.killed import Attempt
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.remedies import Remedies
from alcore.run import QuietContext
from tests.alcore.nnunet.nnunet_blobs import QUICK, case

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = "import sys; from tests.alcore.nnunet.test_killed_for_memory import dying; dying(*sys.argv[1:])"


@pytest.fixture
def counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as Linux does; nobody can have it kill for a test."""
    path = tmp_path / "vmstat"
    monkeypatch.setattr(killed, "COUNTERS", path)
    count(path, 7)
    return path


def count(path: Path, n: int) -> None:
    path.write_text(f"pgfault 12\noom_kill {n}\nunevictable_pgs_cleared 0\n")


def train(root: Path, batch: int) -> dict[str, object]:
    ctx = QuietContext(root / "scratch", root / "cache")
    out = root / "out"
    for folder in (ctx.scratch, out):
        folder.mkdir(exist_ok=True)
    cases = [case(1), case(2)]
    designed = training.design(PlanRequest("tiny"), cases, ctx)
    schedule = dataclasses.replace(QUICK, batch=batch)
    return training.train(designed, training.Mixture(cases), schedule, 7, None, out, ctx, {"kind": "test"})


def dying(root: str, counters: str, batch: str, steps: str) -> None:
    """A training that is killed, as Linux does it, after so many steps."""
    from alcore.nnunet.trainer import nnUNetTrainer

    original, done = nnUNetTrainer.train_step, []

    def step(self: object, crops: dict[str, object]) -> dict[str, object]:
        if len(done) == int(steps):
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(len(crops["data"]))  # type: ignore[arg-type]
        found: dict[str, object] = original(self, crops)
        return found

    nnUNetTrainer.train_step = step
    killed.COUNTERS = Path(counters)
    train(Path(root), int(batch))


def died(root: Path, counters: Path, batch: int, after: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(root), str(counters), str(batch), str(after)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == -signal.SIGKILL


def test_what_ran_out_of_memory_before_a_checkpoint_gets_half_the_batch(tmp_path: Path, counters: Path) -> None:
    died(tmp_path, counters, batch=4, after=1)
    count(counters, 8)
    result = train(tmp_path, 4)
    assert result["batch"] == 2
    assert result["notes"] == ["batch of 2: there was no memory for 4"]
    assert Remedies.load(tmp_path / "scratch").batch == 2
    assert Attempt(tmp_path / "scratch").fatal_batch() is None


@pytest.mark.slow
def test_a_kill_that_was_no_lack_of_memory_changes_nothing(tmp_path: Path, counters: Path) -> None:
    died(tmp_path, counters, batch=4, after=1)
    assert json.loads((tmp_path / "scratch" / "attempt.json").read_text())["batch"] == 4
    result = train(tmp_path, 4)
    assert (result["batch"], result["notes"]) == (4, [])


@pytest.mark.slow
def test_a_batch_that_came_to_a_checkpoint_is_tried_once_more(tmp_path: Path, counters: Path) -> None:
    died(tmp_path, counters, batch=4, after=QUICK.iterations + 1)  # an epoch, which was saved
    count(counters, 8)
    died(tmp_path, counters, batch=4, after=1)
    assert Remedies.load(tmp_path / "scratch").batch is None
    count(counters, 9)
    assert train(tmp_path, 4)["batch"] == 2


def test_a_single_crop_can_only_be_tried_again(tmp_path: Path, counters: Path) -> None:
    (tmp_path / "scratch").mkdir()
    Attempt(tmp_path / "scratch").begin(1)
    count(counters, 8)
    assert train(tmp_path, 1)["batch"] == 1


def test_what_cannot_be_known_is_not_blamed_on_the_batch(
    tmp_path: Path, counters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Attempt(tmp_path)
    assert attempt.fatal_batch() is None
    attempt.begin(8)
    assert attempt.fatal_batch() is None
    count(counters, 8)
    assert attempt.fatal_batch() == 8
    (tmp_path / "boot").write_text("another\n")  # the power went: the count began anew, and may have come further
    with monkeypatch.context() as other:
        other.setattr(killed, "BOOT", tmp_path / "boot")
        assert attempt.fatal_batch() is None
    (tmp_path / "attempt.json").write_text('{"batch"')
    assert attempt.fatal_batch() is None
    counters.unlink()  # a system that does not count
    attempt.begin(8)
    count(counters, 9)
    assert attempt.fatal_batch() is None
    attempt.begin(8)
    attempt.passed()
    count(counters, 10)
    assert attempt.fatal_batch() is None
