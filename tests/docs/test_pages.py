"""The pages agree with the program: keys, commands, messages, pictures and links that they name exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import BaseModel

from daemon.cli.main import COMMANDS, alscope
from daemon.config import Settings
from tests.docs.pages import PAGES, ROOT, anchors, blocks, links, quoted

IMAGES = ROOT / "docs" / "images"
SOURCES = [path for folder in ("alcore", "daemon") for path in sorted((ROOT / folder).rglob("*.py"))]
SHORTEST = 10
"""Characters that a message must have before it can be looked up."""


def test_the_reference_of_the_configuration_is_as_the_code_has_it():
    script = ROOT / "docs" / "make_configuration.py"
    done = subprocess.run([sys.executable, script, "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere():
    broken = []
    for page in PAGES:
        broken += [f"{link.where}: {link.text}" for link in links(page) if not _leads_somewhere(page, link.text)]
    assert not broken


def _leads_somewhere(page: Path, link: str) -> bool:
    target, _, anchor = link.partition("#")
    if target.startswith(("http:", "https:", "mailto:")):
        return True
    path = (page.parent / target).resolve() if target else page
    return path.exists() and (not anchor or path.suffix != ".md" or anchor in anchors(path))


def test_every_page_is_in_the_index():
    named = {link.text for link in links(ROOT / "docs" / "README.md")}
    assert {page.name for page in PAGES[1:]} - named == {"README.md"}


def test_keys_that_are_named_exist():
    """`section.key`, with or without a value."""
    unknown = []
    for said in (said for page in PAGES for said in quoted(page)):
        key = re.fullmatch(r"([a-z_]+)\.([a-z_0-9.]+)(?: = .*)?", said.text)
        if key and key[1] in Settings.model_fields and not _is_key(Settings, f"{key[1]}.{key[2]}"):
            unknown.append(f"{said.where}: {said.text}")
    assert not unknown


def _is_key(model: type[BaseModel], key: str) -> bool:
    first, _, rest = key.partition(".")
    if first not in model.model_fields or not rest:
        return first in model.model_fields
    annotation = model.model_fields[first].annotation
    below = [a for a in (annotation, *getattr(annotation, "__args__", ())) if isinstance(a, type)]
    return any(issubclass(a, BaseModel) and _is_key(a, rest) for a in below)


def test_commands_that_are_named_in_passing_exist():
    """`alscope queue show ID --json`: the command, its subcommand, and its options; not what stands for something else."""
    unknown = []
    for said in (said for page in PAGES for said in quoted(page)):
        if re.match(r"(\S*/)?alscope [a-z]", said.text) and "|" not in said.text and "..." not in said.text:
            unknown += [f"{said.where}: {said.text}: {word}" for word in _unknown_words(said.text.split()[1:])]
    assert not unknown


def _unknown_words(words: list[str]) -> Iterator[str]:
    if words[0] not in COMMANDS:
        yield words[0]
        return
    command = alscope.get_command(click.Context(alscope), words[0])
    if isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith("-"):
        if words[1] not in command.commands:
            yield words[1]
            return
        command = command.commands[words[1]]
    assert command is not None
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    yield from (word for word in words if word.startswith("--") and word not in {*options, "--help"})


def test_the_check_of_commands_finds_a_slip():
    assert list(_unknown_words(["queue", "shwo"])) == ["shwo"]
    assert list(_unknown_words(["queue", "show", "s00001", "--jsn"])) == ["--jsn"]
    assert list(_unknown_words(["queue", "show", "s00001", "--json"])) == []


def said_by_the_program() -> str:
    """The code, with texts that are written in several pieces put together."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    return re.sub(r"""(["'])\s*\n\s*f?["']""", "", code)


def pattern_of(message: str) -> str:
    """A message as it stands in the code: something is filled in at each "…"."""
    parts = [re.escape(part.strip()) for part in message.split("…") if part.strip()]
    return r"[^\n]{1,120}?".join(parts)


def test_messages_that_are_quoted_are_those_of_the_program():
    code = said_by_the_program()
    messages = list(blocks(ROOT / "docs" / "troubleshooting.md", "text"))
    assert [m for m in messages if not re.search(pattern_of(m.text), code)] == []
    assert all(len(m.text.replace("…", "")) > SHORTEST for m in messages)


def test_a_message_that_the_program_does_not_say_is_found():
    code = said_by_the_program()
    assert re.search(pattern_of("missing … of … files: …"), code)
    assert not re.search(pattern_of("missing … of … folders: …"), code)


# pictures


def test_pictures_that_are_shown_are_there_and_none_lies_about():
    shown = {Path(link.text).name for page in _with_pictures() for link in links(page) if "images/" in link.text}
    assert shown == {path.name for path in IMAGES.iterdir()}


def test_every_picture_is_made_by_a_script_that_says_so():
    made = {}
    for script in sorted((ROOT / "docs").glob("make_*.py")):
        made |= dict.fromkeys(_pictures_of(script), script.name)
    assert set(made) == {path.name for path in IMAGES.iterdir()}
    recipe = (ROOT / "Makefile").read_text().partition("\ndocs-images:")[2]
    assert all(f"docs/{script}" in recipe for script in made.values())


def _with_pictures() -> list[Path]:
    return [*PAGES, ROOT / "benchmarks" / "RESULTS.md"]


def _pictures_of(script: Path) -> tuple[str, ...]:
    """What its PICTURES says."""
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.Assign) and [t.id for t in node.targets if isinstance(t, ast.Name)] == ["PICTURES"]:
            return tuple(ast.literal_eval(node.value))
    return ()
