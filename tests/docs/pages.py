"""What the pages for people say: their commands, messages, pictures and links, with the line each stands on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


@dataclass(frozen=True)
class Said:
    """Something that a page says. where: "docs/faq.md:12"."""

    where: str
    text: str

    @property
    def page(self) -> str:
        """The page alone."""
        return self.where.partition(":")[0]

    def words(self) -> list[str]:
        """The words of a command, without where its output goes and without the comment behind it."""
        words = shlex.split(self.text, comments=True)
        return words[: words.index(">")] if ">" in words else words


def name(page: Path) -> str:
    """A page as people call it."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> Iterator[Said]:
    """The lines in fenced blocks of a language; one that ends with a backslash goes on in the next."""
    inside, held, first = "", "", 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = re.match(r"\s*```(\w*)", line)
        if fence:
            inside = "" if inside else fence[1] or "plain"
        elif inside == language and line.strip():
            first = first if held else number
            held += line.removesuffix("\\")
            if not line.endswith("\\"):
                yield Said(f"{name(page)}:{first}", held.strip())
                held = ""


def commands(page: Path) -> Iterator[Said]:
    """Every command of the blocks that are meant for a shell, one at a time."""
    for line in blocks(page, "sh"):
        for part in re.split(r"\s+(?:;|&&)\s+", line.text.partition(" #")[0].strip()):
            if part and not part.startswith("#"):
                yield Said(line.where, part)


def quoted(page: Path) -> Iterator[Said]:
    """Everything in backticks outside of blocks."""
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            yield from (Said(f"{name(page)}:{number}", text) for text in re.findall(r"`([^`]+)`", line))


def links(page: Path) -> Iterator[Said]:
    """Where links and pictures lead, as written."""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        yield from (Said(f"{name(page)}:{number}", to) for to in re.findall(r"\]\(([^)\s]+)\)", line))


def anchors(page: Path) -> set[str]:
    """Names of the headings of a page, as in addresses."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}
