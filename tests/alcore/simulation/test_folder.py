"""The folder of the results: made for the purpose or refused, and nothing of anybody else in it is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from alcore.errors import PermanentError
from alcore.simulation.folder import made_here, prepare
from tests.alcore.simulation.test_pair import touch


def test_a_new_an_empty_and_an_own_folder_are_taken(tmp_path: Path) -> None:
    prepare(tmp_path / "a" / "new")
    touch(
        tmp_path, "hidden/.DS_Store", "own/.lock", "own/results.csv", "copied/cells/0123456789abcdef/a.json", "copied/x"
    )
    touch(tmp_path, "of-runs/fast/.lock", "of-runs/nnunet/.lock")
    for name in ("hidden", "own", "copied", "of-runs"):
        prepare(tmp_path / name)
    assert not made_here(tmp_path / "of-runs")


@pytest.mark.parametrize("theirs", ["results.csv", "figures/paper_fig1.png", "cells/nuclei.tif", "run/a.txt"])
def test_a_folder_with_files_of_somebody_else_is_refused(theirs: str, tmp_path: Path) -> None:
    touch(tmp_path, f"out/{theirs}")
    with pytest.raises(PermanentError, match=r"--out .*out: holds files that no simulation wrote .* new or empty"):
        prepare(tmp_path / "out")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(PermanentError, match=r"--out .*: is, or lies below, a file; name a folder"):
            prepare(out)
