"""A simulation as one HTML page that needs nothing else: no network, no script, nothing beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import Any

from alcore.report.pictures import inline
from alcore.simulation.table import ABSENT, Entry, Line, Table

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content Security Policy: the browser itself refuses to fetch anything."""


@dataclass(frozen=True)
class Picture:
    """drawing: <svg> or PNG bytes. alt: for those who do not see it. caption: below it."""

    drawing: str | bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """What one learner did. tiles: (what, figure, remark). more: tables that few look for."""

    learner: str
    answer: str
    tiles: Sequence[tuple[str, str, str]]
    verdicts: Sequence[str]
    curve: Picture | None
    tables: Sequence[Table]
    more: Sequence[Table] = ()


@dataclass(frozen=True)
class Page:
    """about: one line under the title. played: sentences on how it was played. told: run.json as it is. warnings: what stands above
    all else."""

    title: str
    about: str
    sections: Sequence[Section]
    maps: Sequence[Picture]
    played: Sequence[str]
    told: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def render(page: Page) -> str:
    """The page."""
    several = len(page.sections) > 1
    body = "".join(_section(section, several) for section in page.sections)
    warnings = "".join(f'<p class="warning">{escape(sentence)}.</p>' for sentence in page.warnings)
    maps = "".join(_figure(picture) for picture in page.maps)
    played = "".join(f"<li>{escape(sentence)}</li>" for sentence in page.played)
    settings = escape(json.dumps(page.told, indent=1, ensure_ascii=False, sort_keys=True))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
        f'<title>{escape(page.title)}</title><link rel="icon" href="data:,"><style>{_style()}</style></head><body>'
        f'<header><h1>{escape(page.title)}</h1><p class="quiet">{escape(page.about)}</p></header><main>{warnings}{body}'
        + (f"<h2>What is asked for: the latent map with the first picks</h2>{maps}" if maps else "")
        + f"<h2>How it was played</h2><ul>{played}</ul>"
        f"<details><summary>Settings, versions and digests of the inputs</summary><pre>{settings}</pre></details></main>"
        "<footer>Written by alscope. The tables lie beside this page as markdown and CSV in <code>tables/</code>, the pictures as PNG "
        "and SVG in <code>figures/</code>, every played point in <code>results.csv</code>. This page needs no network and loads "
        "nothing.</footer></body></html>\n"
    )


def html_table(table: Table, seen: set[str]) -> str:
    """A table for readers and screen readers; what leaves zero out is coloured and bold, what is quoted is set apart.

    seen: notes that stand further up; those of this table are added.
    """
    heads = "".join(f'<th scope="col" class="left">{escape(name)}</th>' for name in table.labels)
    heads += "".join(f'<th scope="col">{_text(name)}</th>' for name in table.columns)
    rows = "".join(_row(line) for line in table.lines)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes if note not in seen)
    seen.update(table.notes)
    return (
        f"<h3>{escape(table.title)}</h3>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{notes}"
    )


def _section(section: Section, several: bool) -> str:
    title = f"<h2>Learner: {escape(section.learner)}</h2>" if several else ""
    seen: set[str] = set()
    tiles = "".join(
        f"<div><dt>{escape(what)}</dt><dd>{escape(figure)}</dd><dd>{escape(remark)}</dd></div>"
        for what, figure, remark in section.tiles
    )
    verdicts = "".join(f"<li>{escape(sentence)}</li>" for sentence in section.verdicts)
    first, more = ("".join(html_table(t, seen) for t in these) for these in (section.tables, section.more))
    return (
        f'{title}<p class="answer">{escape(section.answer)}</p><dl class="tiles">{tiles}</dl>'
        f"{'' if section.curve is None else _figure(section.curve)}"
        f"{first}"
        + (
            f"<details open><summary>Strategy by strategy, in words</summary><ul>{verdicts}</ul></details>"
            if verdicts
            else ""
        )
        + (f"<details><summary>More tables</summary>{more}</details>" if more else "")
    )


def _text(words: str) -> str:
    """Escaped; a sign stays with its number when the line breaks."""
    kept = (
        words.replace(" %", "\u00a0%").replace("− ", "−\u00a0").replace(" (", "\u00a0(") if len(words) < 40 else words
    )
    return escape(kept)


def _figure(picture: Picture) -> str:
    drawing = picture.drawing
    if isinstance(drawing, bytes):
        drawing = f'<img alt="{escape(picture.alt)}" src="{inline(drawing, "image/png")}">'
    return f"<figure>{drawing}<figcaption>{escape(picture.caption)}</figcaption></figure>"


def _row(line: Line) -> str:
    kind = ' class="quoted"' if line.from_elsewhere and any(line.entries) else ""
    labels = "".join(
        f'<th scope="row" class="left{" long" if len(label) > 50 else ""}">{escape(label)}</th>'
        for label in line.labels
    )
    return f"<tr{kind}>{labels}{''.join(map(_cell, line.entries))}</tr>"


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return f"<td>{ABSENT}</td>"
    mean, plus, spread = entry.text.partition(" ± ")
    text = f'{escape(mean)}<span class="spread">{plus}{escape(spread)}</span>' if plus else escape(mean)
    if not entry.told_apart:
        return f"<td>{text}</td>"
    return f'<td class="{"plus" if entry.value.sign > 0 else "minus"}">{text}</td>'


def _style() -> str:
    return (resources.files("alcore.simulation") / "page.css").read_text(encoding="utf-8")
