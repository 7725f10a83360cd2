"""Long lists of artifacts in pages: the same list has the same pages, one more row changes one, and damage is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alcore import pages
from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError
from alcore.stage import Input


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def rows(n: int) -> list[tuple[int, dict[str, str]]]:
    return [(i + 1, {"embedding": f"embedding-{i}", "volume": f"volume-{i}/0001"}) for i in range(n)]


def test_one_more_row_is_one_more_page_and_what_a_row_says_is_its_own(store: ArtifactStore) -> None:
    many = pages.paged(rows(3 * pages.ROWS))
    assert [row for page in many.values() for row in page] == [row for _, row in rows(3 * pages.ROWS)]
    assert len(many.keys() - pages.paged(rows(3 * pages.ROWS + 1)).keys()) == 1
    told = rows(3 * pages.ROWS)
    told[300][1]["prediction"] = "predict-1"
    assert len(many.keys() - pages.paged(told).keys()) == 1
    assert len(many.keys() - pages.paged(rows(3 * pages.ROWS)[1:]).keys()) == 1
    assert pages.paged([]) == {}


def test_a_page_is_an_artifact_that_names_others(store: ArtifactStore) -> None:
    ((key, page),) = pages.paged(rows(5)).items()
    for _ in range(2):
        pages.write(store, key, page)
    assert store.has(key) and pages.is_page(key) and not pages.is_page("embedding-0")
    there = Input(store.path(key), key)
    assert pages.read(there) == page
    assert pages.on_page(there, "volume-00ab/0001") == Input(store.path("volume-00ab") / "0001", "volume-00ab/0001")


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b"[1, 2]"])
def test_a_page_that_is_not_as_it_was_written_is_said(store: ArtifactStore, damage: bytes) -> None:
    ((key, page),) = pages.paged(rows(5)).items()
    pages.write(store, key, page)
    path = store.path(key) / pages.FILE
    path.chmod(0o640)
    path.write_bytes(damage)
    with pytest.raises(PermanentError, match=r"page\.json: is not the list that alscope wrote; remove the folder"):
        pages.read(Input(store.path(key), key))
    path.write_text(json.dumps(page[:4]))
    with pytest.raises(PermanentError, match="is not the list"):
        pages.read(Input(store.path(key), key))
    path.chmod(0o640)
    store.path(key).chmod(0o750)
    path.unlink()
    with pytest.raises(FileNotFoundError):  # it is written again when the job is planned again
        pages.read(Input(store.path(key), key))
