"""init on a real terminal: four questions with defaults that were found by looking; Ctrl-C leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.annotate.weights import known_model
from alcore.pseudo.threshold import ThresholdOptions
from daemon import gpus
from daemon.cli.config_text import GPU_USE, MODALITIES, Answers, filled, template
from daemon.cli.looking import look_into
from daemon.cli.main import main
from daemon.cli.questions import told, voxel_of
from daemon.config import Settings, from_mapping, load

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0


def on_terminal() -> None:
    """In the child: Ctrl-C is one, also where these tests run in the background of a script, which ignores it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A process on a terminal of its own, 80 x 24: read until it says something, type an answer."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.said = self.all = ""
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "daemon.cli.main", *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, start_new_session=True,
            preexec_fn=on_terminal,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        os.close(theirs)

    def answer(self, question: str, words: str) -> None:
        """Wait for the question, then type."""
        until = time.monotonic() + PATIENCE_S
        while question not in self.said:
            assert time.monotonic() < until and self._read(), self.said
        self.said = self.said.partition(question)[2]
        os.write(self._ours, f"{words}\n".encode() if words != "\x03" else b"\x03")

    def end(self) -> tuple[int, str]:
        """(exit code, all that was said since the last answer)."""
        while self._read():
            pass
        os.close(self._ours)
        return self._process.wait(PATIENCE_S), self.said

    def _read(self) -> bool:
        try:
            ready, _, _ = select.select([self._ours], [], [], PATIENCE_S)
            text = os.read(self._ours, 1 << 16) if ready else b""
        except OSError:  # the other end is closed
            return False
        new = text.decode(errors="replace").replace("\r", "")
        self.said += new
        self.all += new
        return bool(text)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def volume(path: Path, voxel_um: float | None = None) -> None:
    """An ImageJ stack that says its voxel size, or a plain one that does not."""
    path.parent.mkdir(exist_ok=True)
    stack = np.zeros((4, 32, 32), np.uint8)
    if voxel_um is None:
        tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX"})
    else:
        said = {"axes": "ZYX", "spacing": 0.05, "unit": "um"}
        tifffile.imwrite(path, stack, imagej=True, resolution=(1 / voxel_um, 1 / voxel_um), metadata=said)


def test_enter_takes_what_was_found(tmp_path):
    volume(tmp_path / "scope" / "a.tif", 0.01)
    (tmp_path / "other").mkdir()
    terminal = Terminal(tmp_path, "init", "em")
    terminal.answer("folder [scope]:", "")
    terminal.answer("images (em, fluorescence, other) [em]:", "")
    terminal.answer("GPU (auto, yes, no) [auto]:", "")
    code, said = terminal.end()
    assert code == 0
    assert "Voxel size: the files say it, 0.05 x 0.01 x 0.01 um" in terminal.all
    assert "1 volume there (.tif)" in terminal.all
    assert [x for x in plain(terminal.all).splitlines() if len(x) > 80 and str(tmp_path) not in x] == []
    settings = load(tmp_path / "em" / "config.toml")
    assert settings.watch[0].folder == tmp_path / "scope"
    assert settings.watch[0].voxel_um is None  # the files say it
    assert settings.annotation.model == "vit_b_em_organelles"
    assert settings.run.device == "auto"
    assert (settings.workspace / "inbox").is_dir()
    assert [line.split()[:4] for line in said.splitlines() if line.startswith("   alscope")] == [
        ["alscope", "--config", "em/config.toml", what] for what in ("doctor", "run", "status")
    ]


def test_answers_are_checked_and_asked_again(tmp_path):
    volume(tmp_path / "a" / "x.tif")
    terminal = Terminal(tmp_path, "init")
    terminal.answer("folder [a]:", "nowhere")
    terminal.answer("Make it? [y/N]:", "n")
    terminal.answer("no such folder", "")  # what is typed ahead is the next answer
    terminal.answer("images (em, fluorescence, other) [other]:", "flourescence")
    terminal.answer("Did you mean 'fluorescence'?", "fluorescence")
    terminal.answer("no file says it", "0.2 0.1")
    terminal.answer("three positive numbers are wanted", "0.2, 0.1, 0.1")
    terminal.answer("GPU (auto, yes, no) [auto]:", "no")
    code, said = terminal.end()
    assert code == 0, said
    settings = load(tmp_path / "config.toml")
    assert settings.watch[0].voxel_um == (0.2, 0.1, 0.1)
    assert settings.pseudo.options == {"polarity": "bright"}
    assert settings.run.device == "cpu"
    assert "   alscope run" in said


