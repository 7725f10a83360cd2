"""A context in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from alcore.run import QuietContext


@pytest.fixture
def ctx(tmp_path: Path) -> QuietContext:
    (tmp_path / "scratch").mkdir()
    return QuietContext(tmp_path / "scratch", tmp_path / "cache")
