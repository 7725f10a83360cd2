"""Shell completion, through the shells' own scripts where the shell is here: quick, and never in the way."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli.main import COMMANDS, main
from tests.daemon.scene import HOSTILE

ROOT = Path(__file__).resolve().parents[3]
MOST_CPU_S = 0.3


@pytest.fixture
def program(scene, tmp_path) -> dict[str, str]:
    """An environment in which `alscope` is this one, and knows the scene."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "alscope"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m daemon.cli.main "$@"\n')
    script.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "ALSCOPE_CONFIG": str(scene.config)}


def bash(program: dict[str, str], script: Path, *lines: str) -> list[list[str]]:
    """What bash offers at the end of each line."""
    tries = "\n".join(
        f"COMP_WORDS=({line}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMPREPLY=(); "
        '_alscope_completion alscope; echo "${COMPREPLY[@]}"'
        for line in lines
    )
    done = subprocess.run(
        ["bash", "-c", f"source {script}\n{tries}"], capture_output=True, text=True, env=program, check=True
    )
    assert not [line for line in done.stderr.splitlines() if "compopt" not in line]  # no line is being typed
    return [line.split() for line in done.stdout.splitlines()]


def test_bash_completes_commands_options_and_names(scene, program, capsys, tmp_path):
    scene.troubled()
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "alscope.bash"
    script.write_text(capsys.readouterr().out)
    offered = bash(
        program,
        script,
        "alscope sta",
        "alscope queue show s0",
        "alscope queue skip ''",
        "alscope jobs retry ''",
        "alscope models show M_f-002 --j",
    )
    assert offered[0] == ["status"]
    assert len(offered[1]) == 8 and offered[1][0] == "s00001"
    assert offered[2] == ["s00005", "s00006", "s00007", "s00008"]  # those that wait
    assert offered[3:] == [["11"], ["--json"]]


def complete(line: str, begun: str, capsys, monkeypatch) -> list[str]:
    """What is offered, asked in this process as fish asks."""
    monkeypatch.setenv("_ALSCOPE_COMPLETE", "fish_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", begun)
    with pytest.raises(SystemExit):
        main([])
    return [x.partition(",")[2].partition("\t")[0] for x in capsys.readouterr().out.splitlines() if x]


def test_names_of_each_kind(scene, capsys, monkeypatch):
    scene.troubled()
    monkeypatch.setenv("ALSCOPE_CONFIG", str(scene.config))
    assert complete("alscope ", "", capsys, monkeypatch) == list(COMMANDS)
    assert complete("alscope models promote ", "", capsys, monkeypatch) == ["M_f-002", "M_f-001"]
    assert complete("alscope label undo ", "", capsys, monkeypatch)[0] == "s00001"
    assert complete("alscope jobs --state ", "f", capsys, monkeypatch) == ["failed"]
    assert "vit_b_lm" in complete("alscope models fetch ", "vit_b", capsys, monkeypatch)
    assert "stack_03.tif" in complete("alscope label import x --volume ", "", capsys, monkeypatch)
    assert "completion" in complete("alscope ", "com", capsys, monkeypatch)


def test_names_that_a_shell_would_act_upon_are_not_offered(scene, capsys, monkeypatch):
    monkeypatch.setenv("ALSCOPE_CONFIG", str(scene.config))
    for name in ("plain.tif", HOSTILE, "two words.tif", "$(reboot).tif", "*.tif", "a;b.tif"):
        scene.volume(name)
    assert complete("alscope label import x --volume ", "", capsys, monkeypatch) == ["plain.tif"]


def test_without_a_workspace_or_with_a_broken_one_nothing_is_offered_and_nothing_said(scene, capsys, monkeypatch):
    monkeypatch.setenv("ALSCOPE_CONFIG", str(scene.config))
    scene.close()
    (scene.workspace.root / "alscope.db").write_bytes(b"broken " * 1000)
    assert complete("alscope queue show ", "", capsys, monkeypatch) == []
    monkeypatch.setenv("ALSCOPE_CONFIG", "/nowhere/config.toml")
    assert complete("alscope queue show ", "", capsys, monkeypatch) == []


def test_it_is_quick(scene, program):
    scene.troubled()
    asked = program | {"_ALSCOPE_COMPLETE": "bash_complete", "COMP_WORDS": "alscope queue show s", "COMP_CWORD": "3"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["alscope"], env=asked, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "s00001" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < MOST_CPU_S


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_one_that_its_shell_can_read(shell, capsys, tmp_path):
    assert main(["completion", shell]) == 0
    script = tmp_path / shell
    script.write_text(capsys.readouterr().out)
    assert "_ALSCOPE_COMPLETE" in script.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    assert subprocess.run([shell, "-n", str(script)], capture_output=True, check=True).stderr == b""
