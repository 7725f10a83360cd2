"""What jobs are about, in words for people."""

from __future__ import annotations

import sqlite3

import pytest

from daemon.store.subjects import subject_names
from daemon.wording import doing


@pytest.mark.parametrize(
    ("stage", "subject", "says"),
    [
        ("suggestions", "pool:1:16", "choosing patches from 1 volume"),
        ("suggestions", "pool:6:24", "choosing patches from 6 volumes"),
        ("encoder", "pool:1", "making an encoder of 1 patch"),
        ("novelty", "novelty:3:1", "comparing 1 volume with all before"),
        ("novelty", "novelty:3:6", "comparing 6 volumes with all before"),
    ],
)
def test_one_is_not_several(stage, subject, says):
    names = subject_names(sqlite3.connect(":memory:"), [subject])
    assert doing(stage, names[subject]) == says
