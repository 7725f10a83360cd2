"""Writers that do everything wrong, against a real daemon: nothing lost, nothing twice, nothing half-read, no file touched."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.alcore.volumes.ome_set import write_ome_set
from tests.daemon.daemons import RealDaemon, real_daemon
from tests.faults.invariants import check

SETTLE_S = 1.5
LONG_S = 2.0 * SETTLE_S
"""A pause that is longer than the settle time."""
CONFIG = f"""
workspace = "ws"
[[watch]]
folder = "in"
settle_s = {SETTLE_S}
slices = ["*slices"]
axes = "ZYX"
exclude = ["*.skip.tif"]
[patch]
shape_px = [8, 64, 64]
[encoder]
min_patches = 100000
[training]
pretrain = false
[run]
min_free_gb = 0.0
rescan_s = 2.0
nice = 0
"""
SHAPE = (8, 64, 72)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RealDaemon]:
    with real_daemon(tmp_path, CONFIG) as made:
        yield made


def image(seed: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(100, 20, SHAPE).clip(0, 255).astype(np.uint8)


def tiff(path: Path, seed: int) -> bytes:
    """The bytes of a volume that is like no other; byte 1000 is a voxel."""
    tifffile.imwrite(path, image(seed), photometric="minisblack", metadata={"axes": "ZYX"})
    data = path.read_bytes()
    path.unlink()
    return data


def content_hash(path: Path) -> str:
    """The hash of an acquisition as the store knows it: of the file, or of one line per file of a folder or set."""
    if path.is_file() and not path.name.endswith(".companion.ome"):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    folder = path.parent if path.is_file() else path
    files = {os.fsencode(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    for name, file in sorted(files.items()):
        data = file.read_bytes()
        whole.update(b"%d:%s:%d:%s\n" % (len(name), name, len(data), hashlib.sha256(data).hexdigest().encode()))
    return whole.hexdigest()


def tree(folder: Path) -> dict[bytes, tuple[str, int]]:
    """Path -> (hash, modification time) of every file below a folder."""
    return {
        bytes(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


def query(daemon: RealDaemon, sql: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(f"file:{daemon.workspace}/alscope.db?mode=ro", uri=True, timeout=10)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def held(daemon: RealDaemon) -> dict[bytes, str]:
    """What is there and was read: path -> hash of its volume now."""
    sql = (
        "SELECT s.path, v.sha256 FROM source s JOIN source_part l ON l.source_id = s.id AND l.current = 1"
        " JOIN volume v ON v.id = l.volume_id WHERE s.state = 'ingested' AND s.gone = 0 AND s.away = 0"
    )
    found = query(daemon, sql)
    assert len({path for path, _ in found}) == len(found)
    return {bytes(path): sha for path, sha in found}


def wait(what: Callable[[], object], timeout: float, why: Callable[[], object]) -> None:
    until = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < until, why()
        time.sleep(0.2)


class Writers:
    """Each method is a writer; all run at the same time, each in a thread of its own.

    They say which acquisitions are whole in the end (`final`), and which versions were whole on the way (`versions`).
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self.scratch = folder, scratch
        self.final: set[Path] = set()
        self.versions: set[str] = set()
        self.errors: list[BaseException] = []
        scratch.mkdir()

    def run(self) -> list[threading.Thread]:
        names = [name for name in dir(self) if name.startswith("write_")]
        threads = [threading.Thread(target=self._one, args=(n, i)) for i, n in enumerate(names)]
        for thread in threads:
            thread.start()
        return threads

    def _one(self, name: str, seed: int) -> None:
        try:
            data = tiff(self.scratch / f"{name}.tif", seed)
            path = self.folder / f"{name.removeprefix('write_')}.tif"
            final = getattr(self, name)(path, data, self.scratch / f"{name}.tif")
            self.final.add(final or path)
        except BaseException as e:
            self.errors.append(e)

    def write_append_with_long_pauses_held_open(self, path: Path, data: bytes, scratch: Path) -> None:
        with open(path, "wb") as f:
            for part in np.array_split(np.frombuffer(data, np.uint8), 4):
                f.write(part.tobytes())
                f.flush()
                time.sleep(LONG_S)

    def write_preallocate_then_fill(self, path: Path, data: bytes, scratch: Path) -> None:
        with open(path, "wb") as f:
            f.truncate(len(data))
            time.sleep(LONG_S)
            for start in range(0, len(data), 8192):
                f.seek(start)
                f.write(data[start : start + 8192])
                f.flush()
                time.sleep(0.3)

    def write_preallocate_and_reopen_per_plane(self, path: Path, data: bytes, scratch: Path) -> None:
        """Closed between planes, for longer than the settle time: the header, which comes last, is what tells."""
        with open(path, "wb") as f:
            f.truncate(len(data))
        plane = SHAPE[1] * SHAPE[2]
        for start in reversed(range(0, len(data), plane)):
            time.sleep(LONG_S if start < 2 * plane else 0.2)
            with open(path, "r+b") as f:
                f.seek(start)
                f.write(data[start : start + plane])

    def write_pages_one_after_the_other(self, path: Path, data: bytes, scratch: Path) -> None:
        """As tifffile appends: a page, its directory, a link from the one before; closed only at the end."""
        with tifffile.TiffWriter(path) as tif:
            for plane in image(1000):
                tif.write(plane, photometric="minisblack", metadata=None, contiguous=False)
                time.sleep(0.6)

    def write_rsync(self, path: Path, data: bytes, scratch: Path) -> None:
        self._rsync(path, data, scratch)

    def write_rsync_inplace(self, path: Path, data: bytes, scratch: Path) -> None:
        self._rsync(path, data, scratch, "--inplace")

    def _rsync(self, path: Path, data: bytes, scratch: Path, *options: str) -> None:
        scratch.write_bytes(data)
        if shutil.which("rsync") is None:  # the test says so and skips where this matters
            shutil.copy(scratch, path)
            return
        subprocess.run(["rsync", "-a", "--bwlimit=16", *options, str(scratch), str(path)], check=True)

    def write_cp_preserving(self, path: Path, data: bytes, scratch: Path) -> None:
        """An old modification time must not look like a file that has been quiet for years."""
        scratch.write_bytes(data)
        os.utime(scratch, (1e9, 1e9))
        with open(path, "wb") as f:
            f.write(data[: len(data) // 2])
            f.flush()
            os.utime(path, (1e9, 1e9))
            time.sleep(LONG_S)
            f.write(data[len(data) // 2 :])
        shutil.copystat(scratch, path)

    def write_move_on_the_same_file_system(self, path: Path, data: bytes, scratch: Path) -> None:
        hidden = path.with_name(f".{path.name}.part")
        hidden.write_bytes(data)
        time.sleep(LONG_S)
        hidden.rename(path)

    def write_move_from_another_file_system(self, path: Path, data: bytes, scratch: Path) -> None:
        other = Path("/dev/shm") if Path("/dev/shm").is_dir() else scratch.parent
        away = other / f"alscope-test-{os.getpid()}.tif"
        away.write_bytes(data)
        shutil.move(away, path)

    def write_hard_link(self, path: Path, data: bytes, scratch: Path) -> None:
        scratch.write_bytes(data)
        os.link(scratch, path)
        time.sleep(2 * LONG_S)
        os.link(scratch, path.with_name("hard_link_again.tif"))
        self.final.add(path.with_name("hard_link_again.tif"))

    def write_slices_out_of_order(self, path: Path, data: bytes, scratch: Path) -> Path:
        folder = path.with_suffix("").with_name("out_of_order_slices")
        folder.mkdir()
        for z in np.random.default_rng(0).permutation(SHAPE[0]):
            tifffile.imwrite(folder / f"z{z}.tif", image(2000)[z], photometric="minisblack", metadata=None)
            time.sleep(0.5)
        return folder

    def write_zarr_chunk_by_chunk(self, path: Path, data: bytes, scratch: Path) -> Path:
        import zarr

        folder = path.with_suffix(".zarr")
        group = zarr.open_group(folder, mode="w", zarr_format=2)
        axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
        scale = {"type": "scale", "scale": [0.04, 0.01, 0.01]}
        dataset = {"path": "0", "coordinateTransformations": [scale]}
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [dataset]}]
        array: Any = group.create_array("0", shape=SHAPE, chunks=(4, 32, 36), dtype="uint8")
        for z in (4, 0):
            for y in (32, 0):
                for x in (0, 36):
                    block = np.s_[z : z + 4, y : y + 32, x : x + 36]
                    array[block] = image(3000)[block]
                    time.sleep(0.8)
        return folder

    def write_ome_set_with_the_companion_in_the_middle(self, path: Path, data: bytes, scratch: Path) -> Path:
        made, folder = scratch.with_suffix(""), path.with_name("set")
        made.mkdir()
        write_ome_set(made, [image(6000)[None, None]], lambda s, t, c, z: f"set_{z}.tif", "s.companion.ome")
        names = sorted(p.name for p in made.iterdir() if p.suffix == ".tif")
        folder.mkdir()
        for name in (*names[5:], "s.companion.ome", *names[:5]):
            shutil.copy(made / name, folder / name)
            time.sleep(LONG_S if name in (names[5], "s.companion.ome") else 0.5)
        return folder / "s.companion.ome"

    def write_rename_while_it_settles(self, path: Path, data: bytes, scratch: Path) -> Path:
        path.write_bytes(data)
        time.sleep(0.6 * SETTLE_S)
        renamed = path.rename(path.with_name("renamed.tif"))
        time.sleep(0.6 * SETTLE_S)
        (path.parent / "deeper").mkdir()
        return renamed.rename(path.parent / "deeper" / "renamed_again.tif")

    def write_overwrite_after_ingest(self, path: Path, data: bytes, scratch: Path) -> None:
        path.write_bytes(data)
        self.versions.add(hashlib.sha256(data).hexdigest())
        time.sleep(6 * SETTLE_S)
        other = tiff(scratch, 4000)
        with open(path, "r+b") as f:  # in place, and with the old modification time
            f.write(other)
            f.truncate()
        os.utime(path, (1e9, 1e9))

    def write_delete_and_come_back(self, path: Path, data: bytes, scratch: Path) -> None:
        path.write_bytes(data)
        time.sleep(1.1 * SETTLE_S)
        path.unlink()
        time.sleep(LONG_S)
        path.write_bytes(data)

    def write_odd_names(self, path: Path, data: bytes, scratch: Path) -> None:
        names = [
            b"with spaces [and] brackets.tif",
            "\U0001f52c emoji.tif".encode(),
            b"new\nline.tif",
            b"x" * 251 + b".tif",
            b"not \xff utf-8.tif",
            b"[red]markup[bold] [link=x].tif",
        ]
        for number, name in enumerate(names):
            odd = Path(os.fsdecode(os.path.join(bytes(self.folder), name)))
            odd.write_bytes(tiff(scratch, 5000 + number))
            self.final.add(odd)
        path.write_bytes(data)


def test_hostile_writers(daemon: RealDaemon, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.tif").write_bytes(tiff(tmp_path / "t.tif", 9000))
    (daemon.folder / "link.tif").symlink_to(outside / "secret.tif")
    (daemon.folder / "linked_folder").symlink_to(outside)
    (daemon.folder / "wrong.skip.tif").write_bytes(tiff(tmp_path / "t.tif", 9001))
    (daemon.folder / "half.tif").write_bytes(tiff(tmp_path / "t.tif", 9002)[:5000])
    daemon.start()
    daemon.ready()
    writers = Writers(daemon.folder, tmp_path / "scratch")
    for thread in writers.run():
        thread.join()
    assert not writers.errors
    before = tree(daemon.folder)
    expected = {bytes(path): content_hash(path) for path in writers.final}

    def missing() -> dict[bytes, str]:
        return dict(expected.items() - held(daemon).items())

    def states() -> object:
        return missing(), query(daemon, "SELECT path, state, reason FROM source"), daemon.log[-2000:]

    wait(lambda: not missing(), 120, states)
    names = query(daemon, "SELECT COUNT(*), COUNT(DISTINCT export_name) FROM volume")
    daemon.wait(lambda s: s.volumes["pseudo_labelled"] == names[0][0] and not s.running, 120)
    assert names[0][0] == names[0][1]
    assert held(daemon) == expected  # nothing lost, nothing besides
    read = {sha for (sha,) in query(daemon, "SELECT sha256 FROM volume")}
    assert read == set(expected.values()) | writers.versions  # nothing half-read at any time, nothing twice
    aside = {
        bytes(path): why for path, why in query(daemon, "SELECT path, reason FROM source WHERE state = 'set_aside'")
    }
    assert list(aside) == [bytes(daemon.folder / "half.tif")]
    assert tree(daemon.folder) == before
    shown = daemon.alscope("volumes")
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) >= len(expected) + 2
    assert daemon.alscope("status").returncode == 0
    assert daemon.stop() == 0
    check(daemon.workspace)
    if shutil.which("rsync") is None:
        pytest.skip("all but rsync was tried: the Debian package rsync is not installed")


def test_2000_files_in_200_new_folders_at_once(daemon: RealDaemon, tmp_path: Path) -> None:
    daemon.start()
    daemon.ready()
    assert daemon.alscope("pause").returncode == 0
    data = bytearray(tiff(tmp_path / "t.tif", 0))
    paths = set()
    for number in range(2000):
        folder = daemon.folder / f"a{number % 10}" / f"b{number % 200}"
        folder.mkdir(parents=True, exist_ok=True)
        data[1000 + number % 256] ^= 1 + number // 256
        (folder / f"{number}.tif").write_bytes(data)
        paths.add(bytes(folder / f"{number}.tif"))
    began = time.monotonic()
    worst = 0.0

    def settled() -> bool:
        nonlocal worst
        asked = time.monotonic()
        found = {bytes(p) for (p,) in query(daemon, "SELECT path FROM source WHERE state = 'settled'")}
        worst = max(worst, time.monotonic() - asked)
        return found == paths

    wait(settled, 90, lambda: query(daemon, "SELECT state, COUNT(*) FROM source GROUP BY state"))
    print(f"\n2,000 files known to be whole after {time.monotonic() - began:.1f} s (settle time {SETTLE_S} s)")
    assert daemon.alscope("status", timeout=10).returncode == 0
    assert daemon.alscope("resume").returncode == 0
    daemon.wait(lambda s: s.volumes["ingested"] >= 20, 120)
    assert not query(daemon, "SELECT path FROM source WHERE state = 'set_aside'")
    assert daemon.stop() == 0


@contextlib.contextmanager
def limit(name: str, value: int) -> Iterator[None]:
    """Lower a limit of inotify for a while; needs root."""
    path = Path("/proc/sys/fs/inotify") / name
    try:
        before = path.read_text()
        path.write_text(str(value))
    except OSError as e:
        pytest.skip(f"{path} cannot be set here ({e.strerror}): needs root")
    try:
        yield
    finally:
        path.write_text(before)


@pytest.mark.parametrize(("name", "value"), [("max_queued_events", 4), ("max_user_watches", 2)])
def test_events_that_are_lost_cost_a_delay_and_nothing_else(
    daemon: RealDaemon, tmp_path: Path, name: str, value: int
) -> None:
    for number in range(20):
        (daemon.folder / f"old{number}").mkdir()
    with limit(name, value):
        daemon.start()
        daemon.ready()
        wait(lambda: "alscope: watching" in daemon.log, 30, lambda: daemon.log)
        if name == "max_user_watches":  # fewer than there are folders to watch: said as long as it lasts
            daemon.wait(lambda s: any("no file events" in p.message for p in s.problems), 30)
    data = bytearray(tiff(tmp_path / "t.tif", 0))
    expected = {}
    for number in range(40):
        folder = daemon.folder / f"{'old' if number < 20 else 'new'}{number % 20}"
        folder.mkdir(exist_ok=True)
        data[1000 + number] ^= 1
        path = folder / f"{number}.tif"
        path.write_bytes(data)
        expected[bytes(path)] = content_hash(path)
    wait(lambda: held(daemon) == expected, 90, lambda: (expected.keys() - held(daemon).keys(), daemon.log[-2000:]))
    assert daemon.stop() == 0


def test_a_folder_that_is_unmounted_comes_back_by_itself(daemon: RealDaemon, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "--bind", disk, daemon.folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here ({done.stderr.strip()}): needs root")
    try:
        for number in range(3):
            (daemon.folder / f"{number}.tif").write_bytes(tiff(tmp_path / "t.tif", number))
        expected = {bytes(p): content_hash(p) for p in daemon.folder.iterdir()}
        daemon.start()
        daemon.ready()
        wait(lambda: held(daemon) == expected, 60, lambda: held(daemon))
        daemon.wait(lambda s: not s.running and s.volumes["pseudo_labelled"] == 3, 60)
        subprocess.run(["umount", "--lazy", daemon.folder], check=True)
        shot = daemon.wait(lambda s: any(p.kind == "folder" for p in s.problems), 30)
        assert shot.volumes["gone"] == 0
        assert "unreachable" in daemon.alscope("volumes").stdout
        late = daemon.folder / "written_to_the_mount_point.tif"  # somebody did not notice either
        late.write_bytes(tiff(tmp_path / "t.tif", 7))
        wait(lambda: bytes(late) in held(daemon), 60, lambda: held(daemon))
        daemon.stop()
        daemon.start()  # a restart in between forgets nothing of it
        daemon.ready()
        shot = daemon.wait(lambda s: any(p.kind == "folder" for p in s.problems), 30)
        assert shot.volumes["gone"] == 0
        subprocess.run(["mount", "--bind", disk, daemon.folder], check=True)
        (disk / "3.tif").write_bytes(tiff(tmp_path / "t.tif", 3))
        expected[bytes(daemon.folder / "3.tif")] = content_hash(disk / "3.tif")
        wait(lambda: held(daemon) == expected, 60, lambda: (held(daemon), query(daemon, "SELECT * FROM source")))
        daemon.wait(lambda s: not any(p.kind == "folder" for p in s.problems), 30)
        assert len(query(daemon, "SELECT 1 FROM volume")) == 5
        assert daemon.stop() == 0
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
        subprocess.run(["umount", "--lazy", daemon.folder], check=False)


SABOTAGE = """
import signal, threading
def end_the_observer(*_):
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("watchdog"):
            thread.stop()
signal.signal(signal.SIGUSR1, end_the_observer)
"""


def test_the_observer_is_killed(tmp_path: Path) -> None:
    """Its threads are ended from inside the daemon; the periodic scan is out of play, so that only a new observer can tell."""
    (tmp_path / "sitecustomize.py").write_text(SABOTAGE)
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    config = CONFIG.replace("rescan_s = 2.0", "rescan_s = 3600.0")
    with real_daemon(tmp_path, config, {"PYTHONPATH": paths}) as daemon:
        process = daemon.start()
        daemon.ready()
        wait(lambda: "alscope: watching" in daemon.log, 30, lambda: daemon.log)
        for number in range(2):
            process.send_signal(signal.SIGUSR1)
            time.sleep(1.0)
            path = daemon.folder / f"{number}.tif"
            path.write_bytes(tiff(tmp_path / "t.tif", number))
            wait(lambda path=path: bytes(path) in held(daemon), 60, lambda: daemon.log[-2000:])
        assert daemon.stop() == 0


def test_a_file_is_deleted_while_a_job_reads_it(daemon: RealDaemon, tmp_path: Path) -> None:
    """A stack that takes seconds to read; a smaller one comes in its place and is read as itself."""
    path = daemon.folder / "large.tif"
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 4000, (2048, 2048)).astype(np.uint16)
    planes = (np.roll(plane, 7 * z, 0) for z in range(96))
    tifffile.imwrite(path, planes, shape=(96, 2048, 2048), dtype=np.uint16, metadata={"axes": "ZYX"})
    daemon.start()
    daemon.wait(lambda s: any(j.stage == "volume" and 0.05 < j.progress < 0.9 for j in s.running), 60)
    path.unlink()
    sources = "SELECT path, state, gone, away, fingerprint, reason FROM source"
    wait(lambda: not query(daemon, sources), 30, lambda: (query(daemon, sources), query(daemon, "SELECT * FROM job")))
    assert query(daemon, "SELECT COUNT(*) FROM volume") == [(0,)]
    assert not query(daemon, "SELECT path FROM source WHERE state = 'set_aside'")
    path.write_bytes(tiff(tmp_path / "t.tif", 0))
    wait(lambda: held(daemon) == {bytes(path): content_hash(path)}, 60, lambda: query(daemon, "SELECT * FROM source"))
    assert query(daemon, "SELECT COUNT(*) FROM volume") == [(1,)]
    assert daemon.stop() == 0
