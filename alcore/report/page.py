"""The report as one HTML file that needs nothing else: no network, no library, nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import Any

from alcore.report.content import MARKS, Ancestor, Card, Content
from alcore.report.figures import ORDER, STYLE
from alcore.report.pictures import inline
from alcore.report.points import Points, packed, script_json
from alcore.report.tables import html_table

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content Security Policy: the browser itself refuses to fetch anything."""
MARK_WORDS = {
    "suggested": "suggested, waits for an expert",
    "by chance": "drawn at random, the control arm",
    "labelled": "labelled, for training",
    "held out": "labelled, held out",
    "outlier": "outlier",
    "newest": "newest volumes",
}


@dataclass(frozen=True)
class Hover:
    """What the map tells under the pointer. sheet: JPEG of thumbnails in `columns` columns, of the patches at `shots`; notes: a
    sentence by position."""

    sheet: bytes
    columns: int
    shots: Sequence[int]
    notes: Mapping[int, str]


@dataclass(frozen=True)
class GateRow:
    """A held-out patch. facts: one line each; pictures: JPEG by panel; counts: objects by panel."""

    name: str
    facts: Sequence[str]
    pictures: Mapping[str, bytes]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Drawn:
    """What was drawn for a page. drawings: <svg> by name (learning_curve, minutes, timings). cards: JPEG by number of package."""

    points: Points | None = None
    hover: Hover | None = None
    gate: Sequence[GateRow] = ()
    panels: Sequence[str] = ()
    cards: Mapping[int, bytes] = field(default_factory=dict)
    drawings: Mapping[str, str] = field(default_factory=dict)


def render(content: Content, drawn: Drawn) -> str:
    """The page."""
    tables = {table.name: table for table in content.tables}

    def table(name: str) -> str:
        if name not in tables:
            return ""
        about = f"<p>{escape(tables[name].about)}</p>" if tables[name].about else ""
        return about + html_table(tables[name])

    sections = [
        ("map", "Latent space", _map(content, drawn)),
        ("queue", "Queue", _queue(content, drawn)),
        ("curve", "Learning curve", _curve(content, drawn) + table("rounds") + table("control")),
        ("gate", "Held-out patches", _gate(content, drawn)),
        ("volumes", "Volumes", _note(content, "volumes") + table("volumes")),
        ("models", "Models", _note(content, "models") + _lineage(content.models)),
        ("minutes", "Minutes", _note(content, "minutes") + drawn.drawings.get("minutes", "") + table("minutes")),
        ("timings", "Timings", drawn.drawings.get("timings", "") + table("timings")),
        ("versions", "Versions", table("versions")),
    ]
    links = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{escape(title)}</h2>{text}</section>'
        for name, title, text in sections
    )
    about = " · ".join(f"{escape(word)} {escape(figure)}" for word, figure in content.about)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
        f'<title>{escape(content.title)}</title><link rel="icon" href="data:,"><style>{_file("page.css")}</style></head><body>'
        '<a class="skip" href="#map">Skip to the content</a>'
        f'<header><h1>{escape(content.title)}</h1><p class="quiet">As of {escape(content.made)}. {about}</p></header>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main>{_tiles(content)}{body}</main>'
        "<footer>Written by alscope. Figures as files are in <code>figures/</code>, numbers in the <code>.csv</code> files "
        "beside this page. This page needs no network and loads nothing.</footer>"
        f"{_data(drawn)}<script>{_file('page.js')}</script></body></html>\n"
    )


def _file(name: str) -> str:
    return (resources.files("alcore.report") / name).read_text(encoding="utf-8")


def _note(content: Content, name: str) -> str:
    return f"<p>{escape(content.notes[name])}</p>" if content.notes.get(name) else ""


def _tiles(content: Content) -> str:
    tiles = "".join(
        f'<div><dt>{escape(word)}</dt><dd class="figure">{escape(figure)}</dd>'
        + (f'<dd class="remark">{escape(remark)}</dd>' if remark else "")
        + "</div>"
        for word, figure, remark in content.tiles
    )
    return f'<dl class="tiles">{tiles}</dl>' + _note(content, "advice") + _note(content, "control")


def _map(content: Content, drawn: Drawn) -> str:
    points, hover = drawn.points, drawn.hover
    if points is None or hover is None:
        return _note(content, "map") or '<p class="none">No patch is embedded yet.</p>'
    boxes = "".join(
        f'<label><input type="checkbox" id="mark-{bit}" checked><canvas data-bit="{bit}" width="16" height="16" '
        f'aria-hidden="true"></canvas>{escape(MARK_WORDS[name])}<span class="count">{n:,}</span></label>'
        for bit, name in enumerate(MARKS)
        if (n := len(points.marked(name)))
    )
    told = ", ".join(f"{n:,} {name}" for name in MARKS if (n := len(points.marked(name))))
    alt = f"Map of {len(points):,} patches; patches that look alike lie near to each other. Marked: {told or 'none'}."
    return (
        f"{_note(content, 'map')}"
        '<div class="map"><div class="stage">'
        f'<canvas id="plane" tabindex="0" role="img" aria-label="{escape(alt)} Arrow keys go through the marked ones." '
        'aria-describedby="map-keys"></canvas><div id="tip" hidden></div></div>'
        f"<aside><fieldset><legend>Show</legend>{boxes}"
        '<label><input type="checkbox" id="volumes-in-colour">a colour for every volume</label></fieldset>'
        '<p><button id="closer" aria-label="Zoom in">+</button> <button id="farther" aria-label="Zoom out">−</button> '
        '<button id="whole">Whole map</button></p>'
        f'<p class="small">{len(hover.shots):,} of {len(points):,} patches have a picture here: the marked ones first, then some '
        "from everywhere on the map.</p>"
        '<p class="small" id="map-keys">Keys on the map: arrows go through marked patches, + − zoom, 0 shows all. '
        "The wheel zooms once the map was clicked.</p></aside></div>"
        '<p id="said" class="hidden" aria-live="polite"></p><p class="small">Every patch with its place: '
        "<code>patches.csv</code>; the figure: <code>figures/latent_map.svg</code></p>"
    )


