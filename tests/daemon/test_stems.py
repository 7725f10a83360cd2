"""Names of files that are made from names of volumes: every file system bears them, and ordinary ones stay as they are."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.stems import MOST_BYTES, file_stem

FORBIDDEN = set('<>:"/\\|?*')
DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("con")
@example("LPT1.ome.tif")
@example("\u2100.tif")
@example("\U00010400" * 62)
@example("../../etc/passwd")
@example("a" * 99 + ". b")
def test_any_name_becomes_one_that_every_file_system_bears(name: str) -> None:
    stem = file_stem(name)
    assert stem
    assert len(stem.encode()) <= MOST_BYTES
    assert not FORBIDDEN & set(stem)
    assert stem.isprintable()
    assert stem[0] not in " .-"
    assert stem[-1] not in " ."
    assert stem.split(".")[0].casefold() not in DEVICES


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("stack_01.tif", "stack_01"),
        ("stack 01.OME.TIFF", "stack 01"),
        ("a.nd2 (time 1 of 3, channel 1 (FM 4-64/2% CHAPS))", "a.nd2 _time 1 of 3_ channel 1 _FM 4-64_2_ CHAPS__"),
        ("tree.zarr", "tree.zarr"),
        (unicodedata.normalize("NFD", "Zelle \u00c4.tif"), "Zelle \u00c4"),
        ("\u7d30\u80de.tif", "\u7d30\u80de"),
        ("console.tif", "console"),
        ("con.tif", "_con"),
        ("-rf.tif", "rf"),
        (" .tif", "volume"),
    ],
)
def test_what_is_ordinary_stays(name: str, stem: str) -> None:
    assert file_stem(name) == stem
