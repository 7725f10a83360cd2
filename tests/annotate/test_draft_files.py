"""Whose draft is whose, which one is offered, which one is forgotten, and that two windows never share one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alcore.annotate.draft_files import (
    ABOUT,
    ASIDE,
    DRAFT,
    LOCK,
    DraftInUseError,
    begun,
    drafted_by,
    drafts_of,
    forget_unchanged,
    one_window,
    own_folder,
    to_begin_with,
)

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=80)


def drew(folder: Path, user: str | None, when: float = 1000.0, content: bytes = b"drawn") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "new").write_bytes(content)
    os.utime(folder / "new", (when, when))
    os.replace(folder / "new", folder / DRAFT)  # as drafts are written
    if user is not None:
        (folder / ABOUT).write_text(json.dumps({"user": user}))


@given(names, names)
def test_everybody_has_one_folder_below_that_of_the_patch(one: str, other: str) -> None:
    patch = Path("drafts/s1")
    first, second = own_folder(patch, one), own_folder(patch, other)
    assert first.parent == patch and first.name not in ("", ".", "..", ASIDE, DRAFT, ABOUT, LOCK)
    assert len(first.name.encode()) < 100
    assert (first.name.lower() == second.name.lower()) == (one.strip() == other.strip())


def test_a_plain_name_can_be_read_in_the_folder() -> None:
    assert own_folder(Path("s1"), " ana_2 ") == Path("s1/ana_2")
    assert (
        len({own_folder(Path("s1"), name).name.lower() for name in ("ana", "Ana", "an/a", "..", "", "put.aside")}) == 6
    )


def test_the_own_draft_comes_first_then_the_newest_of_others(tmp_path: Path) -> None:
    patch = tmp_path / "s1"
    assert begun(patch, "ana") is None and to_begin_with(patch, "ana") == []
    patch.mkdir()
    (patch / "ben").mkdir()
    assert begun(patch, "ana") is None, "a folder alone is no draft"
    drew(patch / "ben", "ben", 1000.0)
    drew(patch / "cleo", "cleo", 3000.0)
    drew(patch, "dora", 2000.0)
    assert begun(patch, "ana") is False and begun(patch, "ben") is True and begun(patch, "dora") is True
    assert to_begin_with(patch, "ana") == [patch / "cleo", patch, patch / "ben"]
    assert to_begin_with(patch, "dora") == [patch, patch / "cleo", patch / "ben"]
    drew(patch / "ana" / ASIDE, "ana", 500.0)
    assert begun(patch, "ana") is False
    assert to_begin_with(patch, "ana")[0] == patch / "ana" / ASIDE
    drew(patch / "ana", None, 100.0)  # killed before it was said whose it is
    assert begun(patch, "ana") is True and to_begin_with(patch, "ana")[:2] == [patch / "ana", patch / "ana" / ASIDE]


def test_only_what_was_handed_in_is_forgotten(tmp_path: Path) -> None:
    patch = tmp_path / "s1"
    drew(patch, "ana")
    drew(patch / "ana", "ana")
    drew(patch / "ana" / ASIDE, "ana")
    drew(patch / "ben", "ben")
    handed_in = drafts_of(patch, "ana")
    forget_unchanged(handed_in)
    assert drafted_by(patch) is None and drafted_by(patch / "ana") is None and drafted_by(patch / "ana" / ASIDE) is None
    assert drafted_by(patch / "ben") == "ben"


def test_what_was_drawn_after_the_label_was_handed_in_stays(tmp_path: Path) -> None:
    patch = tmp_path / "s1"
    drew(patch / "ana", "ana")
    drew(patch, "ben")
    handed_in = drafts_of(patch, "ana")
    drew(patch / "ana", "ana", content=b"other")  # as long, at the same second
    forget_unchanged(handed_in)
    assert drafted_by(patch / "ana") == "ana" and drafted_by(patch) == "ben"
    handed_in = drafts_of(patch, "ana")
    with one_window(patch / "ana"):
        forget_unchanged(handed_in)
    assert drafted_by(patch / "ana") == "ana", "somebody sits before it"
    forget_unchanged(handed_in)
    assert drafted_by(patch / "ana") is None


def test_a_second_window_is_refused_until_the_first_is_gone_however_it_ended(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from alcore.annotate.draft_files import one_window\n"
        f"with one_window(Path({str(tmp_path / 'ana')!r})):\n    print('open', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None and first.stdout.readline() == b"open\n"
        with pytest.raises(DraftInUseError, match="another window has this draft open"), one_window(tmp_path / "ana"):
            pass
        with one_window(tmp_path / "ben"):
            pass
    finally:
        first.kill()
        first.communicate()
    with one_window(tmp_path / "ana"):
        pass
