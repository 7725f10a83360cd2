"""How long a newcomer waits for the first suggestion, and then for everything else that the README's first section has them type.

`python -m benchmarks.newcomer [--data sbem|synthetic] [--folder F]`. The commands are read from README.md ("Five minutes to a first
suggestion") and typed as they stand there, in an empty home, with the default configuration; installing is not timed. sbem: four tiles
of the labelled SBEM stack ($ALSCOPE_DATA); synthetic: four volumes of the same size. Limit: a first suggestion two minutes after the
volumes were copied, as the README promises for a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.arrays.synthetic import em_volume
from alcore.volumes.labels import read_labels
from alcore.volumes.writers import write_image_tiff, write_labels_tiff
from benchmarks.labelled_pools import data_folder
from benchmarks.table import Row, show
from daemon.errors import WorkspaceError
from daemon.look import look
from daemon.store.views import Snapshot
from tests.docs.pages import ROOT, Said, commands

SECTION = "## Five minutes to a first suggestion"
INSTALLING = ("make", ".")
"""First words of commands that are not timed."""
SBEM, VOXEL_UM = "sbem_mito_z010-039", (0.04, 0.0059, 0.0059)
TILE = (30, 512, 512)
LIMIT_S = 120.0
PATIENCE_S = 900.0

Tile = tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.uint16]]
"""Name, image (Z, Y, X), truth (Z, Y, X)."""


def main() -> int:
    """Play the section, print the table."""
    parser = argparse.ArgumentParser(description="How long a newcomer waits.")
    parser.add_argument("--data", choices=("sbem", "synthetic"), default="sbem")
    parser.add_argument("--folder", type=Path, help="an empty folder to keep what was made [default: none is kept]")
    given = parser.parse_args()
    tiles = synthetic_tiles() if given.data == "synthetic" else sbem_tiles()
    with contextlib.ExitStack() as stack:
        root = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.mkdir(parents=True, exist_ok=True)
        with newcomer(root.absolute(), tiles) as one:
            rows = one.play(section())
    return show(f"newcomer, {len(tiles)} tiles of {given.data}, {' x '.join(map(str, tiles[0][1].shape))}", rows)


def section() -> list[Said]:
    """The commands of the README's section, in their order."""
    page = ROOT / "README.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    first = next(n for n, line in enumerate(lines, start=1) if line.startswith(SECTION))
    last = next(n for n, line in enumerate(lines, start=1) if n > first and line.startswith("## "))
    return [said for said in commands(page) if first < int(said.where.rpartition(":")[2]) < last]


def sbem_tiles() -> list[Tile]:
    """Four quarters of the stack in the plane."""
    folder = data_folder() / SBEM
    if not folder.is_dir():
        sys.exit(f"{folder}: is not at hand (set ALSCOPE_DATA to the folder that holds it, or take --data synthetic)")
    image, truth = read_labels(folder / "image.tif")[0].astype(np.uint8), read_labels(folder / "labels.tif")[0]
    return [
        (f"tile_{y}{x}.tif", image[:, at_y, at_x], truth[:, at_y, at_x].astype(np.uint16))
        for y, at_y in enumerate(_halves(image.shape[1]))
        for x, at_x in enumerate(_halves(image.shape[2]))
    ]


