"""What a power cut leaves of a preprocessed case is made again; and it leaves none that was said to be there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alcore.nnunet import cached_case, preprocessing, training
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.plan import PlanRequest
from alcore.run import QuietContext
from tests.alcore.nnunet.nnunet_blobs import QUICK, case

CASES = [case(1), case(2)]
FILES = (cached_case.IMAGE, *cached_case.BESIDE)


def prepare(ctx: QuietContext) -> tuple[Path, list[str]]:
    designed = training.design(PlanRequest("tiny"), CASES, ctx)
    with nnunet_process(ctx.scratch, "cpu", 1):
        return preprocessing.prepare(CASES, designed, ctx.cache, ctx.progress)


@pytest.mark.parametrize("suffix", FILES)
def test_a_file_that_was_cut_is_made_again_and_no_other(ctx: QuietContext, suffix: str) -> None:
    folder, new = prepare(ctx)
    assert new == [c.id for c in CASES]
    path = folder / f"{CASES[0].id}{suffix}"
    whole = path.stat().st_size
    others = {p: p.stat().st_mtime_ns for p in folder.iterdir() if CASES[1].id in p.name and p.suffix != ".b2nd"}
    for cut in (lambda: os.truncate(path, 0), lambda: os.truncate(path, whole // 2), path.unlink, lambda: zeros(path)):
        cut()
        assert not cached_case.is_usable(folder, CASES[0].id)
        assert prepare(ctx)[1] == [CASES[0].id]
        assert path.stat().st_size == whole
        assert prepare(ctx)[1] == []
    assert {p: p.stat().st_mtime_ns for p in others} == others


def zeros(path: Path) -> None:
    """As some file systems leave a file: of its length, without its bytes."""
    path.write_bytes(bytes(path.stat().st_size))


def test_a_training_goes_through_over_cut_cases(ctx: QuietContext, tmp_path: Path) -> None:
    folder, _ = prepare(ctx)
    for path in folder.glob("*.b2nd"):
        os.truncate(path, path.stat().st_size // 3)
    (tmp_path / "out").mkdir()
    designed = training.design(PlanRequest("tiny"), CASES, ctx)
    result = training.train(designed, training.Mixture(CASES), QUICK, 7, None, tmp_path / "out", ctx, {"kind": "test"})
    assert result["n_preprocessed"] == 2 and result["epochs"] == QUICK.epochs


def test_files_reach_the_disk_before_their_names_and_the_image_comes_last(
    ctx: QuietContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int | str]] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(fd: int) -> None:
        done.append(("fsync", os.fstat(fd).st_ino))
        fsync(fd)

    def watched_replace(source: Path, target: Path) -> None:
        done.append(("rename", os.stat(source).st_ino))
        replace(source, target)
        if str(source).endswith("_seg.b2nd") or not str(source).endswith(".b2nd"):
            assert not target.with_name(target.name.replace("_seg.b2nd", ".b2nd").replace(".pkl", ".b2nd")).exists()

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    folder, _ = prepare(ctx)
    monkeypatch.undo()
    for path in (p for p in folder.iterdir() if p.name.startswith("case_")):
        at = done.index(("rename", path.stat().st_ino))
        assert ("fsync", path.stat().st_ino) in done[:at], path
        assert ("fsync", folder.stat().st_ino) in done[at:], path