def _queue(content: Content, drawn: Drawn) -> str:
    if not content.cards:
        return _note(content, "queue") or '<p class="none">Nothing waits for an expert.</p>'
    cards = "".join(_card(card, drawn) for card in content.cards)
    n = len(content.cards)
    more = f" Shown are the first {n} of {content.n_waiting}." if content.n_waiting > n else ""
    note = content.notes.get("queue", "")
    return f'<p>{escape(note + more)}</p><ol class="cards">{cards}</ol><p class="small">All: <code>queue.csv</code></p>'


def _card(card: Card, drawn: Drawn) -> str:
    picture = None if card.picture is None else drawn.cards.get(card.picture)
    alt = f"Middle slice of {card.id}, {card.title}, with the outlines of its pseudo-label"
    image = (
        f'<img decoding="async" alt="{escape(alt)}" src="{inline(picture)}">'
        if picture
        else '<div class="blank">no picture yet</div>'
    )
    facts = "".join(f"<dt>{escape(word)}</dt><dd>{escape(figure)}</dd>" for word, figure in card.facts)
    return (
        f'<li>{image}<div class="text"><h3>{escape(card.id)} <span class="quiet">{escape(card.state)}</span></h3>'
        f"<p>{escape(card.reason)}</p><dl>{facts}</dl></div></li>"
    )


def _curve(content: Content, drawn: Drawn) -> str:
    drawing = drawn.drawings.get("learning_curve", "")
    if not drawing:
        return _note(content, "curve") or '<p class="none">No round was scored yet.</p>'
    return _note(content, "curve") + drawing


def _gate(content: Content, drawn: Drawn) -> str:
    if not drawn.gate:
        return _note(content, "gate") or '<p class="none">No label is held out and scored yet.</p>'
    heads = "".join(f'<th scope="col">{escape(panel)}</th>' for panel in drawn.panels)
    rows = []
    for row in drawn.gate:
        cells = "".join(
            f'<td><img decoding="async" alt="{escape(_alt(row, panel))}" src="{inline(row.pictures[panel])}">'
            f"{_objects(row, panel)}</td>"
            if panel in row.pictures
            else '<td class="quiet">none</td>'
            for panel in drawn.panels
        )
        facts = "<br>".join(escape(fact) for fact in row.facts)
        rows.append(
            f'<tr><th scope="row"><b>{escape(row.name)}</b><br><span class="quiet">{facts}</span></th>{cells}</tr>'
        )
    head = f'<thead><tr><th scope="col">patch</th>{heads}</tr></thead>'
    files = '<p class="small">As files: <code>gate_patches.csv</code>, <code>figures/gate_patches.png</code></p>'
    table = f'<table class="gate">{head}<tbody>{"".join(rows)}</tbody></table>'
    return f'{_note(content, "gate")}<div class="scroll" tabindex="0" role="region" aria-label="Held-out patches">{table}</div>{files}'


def _alt(row: GateRow, panel: str) -> str:
    return (
        f"{row.name}: image"
        if panel not in row.counts
        else f"{row.name}: {panel}, {row.counts[panel]} objects in the patch"
    )


def _objects(row: GateRow, panel: str) -> str:
    return f'<span class="quiet">{row.counts[panel]} objects</span>' if panel in row.counts else ""


def _lineage(models: Sequence[Ancestor]) -> str:
    if not models:
        return '<p class="none">No model was trained yet.</p>'
    known = {m.version for m in models}

    def branch(parent: str) -> str:
        these = [m for m in models if (m.parent if m.parent in known else "") == parent]
        return "".join(f"<li>{_ancestor(m)}{_nested(branch(m.version))}</li>" for m in these)

    return f'<ul class="tree">{branch("")}</ul><p class="small">As a file: <code>models.csv</code></p>'


def _nested(items: str) -> str:
    return f"<ul>{items}</ul>" if items else ""


def _ancestor(model: Ancestor) -> str:
    facts = "".join(f'<span class="fact">{escape(fact)}</span>' for fact in model.facts)
    kind = model.state if model.state in ("promoted", "rejected") else "quiet"
    return (
        f'<b>{escape(model.version)}</b> <span class="{kind}">{escape(model.mark)} {escape(model.state)}</span>{facts}'
    )


def _data(drawn: Drawn) -> str:
    points, hover = drawn.points, drawn.hover
    if points is None or hover is None:
        return ""
    about: dict[str, Any] = {
        **packed(points),
        "styles": [STYLE[name] for name in MARKS],
        "order": [MARKS.index(name) for name in ORDER],
        "counts": [len(points.marked(name)) for name in MARKS],
        "columns": hover.columns,
        "shots": [int(i) for i in hover.shots],
        "notes": {int(i): text for i, text in hover.notes.items()},
    }
    sheet = f"<style>.shot {{ background-image: url({inline(hover.sheet)}); }}</style>" if hover.shots else ""
    return f'{sheet}<script type="application/json" id="points">{script_json(about)}</script>'
