"""Every page of --help: what the command is for, examples that can be typed, each option with its unit and its default."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from daemon.cli.main import COMMANDS, alscope, main

WIDTH = 80
UNITS = re.compile(
    r"\b(um|voxels?|pixels?|patch|patches|labels?|epochs|steps|seeds|seed|processes|threads|rounds|jobs|regions|slices|"
    r"share|chance|minutes|seconds|days?|GB|objects?)\b",
    re.IGNORECASE,
)


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, groups included."""
    yield path, command
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            yield from walk(below, (*path, name))


ALL = dict(walk(alscope))


def examples(command: click.Command) -> list[str]:
    """Lines of the block of examples."""
    block = re.search(r"\x08\n\s*Examples?[^\n]*:\n((?:[ \t]+[^\n]+\n?)+)", f"{command.help}\n")
    return [line.strip() for line in block[1].splitlines()] if block else []


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def test_no_command_is_left_out():
    assert len(ALL) > 40 and {path[0] for path in ALL if path} == set(COMMANDS)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_a_page(path, capsys):
    command = ALL[path]
    assert main([*path, "--help"]) == 0
    page = capsys.readouterr().out
    wide = [line for line in page.splitlines() if len(line) > WIDTH]
    assert not wide, "wider than a terminal"
    first = (command.help or "").strip().splitlines()[0]
    assert len(first) > 10, "no purpose"
    own = " ".join(("alscope", *path))
    shown = examples(command)
    assert any(re.match(rf"(.*\s)?{own}\b", re.sub(r" --config \S+", "", line)) for line in shown), "no example"
    for line in shown:
        for said in re.findall(r"(?:^|[$(&|] *)alscope( [^|&;>)]*)?", line):
            parse(shlex.split(said))
    assert "..." not in re.findall(r"(?s)\nCommands:\n(.*)", page + "\nCommands:\n")[0], "a summary is cut off"
    lacking = [problem for option in command.params if (problem := lack(option, command))]
    assert not lacking


def parse(words: list[str]) -> None:
    """As click reads a command line; raises for what does not exist or is missing."""
    if words[:1] == ["--config"]:
        words = words[2:]
    command, path = ALL[()], ()
    while isinstance(command, click.Group) and words and (*path, words[0]) in ALL:
        path = (*path, words[0])
        command, words = ALL[path], words[1:]
    assert path, "no such command"
    assert not isinstance(command, click.Group) or not words or words[0].startswith("-"), "no such subcommand"
    command.make_context(path[-1], words)


def lack(option: click.Parameter, command: click.Command) -> str:
    """What the page does not say of an option."""
    if not isinstance(option, click.Option) or option.name == "help":
        return ""
    record = option.get_help_record(click.Context(command))
    said = record[1] if record else ""
    name = option.opts[0]
    if len(re.sub(r"\[.*\]", "", said).strip()) < 4:
        return f"{name}: what is it?"
    if option.is_flag:
        return ""
    if not option.required and not option.multiple and not re.search(r"\[(.*; )?default: [^\]]", said):
        return f"{name}: no default"
    numeric = isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType))
    if numeric and not UNITS.search(said):
        return f"{name}: no unit"
    return ""


READING = ("status", "queue", "volumes", "jobs", "models", "encoders", "pseudo", "alarms", "label")
CHANGING = (
    "claim",
    "release",
    "skip",
    "qc-ok",
    "retry",
    "cancel",
    "promote",
    "rollback",
    "diff",
    "export",
    "fetch",
    "test",
)
CHANGING += ("compare", "add", "undo", "import", "--check")


def test_examples_that_only_read_run(scene, alscope):
    scene.troubled().running()
    while len(alscope("jobs", "--json").data) < 17:
        scene.job("predict", f"volume:{len(alscope('jobs', '--json').data)}")
    ran = 0
    for path, command in ALL.items():
        for line in examples(command):
            words = shlex.split(line.partition("|")[0])
            if words[:1] == ["alscope"] and words[1] in READING and not set(words) & set(CHANGING):
                done = alscope(*words[1:])
                assert (done.code, done.err) == (0, ""), (path, line, done.err)
                ran += 1
    assert ran > 20


@pytest.mark.parametrize("said", ["queue shwo", "queue show", "jobs --sate done", "jobs --state undone", "xyzzy"])
def test_an_example_that_does_not_run_is_found(said):
    with pytest.raises((click.UsageError, AssertionError)):
        parse(said.split())


def test_an_option_that_says_too_little_is_found():
    said = {
        "--a": click.Option(["--a"]),
        "--b": click.Option(["--b"], help="Only those.", type=int),
        "--c": click.Option(["--c"], help="So many [default: 3].", type=int),
    }
    assert [lack(option, click.Command("x")) for option in said.values()] == [
        "--a: what is it?",
        "--b: no default",
        "--c: no unit",
    ]
