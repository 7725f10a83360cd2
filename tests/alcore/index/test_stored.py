"""A stored pool that is cut, changed, foreign or killed in the middle is never believed: it is the old one, the new one, or rebuilt."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from alcore.index import PoolIndex, stored

ROOT = Path(__file__).resolve().parents[3]
DIM = 6


def rows(seed: int, n: int, dim: int = DIM) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(n, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def saved(directory: Path, *sizes: int) -> PoolIndex:
    index = PoolIndex("encoder-1", DIM)
    for i, n in enumerate(sizes):
        index.add(f"embedding-{i}", rows(i, n))
    index.save(directory)
    return index


def loaded(directory: Path) -> tuple[PoolIndex, str]:
    return PoolIndex.load(directory, "encoder-1", DIM)


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob(stored.ROWS_FILE))


def holds(index: PoolIndex, *numbers: int) -> None:
    """Exactly these embeddings, unchanged."""
    assert set(index.counts) == {f"embedding-{i}" for i in numbers}
    for i in numbers:
        key = f"embedding-{i}"
        np.testing.assert_array_equal(index.vectors([key]), rows(i, index.counts[key]))


def test_only_new_rows_are_written(tmp_path):
    index = saved(tmp_path, 50, 30)
    (path,) = files(tmp_path)
    inode, size = path.stat().st_ino, path.stat().st_size
    assert size == 80 * DIM * 4
    index.add("embedding-2", rows(2, 7))
    index.remove("embedding-1")
    index.save(tmp_path)
    assert path.stat().st_ino == inode and path.stat().st_size == 87 * DIM * 4, "a removal is only a hole"
    again, note = loaded(tmp_path)
    assert note == ""
    holds(again, 0, 2)


def test_a_file_of_holes_is_written_anew_and_old_readers_keep_theirs(tmp_path):
    index = saved(tmp_path, 50, 30)
    reader, _ = loaded(tmp_path)
    index.remove("embedding-0")
    index.add("embedding-2", rows(2, 1))
    index.save(tmp_path)
    (path,) = files(tmp_path)
    assert path.stat().st_size == 31 * DIM * 4
    holds(reader, 0, 1)
    holds(loaded(tmp_path)[0], 1, 2)


def test_two_writers_do_not_mix(tmp_path):
    saved(tmp_path, 5, 3)
    first, second = loaded(tmp_path)[0], loaded(tmp_path)[0]
    first.add("embedding-7", rows(7, 4))
    second.add("embedding-8", rows(8, 4))
    first.save(tmp_path)
    second.save(tmp_path)
    holds(first, 0, 1, 7)
    holds(second, 0, 1, 8)
    holds(loaded(tmp_path)[0], 0, 1, 8)
    assert len(files(tmp_path)) == 1


def test_nothing_that_somebody_may_have_mapped_is_written_over(tmp_path):
    index = saved(tmp_path, 50, 30)
    reader, _ = loaded(tmp_path)
    index.remove("embedding-1")
    index.save(tmp_path)
    index = loaded(tmp_path)[0]
    index.add("embedding-2", rows(2, 9))
    index.save(tmp_path)
    holds(reader, 0, 1)
    holds(loaded(tmp_path)[0], 0, 2)


def test_rows_that_nobody_speaks_of_do_no_harm(tmp_path):
    index = saved(tmp_path, 5)
    with open(files(tmp_path)[0], "ab") as f:
        f.write(b"rows of a process that was killed before it could say so")
    holds(loaded(tmp_path)[0], 0)
    index.add("embedding-1", rows(1, 3))
    index.save(tmp_path)
    holds(loaded(tmp_path)[0], 0, 1)


def test_a_file_cut_or_changed_anywhere_is_noticed(tmp_path):
    saved(tmp_path, 2, 3)
    for path in (files(tmp_path)[0], tmp_path / stored.SIDECAR):
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at])
            index, note = loaded(tmp_path)
            assert len(index) == 0 and "rebuilt" in note, (path, at)
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            index, note = loaded(tmp_path)
            if note:
                assert len(index) == 0 and "rebuilt" in note
            else:  # one kind of white space became another
                holds(index, 0, 1)
        path.write_bytes(whole)
    holds(loaded(tmp_path)[0], 0, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder": "encoder-2"}, "encoder is 'encoder-2'"),
        ({"dim": DIM + 1}, "dim is 7"),
        ({"format": 1}, "format is 1"),
        ({"file": "../elsewhere.f32"}, "is missing"),
        ({"file": "rows-gone.f32"}, "is missing"),
        ({"segments": {"embedding-0": [0, 99, "00"]}}, "fewer than its 99 rows"),
        ({"segments": {"a": [0, 2, "00"], "b": [1, 2, "00"]}}, "overlap"),
        ({"segments": {"embedding-0": [-1, 2, "00"]}}, "overlap"),
        ({"segments": {"embedding-0": [0, 2]}}, "not enough values"),
        ({"segments": [1]}, "items"),
    ],
)
def test_a_sidecar_that_says_something_else(tmp_path, change, words):
    saved(tmp_path, 2)
    about = json.loads((tmp_path / stored.SIDECAR).read_text())["pool"]
    (tmp_path / stored.SIDECAR).write_bytes(stored.signed(about | change))
    index, note = loaded(tmp_path)
    assert len(index) == 0 and words in note and note.endswith("rebuilt")


def test_another_encoder_or_dimension_is_rebuilt_and_replaces_it(tmp_path):
    saved(tmp_path, 5)
    for encoder, dim, word in (("encoder-2", DIM, "encoder"), ("encoder-1", DIM + 1, "dim")):
        index, note = PoolIndex.load(tmp_path, encoder, dim)
        assert (len(index), index.dim) == (0, dim) and word in note
    index.add("other", rows(3, 4, DIM + 1))
    index.save(tmp_path)
    assert len(files(tmp_path)) == 1
    assert PoolIndex.load(tmp_path, "encoder-1", DIM + 1)[0].counts == {"other": 4}
    assert "no pool index yet" in PoolIndex.load(tmp_path / "nowhere", "encoder-1", DIM)[1]


@pytest.mark.parametrize("step", ["fsync", "fsync_dir", "write_atomic", "unlink"])
def test_failing_at_any_step_leaves_the_old_or_the_new(tmp_path, monkeypatch, step):
    index = saved(tmp_path, 5, 3)
    index.add("embedding-2", rows(2, 4))

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        target = {"fsync": "os.fsync", "unlink": "pathlib.Path.unlink"}.get(step, f"alcore.index.stored.{step}")
        (tmp_path / "rows-stale.f32").write_bytes(b"")
        patch.setattr(target, fail)
        with pytest.raises(OSError, match="No space left"):
            index.save(tmp_path)
    again, note = loaded(tmp_path)
    assert note == ""
    holds(again, *((0, 1, 2) if step == "unlink" else (0, 1)))
    index.save(tmp_path)
    holds(loaded(tmp_path)[0], 0, 1, 2)


KILLED = """
import sys
from pathlib import Path
import numpy as np
from alcore.index import PoolIndex
directory = Path(sys.argv[1])
index, note = PoolIndex.load(directory, "e", 32)
rng = np.random.default_rng(0)
i = len(index.counts)
while True:
    found = rng.normal(size=(200, 32)); found /= np.linalg.norm(found, axis=1, keepdims=True)
    index.add(str(i), found.astype(np.float32))
    if i % 3 == 2:
        index.remove(str(i - 1)); index.remove(str(i - 2))
    index.save(directory)
    print(i, flush=True)
    i += 1
"""


def test_a_process_killed_at_any_moment_leaves_a_good_pool(tmp_path):
    for attempt in range(4):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(0.05 * (1 + attempt) + 0.013)
        child.send_signal(signal.SIGKILL)
        said = [int(line) for line in child.stdout.read().split()]
        child.wait()
        child.stdout.close()
        index, note = PoolIndex.load(tmp_path, "e", 32)
        assert note == ""
        if said:
            assert str(said[-1]) in index.counts or str(said[-1] + 1) in index.counts
        assert all(n == 200 for n in index.counts.values())
