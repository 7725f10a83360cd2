"""Random writers against the scan, the engine, the store and the real reading; what must be known at the end is written down anew."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from alcore.fileset import fingerprint_of
from tests.daemon.arrivals import SETTLE_S, Arrivals
from tests.daemon.filesets import content_hash, members

SLICES = "*_slices"
PLAIN, OWNERS, MEMBERS = ("p0.tif", "p1.tif", "p2.tif"), ("o0.tif", "o1.tif"), ("m0.tif", "m1.tif", "m2.tif")
FOLDERS = ("t0.zarr", "t1.zarr", "p2.tif", "a_slices", "b_slices", "sub", "sub/c_slices")
INGESTED, ASIDE = "ingested", "set_aside"


class Writers:
    """One random thing that somebody does in the folder at a time. Every content is another one, so that a copy is meant."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.root, self.rng, self.number = root, rng, 0
        self.log: list[str] = []

    def act(self) -> None:
        name = self.rng.choice([n for n in dir(self) if n.startswith("do_")])
        try:
            getattr(self, name)()
            self.log.append(name)
        except OSError as e:  # something of another kind is in the way, or nothing is there
            self.log.append(f"{name}: {e.strerror}")

    def content(self) -> bytes:
        self.number += 1
        return b"%d" % self.number

    def any_file(self) -> Path:
        found = sorted(p for p in self.root.rglob("*") if p.is_file())
        return self.rng.choice(found) if found else self.root / "nothing"

    def place(self) -> Path:
        folder = self.root / self.rng.choice(("", "", "sub", "a_slices", "sub/c_slices"))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def do_write(self) -> None:
        (self.place() / self.rng.choice(PLAIN)).write_bytes(self.content())

    def do_write_again(self) -> None:
        (self.place() / self.rng.choice(PLAIN)).write_bytes(self.content())

    def do_write_nothing(self) -> None:
        (self.place() / self.rng.choice(PLAIN)).write_bytes(b"")

    def do_append(self) -> None:
        with open(self.any_file(), "ab") as f:
            f.write(b"\n" + self.content())

    def do_overwrite_in_place_with_the_old_time(self) -> None:
        path = self.any_file()
        before = path.stat()
        path.write_bytes(self.content())
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def do_touch(self) -> None:
        os.utime(self.any_file(), (self.rng.choice([0, 1e9, 4e9]),) * 2)

    def do_replace(self) -> None:
        tmp = self.root / ".new.tmp"
        tmp.write_bytes(self.content())
        tmp.rename(self.any_file())

    def do_delete(self) -> None:
        self.any_file().unlink()

    def do_delete_another(self) -> None:
        self.any_file().unlink()

    def do_rename(self) -> None:
        self.any_file().rename(self.place() / self.rng.choice(PLAIN + OWNERS + MEMBERS))

    def do_link(self) -> None:
        os.link(self.any_file(), self.place() / self.rng.choice(PLAIN))

    def do_copy(self) -> None:
        shutil.copy2(self.any_file(), self.place() / self.rng.choice(PLAIN))

    def do_set(self) -> None:
        names = self.rng.sample([*MEMBERS, "p0.tif"], self.rng.randint(1, 3))
        text = f"set:{','.join(names)}\n".encode() + self.content()
        (self.place() / self.rng.choice(OWNERS)).write_bytes(text)

    def do_member(self) -> None:
        text = f"in:{self.rng.choice(OWNERS)}\n".encode() + self.content()
        (self.place() / self.rng.choice(MEMBERS)).write_bytes(text)

    def do_another_member(self) -> None:
        self.do_member()

    def do_tree(self) -> None:
        folder = self.root / self.rng.choice(FOLDERS[:3])
        folder.mkdir(exist_ok=True)
        (folder / "zarr.json").write_bytes(self.content())

    def do_chunk(self) -> None:
        folder = self.root / self.rng.choice(FOLDERS[:2]) / "c"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(self.rng.randint(0, 3))).write_bytes(self.content())

    def do_slice(self) -> None:
        folder = self.root / self.rng.choice(FOLDERS[3:5])
        folder.mkdir(exist_ok=True)
        (folder / f"z{self.rng.randint(0, 3)}.tif").write_bytes(self.content())

    def do_file_in_the_place_of_a_tree(self) -> None:
        folder = self.root / self.rng.choice(FOLDERS[:2])
        shutil.rmtree(folder)
        folder.write_bytes(self.content())

    def do_tree_in_the_place_of_a_file(self) -> None:
        path = self.root / self.rng.choice(FOLDERS[:3])
        path.unlink()
        self.do_tree()

    def do_delete_a_folder(self) -> None:
        shutil.rmtree(self.root / self.rng.choice(FOLDERS))

    def do_rename_a_folder(self) -> None:
        (self.root / self.rng.choice(FOLDERS)).rename(self.root / self.rng.choice(FOLDERS))