def test_ctrl_c_leaves_nothing_and_a_workspace_in_the_watched_folder_is_refused(tmp_path):
    volume(tmp_path / "x.tif")
    terminal = Terminal(tmp_path, "init")
    terminal.answer("folder:", ".")
    terminal.answer("keep them apart", "\x03")
    assert terminal.end()[0] == 130
    assert [p.name for p in tmp_path.iterdir()] == ["x.tif"]


def test_an_existing_config_is_refused_before_anything_is_asked(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.toml").write_text("precious")
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 64
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "config.toml").read_text() == "precious"


def changed(settings: Settings) -> dict[str, Any]:
    """Keys that are not at their default."""
    usual = from_mapping({"watch": [{"folder": "in"}]}, Path("/x/config.toml"))
    found = {}
    for table in ("pseudo", "annotation", "run", "encoder", "training", "prediction"):
        one, other = getattr(settings, table).model_dump(), getattr(usual, table).model_dump()
        found |= {f"{table}.{key}": one[key] for key in one if one[key] != other[key]}
    return found


@pytest.mark.parametrize("gpu", GPU_USE)
@pytest.mark.parametrize("modality", MODALITIES)
def test_each_answer_changes_keys_that_exist_and_nothing_else(tmp_path, modality, gpu):
    answers = Answers(tmp_path / "in", None, modality, gpu)
    text = filled(template(), answers.settings())
    settings = from_mapping(tomllib.loads(text), tmp_path / "config.toml")
    wanted = answers.settings()
    assert wanted.pop("watch.folder") == str(settings.watch[0].folder)
    assert changed(settings) == wanted
    assert len(text.splitlines()) == len(template().splitlines())  # every comment is still there
    assert known_model(settings.annotation.model) == ""
    ThresholdOptions(**settings.pseudo.options_of("threshold"))
    named = settings.pseudo.options_of("micro_sam").get("model", settings.annotation.model)
    assert named == settings.annotation.model
    assert settings.run.device == {"auto": "auto", "yes": "cuda", "no": "cpu"}[gpu]


def test_what_a_folder_says(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    assert look_into(folder).modality == "other"
    assert told(look_into(folder)) == ["no volumes there yet"]
    volume(folder / "a.tif", 0.1)
    seen = look_into(folder)
    assert (seen.n_volumes, seen.modality, seen.silent) == (1, "fluorescence", False)
    assert seen.voxel_um == pytest.approx((0.05, 0.1, 0.1))
    volume(folder / "b.tif")
    assert look_into(folder).silent
    tifffile.imwrite(folder / "c.tif", np.zeros((9, 32, 32), np.uint8))  # slices or time points?
    assert "cannot be read as it is" in " ".join(told(look_into(folder)))
    (folder / "d.mrc").write_bytes(b"broken")
    (folder / ".hidden.tif").write_bytes(b"")
    assert look_into(folder).n_volumes == 4


def test_single_slices_are_noticed(tmp_path):
    for n in range(3):
        (tmp_path / "s").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "s" / f"slice_{n:03d}.tif", np.zeros((32, 32), np.uint8))
    assert "(slices)" in " ".join(told(look_into(tmp_path)))


@pytest.mark.parametrize("text", ["0.05 0.01 0.01", "0.05, 0.01, 0.01", "0.05 x 0.01 x 0.01 um"])
def test_voxel_sizes_as_people_write_them(text):
    assert voxel_of(text) == (0.05, 0.01, 0.01)


@pytest.mark.parametrize("text", ["1 2", "0 1 1", "nan 1 1", "inf 1 1", "a b c", "1 1 1 1", "-1 1 1"])
def test_what_is_no_voxel_size(text):
    with pytest.raises(ValueError, match="three positive numbers"):
        voxel_of(text)


def test_gpus_are_known_by_what_the_system_says(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "driver")
    monkeypatch.setattr(gpus, "NODE", tmp_path / "nvidia0")
    monkeypatch.setattr(gpus, "PCI_DEVICES", tmp_path / "pci")
    assert (gpus.names(), gpus.driver_version(), gpus.without_driver()) == ([], "", 0)
    for name, vendor, kind in (("a", "0x10de", "0x030200"), ("b", "0x10de", "0x040300"), ("c", "0x8086", "0x030000")):
        (tmp_path / "pci" / name).mkdir(parents=True)
        (tmp_path / "pci" / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / "pci" / name / "class").write_text(f"{kind}\n")
    assert gpus.without_driver() == 1  # not its sound device, and not the other maker's
    page = tmp_path / "driver" / "gpus" / "0000:01:00.0" / "information"
    page.parent.mkdir(parents=True)
    page.write_text("Model: \t\t NVIDIA A100\nIRQ:   \t\t 3\n")
    (tmp_path / "driver" / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54\nGCC\n")
    assert gpus.names() == ["NVIDIA A100"]
    assert gpus.driver_version().endswith("550.54")
    assert gpus.without_driver() == 0