def _halves(n: int) -> tuple[slice, slice]:
    return slice(0, n // 2), slice(n // 2, n)


def synthetic_tiles(shape: tuple[int, int, int] = TILE, n: int = 4) -> list[Tile]:
    """Made tissue."""
    return [(f"tile_{i}.tif", *em_volume(shape, VOXEL_UM, np.random.default_rng(i))) for i in range(n)]


@contextlib.contextmanager
def newcomer(root: Path, tiles: list[Tile]) -> Iterator[Newcomer]:
    """Somebody with an empty home; what they started ends with them."""
    made = Newcomer(root, tiles)
    try:
        yield made
    finally:
        if made.daemon is not None:
            made.daemon.send_signal(signal.SIGTERM)
            made.daemon.wait()


class Newcomer:
    """Types what the README says, and looks at the clock. root/home is their home, root/microscope the watched folder."""

    def __init__(self, root: Path, tiles: list[Tile]) -> None:
        self.home, self.microscope, self.tiles = root / "alscope", root / "microscope", tiles
        self.microscope.mkdir()
        self.here, self.daemon = root, None
        self.began = 0.0
        self.rows: list[Row] = []

    daemon: subprocess.Popen[bytes] | None

    def play(self, typed: list[Said]) -> list[Row]:
        """Type everything; returns what each step took. Raises RuntimeError for a command that does not work."""
        self.began = time.monotonic()
        for said in typed:
            words = [w.replace("/data/microscope", str(self.microscope)) for w in said.words()]
            words = [self._waiting(w.replace("~/alscope", str(self.home))) for w in words]
            if words[0] in INSTALLING:
                continue
            if words[0] == "cd":
                self.here = Path(words[1])
            elif words[:2] == ["alscope", "run"]:
                self._run()
            else:
                self._prepare(words)
                self._tell(f"`{said.text}`", lambda words=words: self._type(words))
        return self.rows

    def _waiting(self, word: str) -> str:
        """A suggestion that waits, in place of one that was exchanged for another meanwhile: as `alscope queue` would tell."""
        if not re.fullmatch(r"s\d{5}", word):
            return word
        waiting = [q.id for q in look(self.home / "workspace", time.time()).queue if q.ready and q.state == "open"]
        return word if word in waiting else waiting[-1]

    def _tell(self, what: str, act: Callable[[], None]) -> None:
        began = time.monotonic()
        act()
        self._add(what, time.monotonic() - began)

    def _add(self, what: str, seconds: float, limit: float | None = None) -> None:
        self.rows.append(Row(what, seconds, "s", limit))
        print(f"{time.monotonic() - self.began:7.1f} s  {what}: {seconds:.2f} s", file=sys.stderr, flush=True)

    def _type(self, words: list[str]) -> None:
        environment = os.environ | {"BROWSER": "true", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(words, cwd=self.here, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in ((0, 1) if words[:2] == ["alscope", "doctor"] else (0,)):
            raise RuntimeError(f"{shlex.join(words)}: exit code {done.returncode}: {done.stdout}{done.stderr}")

    def _run(self) -> None:
        """Start the daemon, copy the tiles, and see when what they bring is there."""
        began = time.monotonic()
        with open(self.home / "daemon.log", "ab") as log:
            command = [str(Path(sys.executable).with_name("alscope")), "run"]
            self.daemon = subprocess.Popen(command, cwd=self.here, stdout=log, stderr=log)
        self._wait(lambda shot: shot.daemon.state == "running")
        self._add("`alscope run`, until it runs", time.monotonic() - began)
        copied = time.monotonic()
        for name, image, _ in self.tiles:
            write_image_tiff(self.microscope / name, image[None], VOXEL_UM)
        copied, n = time.monotonic(), len(self.tiles)
        for what, there, limit in (
            ("the first is read", lambda shot: shot.volumes["ingested"] > 0, None),
            ("all are read", lambda shot: shot.volumes["ingested"] == n, None),
            ("what selects has passed its self-test", lambda shot: bool(shot.encoders), None),
            ("the first suggestion can be opened", lambda shot: any(q.ready for q in shot.queue), LIMIT_S),
            ("three suggestions can be opened", lambda shot: sum(q.ready for q in shot.queue) >= 3, None),
            ("all have pseudo-labels", lambda shot: shot.volumes["pseudo_labelled"] == n, None),
        ):
            self._wait(there)
            self._add(f"{n} volumes copied: {what}", time.monotonic() - copied, limit)

    def _wait(self, there: Callable[[Snapshot], bool]) -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with contextlib.suppress(WorkspaceError):
                if there(look(self.home / "workspace", time.time())):
                    return
            time.sleep(0.1)
        raise RuntimeError(f"not within {PATIENCE_S:.0f} s; {self.home / 'daemon.log'}")

    def _prepare(self, words: list[str]) -> None:
        """Draw what is handed in: the truth of the patch, or nothing."""
        if words[1:3] != ["label", "add"]:
            return
        folder = self.home / "workspace" / "queue" / words[words.index("--for") + 1]
        about = json.loads((folder / "suggestion.json").read_text())
        start, shape = about["box"]["start"], about["box"]["shape"]
        where = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
        truth = next(truth for name, _, truth in self.tiles if name == about["volume_name"])[where]
        mask = np.zeros_like(truth) if "--empty" in words else truth
        if "--empty" not in words and not mask.any():
            words.append("--empty")
        write_labels_tiff(self.here / words[3], iter(mask), mask.shape, "uint16", VOXEL_UM)


if __name__ == "__main__":
    sys.exit(main())