Expected = dict[str, set[tuple[str, str | None]]]


def expected(root: Path, slices: bool) -> Expected:
    """Name of every acquisition that is in the folder -> what may be known of it: its state, and the hash of its volume.

    There are two answers where it matters what was there first: a file that says it is described in another one, which is
    not there or unusable, was either looked at before that (set aside) or waits for it (a set without its owner).
    """
    found: Expected = {}
    for folder in [root, *(p for p in root.rglob("*") if p.is_dir())]:
        inside = folder.relative_to(root)
        if any(_is_tree(p) for p in [folder, *folder.parents] if p != root and root in p.parents):
            outermost = not any(_is_tree(p) for p in folder.parents if root in p.parents)
            if outermost and any(p.is_file() for p in folder.rglob("*")):
                found[str(inside)] = {(INGESTED, content_hash(folder))}
            continue
        files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        files = [p for p in files if p.suffix in (".tif", ".zarr")]
        if slices and inside.name.endswith("_slices"):
            images = tuple(p.name for p in files if p.suffix == ".tif")
            if images:
                found[str(inside)] = {(INGESTED, content_hash(folder / "x", images))}
            files = [p for p in files if p.suffix != ".tif"]
        _files(root, folder, files, found)
    return found


def _is_tree(folder: Path) -> bool:
    return folder.is_dir() and (folder.suffix == ".zarr" or (folder / "zarr.json").exists())


def _files(root: Path, folder: Path, files: list[Path], found: Expected) -> None:
    sets = {p: names for p in files if (names := _described(p)) is not None}
    taken = {folder / name for p, names in sets.items() for name in names if folder / name != p}
    doubtful = {folder / name for p in sets.keys() & taken for name in sets[p]}  # two files contradict each other
    for path in files:
        name = str(path.relative_to(root))
        text = path.read_bytes()
        if path in sets:
            whole = all((folder / n).is_file() for n in sets[path])
            found[name] = {(INGESTED, content_hash(path, sets[path])) if whole else (ASIDE, None)}
        elif path in taken - doubtful and not text.startswith(b"in:"):
            continue
        elif text.startswith(b"in:"):
            owner = folder / text.splitlines()[0][3:].decode()
            found[name] = {("none", None)} if path in taken - doubtful else {(ASIDE, None)}
            if owner.is_file() and not owner.read_bytes():
                found[name].add(("none", None))
            if not owner.exists():
                found[name].add(("none", None))
                found[str(owner.relative_to(root))] = {(ASIDE, None), ("none", None)}
        else:
            found[name] = {(INGESTED, content_hash(path)) if text else (ASIDE, None)}
        if path in doubtful:
            found[name].add(("none", None))


def _described(path: Path) -> tuple[str, ...] | None:
    """Names of a set, when this file describes one and stands for it."""
    text = path.read_bytes()
    return members(path) if text.startswith(b"set:") else None


