"""The newcomer's path: what it types is what the README says, and it ends with a suggestion and an answer."""

from __future__ import annotations

import pytest

from benchmarks.newcomer import LIMIT_S, newcomer, section, synthetic_tiles


def test_it_types_what_the_readme_says():
    typed = [said.text.split()[:3] for said in section()]
    for words in (
        ["alscope", "init", "~/alscope"],
        ["alscope", "run"],
        ["alscope", "queue"],
        ["alscope", "label", "add"],
    ):
        assert words in typed
    assert all(said.page == "README.md" for said in section())


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_from_an_empty_folder_to_an_answered_suggestion(tmp_path):
    with newcomer(tmp_path, synthetic_tiles((16, 512, 512), 2)) as one:
        rows = {row.what: row for row in one.play(section())}
    (first,) = [row for what, row in rows.items() if "the first suggestion" in what]
    assert first.limit == LIMIT_S and first.value < 5 * LIMIT_S  # the machine may have other work
    assert any("label add" in what for what in rows)
