"""Cells know by which code they were played."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from alcore.simulation import code
from alcore.simulation.pair import Pair
from alcore.simulation.settings import Settings
from alcore.simulation.worker import Player, Run


def test_any_change_of_any_source_file_changes_the_digest(tmp_path: Path) -> None:
    for name, text in {"a/x.py": "1", "a/sub/y.py": "2", "b/z.py": "3", "a/notes.md": "4"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    first = code.digest(tmp_path, ("a", "b"))
    (tmp_path / "a/notes.md").write_text("5")
    assert code.digest(tmp_path, ("a", "b")) == first != code.digest(tmp_path, ("a",))
    (tmp_path / "a/sub/y.py").write_text("3")
    changed = code.digest(tmp_path, ("a", "b"))
    (tmp_path / "a/sub/y.py").rename(tmp_path / "a/sub/w.py")
    assert len({first, changed, code.digest(tmp_path, ("a", "b"))}) == 3


def test_the_folder_of_the_cells_is_another_with_other_code(
    tissue: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = code.versions()
    assert known["numpy"] == metadata.version("numpy") and known["scikit-learn"] and len(known["source"]) == 16
    run = Run((tissue,), Settings(patch_px=(6, 20, 20)), ("random",), (False,), (0,), "fast", tmp_path)
    names = {Player(run).game(tissue).folder.name}
    for name in known:
        monkeypatch.setattr(code, "versions", lambda name=name: known | {name: "other"})
        names.add(Player(run).game(tissue).folder.name)
    assert len(names) == 1 + len(known)