def check(arrivals: Arrivals, writers: Writers, slices: bool) -> None:
    told = arrivals.there()
    wanted = expected(arrivals.folder, slices)
    wrong = {
        name: (told.get(name, ("none", None)), wanted.get(name, {("none", None)}))
        for name in told.keys() | wanted.keys()
        if told.get(name, ("none", None)) not in wanted.get(name, {("none", None)})
    }
    assert not wrong, f"{wrong}\n{writers.log[-30:]}\n{arrivals.rows()}"
    for row in arrivals.rows():
        path = Path(os.fsdecode(bytes(row["path"])))
        if row["gone"] or row["away"]:
            continue
        names = arrivals.ingest._sets.members(bytes(path))
        found = fingerprint_of(bytes(path), names)
        assert found is not None and found.to_text() == row["fingerprint"], path
    assert not any(arrivals.jobs(state) for state in ("ready", "running"))
    readable = {volume.id for volume in arrivals.store.volumes.readable()}
    waiting = arrivals.store.jobs._db.query("SELECT volume_id FROM job WHERE state = 'waiting'")
    assert not readable & {job["volume_id"] for job in waiting}
    hashes = [h for state, h in told.values() if state == INGESTED]
    sql = "SELECT COUNT(*) AS n, COUNT(DISTINCT sha256) AS d FROM volume"
    (count,) = arrivals.store.jobs._db.query(sql)
    assert count["n"] == count["d"] >= len(set(hashes))


def idle(arrivals: Arrivals) -> None:
    """Nothing has changed: nothing is said, and nothing is written."""
    before, said = arrivals.changes(), len(arrivals.told)
    for _ in range(10):
        arrivals.now += 30
        arrivals.look()
        arrivals.hear()
        arrivals.tick()
    assert (arrivals.changes(), arrivals.told[said:]) == (before, [])
    assert not arrivals.ingest._woken.is_set()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_writers_do_everything_is_known_once_as_it_is_at_the_end(tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    watch = {"folder": "in", "settle_s": SETTLE_S, "include": ["*.tif", "*.zarr"]}
    slices = rng.random() < 0.7
    arrivals = Arrivals(tmp_path, monkeypatch, watch=[watch | {"slices": [SLICES, "*/" + SLICES] if slices else []}])
    writers = Writers(arrivals.folder, rng)
    away = tmp_path / "away"

    def unmount() -> None:
        arrivals.folder.rename(away)
        if rng.random() < 0.5:
            arrivals.folder.mkdir()

    def mount() -> None:
        if arrivals.folder.exists():
            arrivals.folder.rmdir()
        away.rename(arrivals.folder)

    def meanwhile() -> None:
        if rng.random() < 0.15 and not away.exists():
            writers.act()
        elif rng.random() < 0.03 and not away.exists():
            unmount()

    arrivals.meanwhile = meanwhile
    steps: dict[Callable[[], object], int] = {
        arrivals.look: 30,
        lambda: arrivals.look(scan=False): 30,
        arrivals.hear: 30,
        lambda: arrivals.hear(most=2): 30,
        arrivals.tick: 30,
    }
    for _ in range(4):
        for _ in range(rng.randint(20, 60)):
            arrivals.now += rng.choice([0, 0.5, SETTLE_S, 3 * SETTLE_S])
            if away.exists():
                if rng.random() < 0.3:
                    mount()
            elif rng.random() < 0.6:
                writers.act()
            elif rng.random() < 0.05:
                unmount()
            rng.choices(list(steps), list(steps.values()))[0]()
            if rng.random() < 0.03:
                slices ^= rng.random() < 0.4
                arrivals.restart(watch=[watch | {"slices": [SLICES, "*/" + SLICES] if slices else []}])
        if away.exists():
            mount()
        arrivals.meanwhile = lambda: None
        arrivals.rest()
        check(arrivals, writers, slices)
        idle(arrivals)
        arrivals.restart()
        arrivals.rest(turns=40)
        check(arrivals, writers, slices)
        arrivals.meanwhile = meanwhile
    arrivals.close()
