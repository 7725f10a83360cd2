"""Types the commands of the pages, one after the other, as a newcomer would: in a home of its own, with a real daemon on a small volume."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import tifffile

from daemon.cli.main import main
from tests.daemon.daemons import RealDaemon
from tests.docs.pages import Said

VOXEL_UM = (0.04, 0.02, 0.02)
SHAPE = (8, 192, 256)
PATCH = (8, 64, 64)
WAITING = 10
"""Suggestions that the pages name."""
SETTINGS = (
    ("settle_s", "0.3"),
    ("voxel_um", str(list(VOXEL_UM))),
    ("shape_px", str(list(PATCH))),
    ("min_patches", "12"),
    ("queue_depth", "20"),
    ("pretrain", "false"),
    ("every", "1000"),
    ("settle_s", "0.1"),
    ("command", '["true"]'),
    ("threads", "1"),
    ("rescan_s", "1.0"),
    ("min_free_gb", "0.0"),
)
"""What the configuration of the pages is changed to, so that nobody waits: in the order of the template (`settle_s` of the watched
folder, then of the inbox). All patches are asked about at once: none is left to take the place of one that the pages name."""


@dataclass
class Answer:
    """What came of a command."""

    code: int
    out: str


@dataclass
class Typist:
    """`answers`: by command, in the order in which they were typed."""

    root: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    daemon: RealDaemon | None = None

    def __post_init__(self) -> None:
        self.home, self.microscope = self.root / "alscope", self.root / "microscope"
        self.microscope.mkdir()

    def type(self, said: Said) -> None:
        """Type a command, unless it was typed before."""
        if said.text in self.answers:
            return
        words = [self._place(word) for word in said.words()]
        if words[0] == "cd":
            os.chdir(words[1])
            self.answers[said.text] = Answer(0, "")
        elif words[:2] == ["alscope", "run"]:
            self.answers[said.text] = self._run()
        else:
            self._prepare(words)
            if words[1] == "train":
                main(["pause"])  # the round is opened, but nobody waits until a model is trained
            self.answers[said.text] = _answer(words[1:])
            if words[1] == "init":
                self._hurry()

    def _place(self, word: str) -> str:
        """The pages' folders are here in `root`."""
        return word.replace("/data/microscope", str(self.microscope)).replace("~/alscope", str(self.home))

    def _hurry(self) -> None:
        config = self.home / "config.toml"
        text = config.read_text()
        for key, value in SETTINGS:
            text, n = re.subn(rf"^# {key} = .*$", f"{key} = {value}", text, count=1, flags=re.MULTILINE)
            assert n == 1, f"{key}: not in the template"
        config.write_text(text)

    def _run(self) -> Answer:
        """Start the daemon, copy a volume, and wait for suggestions."""
        self.daemon = RealDaemon(self.home, (self.home / "config.toml").read_text())
        self.daemon.workspace = self.home / "workspace"
        self.daemon.start()
        image, truth = tissue(np.random.default_rng(1))
        tifffile.imwrite(self.home / "truth.tif", truth.astype(np.uint16))
        image[:, : PATCH[1], : PATCH[2]] = 90  # a patch that shows nothing
        tifffile.imwrite(self.microscope / "stack_03.tif", image, metadata={"axes": "ZYX"})
        self.daemon.wait(lambda shot: sum(q.ready for q in shot.queue) >= WAITING)
        return Answer(0, self.daemon.log)

    def _prepare(self, words: list[str]) -> None:
        """Draw what somebody hands in: an object in the first slices of the patch, or what was looked at."""
        if words[1:3] != ["label", "add"]:
            return
        page = self.home / "workspace" / "queue" / words[words.index("--for") + 1] / "suggestion.json"
        mask = np.zeros(json.loads(page.read_text())["box"]["shape"], np.uint16)
        if "--empty" not in words:
            mask[:3, 12:30, 12:30] = 1
        _save(Path(words[3]), mask)
        if "--seen" in words:
            _save(Path(words[words.index("--seen") + 1]), np.ones_like(mask))


def tissue(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(image (Z, Y, X) uint8, its objects): dark ellipsoids in a bright, uneven ground."""
    zyx = np.indices(SHAPE).astype(np.float32)
    image = 170 + 15 * np.sin(zyx[1] / 23) * np.cos(zyx[2] / 31) + rng.normal(0, 9, SHAPE)
    truth = np.zeros(SHAPE, np.uint16)
    for number in range(1, 61):
        centre, radius = rng.uniform((0, 0, 0), SHAPE), rng.uniform((1.5, 4, 4), (3, 11, 11))
        inside = sum(((zyx[a] - centre[a]) / radius[a]) ** 2 for a in range(3)) < 1
        truth[inside & (truth == 0)] = number
    image[truth > 0] -= 80
    return np.clip(image, 0, 255).astype(np.uint8), truth


def _save(path: Path, mask: np.ndarray) -> None:
    if path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(mask.T, np.eye(4)), path)
    else:
        tifffile.imwrite(path, mask)


def _answer(arguments: list[str]) -> Answer:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(arguments)
    return Answer(code, out.getvalue())


@contextlib.contextmanager
def typist(root: Path) -> Iterator[Typist]:
    """A typist whose daemon ends with it; the current folder is what it was."""
    made = Typist(root)
    with contextlib.chdir(root), mock.patch.dict(os.environ):
        os.environ.pop("ALSCOPE_CONFIG", None)
        try:
            yield made
        finally:
            if made.daemon is not None and made.daemon.process is not None and made.daemon.process.poll() is None:
                made.daemon.stop(30)
