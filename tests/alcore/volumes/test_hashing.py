"""The content hash: what it is of, and that it notices files that change or vanish."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from alcore.errors import SourceChangedError, SourceMissingError
from alcore.volumes import hashing
from alcore.volumes.hashing import SourceHash


def test_a_file_has_the_hash_of_its_bytes_however_it_is_kept_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "READ_BYTES", 1000)
    monkeypatch.setattr(hashing, "AHEAD_BYTES", 2500)
    path = tmp_path / "v.tif"
    path.write_bytes(os.urandom(50_123))
    with SourceHash(path, None) as found:
        for i in range(11):
            found.level(i / 10)
        assert found.digest() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_waits_for_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "READ_BYTES", 1000)
    monkeypatch.setattr(hashing, "AHEAD_BYTES", 2500)
    path = tmp_path / "v.tif"
    path.write_bytes(bytes(50_000))
    with SourceHash(path, None) as found:
        found.level(0.1)
        threading.Event().wait(0.2)
        assert 5000 - 2500 < found._done <= 5000 + 2500 + 1000


def test_a_tree_is_the_same_under_another_name_and_without_what_a_copier_left(tmp_path: Path) -> None:
    for name in ("a.zarr", "b.zarr"):
        (tmp_path / name / "0").mkdir(parents=True)
        (tmp_path / name / ".zattrs").write_bytes(b"{}")
        (tmp_path / name / "0" / "1").write_bytes(b"chunk")
    (tmp_path / "b.zarr" / "0" / ".1.Ab3dE9").write_bytes(b"half a chunk")
    digests = []
    for name in ("a.zarr", "b.zarr"):
        with SourceHash(tmp_path / name, None) as found:
            digests.append(found.digest())
    lines = b""
    for inner, data in ((b".zattrs", b"{}"), (b"0/1", b"chunk")):
        lines += b"%d:%s:%d:%s\n" % (len(inner), inner, len(data), hashlib.sha256(data).hexdigest().encode())
    assert digests == [hashlib.sha256(lines).hexdigest()] * 2


def test_files_that_shrink_or_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.tif"
    path.write_bytes(bytes(5000))
    found = SourceHash(path, None)
    os.truncate(path, 100)
    with found, pytest.raises(SourceChangedError, match="shorter"):
        found.digest()
    path.write_bytes(bytes(5000))
    found = SourceHash(path, None)
    path.unlink()
    with found, pytest.raises(SourceMissingError):
        found.digest()
    with pytest.raises(SourceMissingError):
        SourceHash(path, None)


def test_an_error_of_the_reader_ends_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "AHEAD_BYTES", 1)
    monkeypatch.setattr(hashing, "READ_BYTES", 1)
    path = tmp_path / "v.tif"
    path.write_bytes(bytes(5000))
    with pytest.raises(RuntimeError), SourceHash(path, None):
        raise RuntimeError
    assert not [t for t in threading.enumerate() if t.name == "hash"]
