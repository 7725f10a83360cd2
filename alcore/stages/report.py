"""Stage report: one HTML page that needs no network, figures as files, and the numbers as CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.stage import Context, Inputs, Params, Stage, one

if TYPE_CHECKING:
    from alcore.report.content import Content, Table
    from alcore.report.page import GateRow, Hover
    from alcore.report.points import Points

CARD_PX = 320


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write report.html, figures/*.png and *.svg, and a CSV of every table; return how much of what.

    Inputs: map (none or one `latent_map`), gate (none or one `gate_pictures`), package (of suggestions), source (acquisitions of
    the volumes on the map; those that cannot be read, or have changed, are done without). params: content (see
    `alcore.report.content`), volumes [{"key" (of its embedding), "name", "source" (number of the input, or null), "read",
    "content" (fingerprint)}], marks {mark: {embedding key: [patches]}}, patches [{"key", "row", "note", "package" (number of the
    input, or null)}] (what is known of single patches). Raises PermanentError for a map that cannot be read.
    """
    from alcore.report import figures
    from alcore.report.content import Content
    from alcore.report.page import Drawn, render
    from alcore.report.points import points_table
    from alcore.report.tables import csv_text

    content = Content.from_json(params["content"])
    folder = out / "figures"
    folder.mkdir()
    points, hover = _points(inputs, params, ctx)
    ctx.progress(0.65, "drawing figures")
    if points is not None:
        figures.save(figures.latent_map(points, _method(inputs)), folder, "latent_map")
    drawings = _drawings(content, folder)
    gate, panels = _gate(inputs, folder)
    ctx.progress(0.9, "writing the page")
    drawn = Drawn(points, hover, gate, panels, _cards(inputs, content), drawings)
    page = render(content, drawn).encode("utf-8", errors="backslashreplace")
    (out / "report.html").write_bytes(page)
    more = [points_table(points)] if points is not None else []
    for table in (*content.tables, *more, *_gate_table(inputs)):
        text = csv_text(table).encode("utf-8", errors="backslashreplace")
        (out / f"{table.name}.csv").write_bytes(text)
    return {
        "n_patches": 0 if points is None else len(points),
        "n_pictures": 0 if hover is None else len(hover.shots),
        "n_bytes": len(page),
    }


def _points(inputs: Inputs, params: Params, ctx: Context) -> tuple[Points | None, Hover | None]:
    from alcore.report.hover import Origin, hover
    from alcore.report.points import read_points

    if not inputs.get("map"):
        return None, None
    volumes = {str(v["key"]): v for v in params["volumes"]}
    points = read_points(one(inputs, "map"), {key: str(v["name"]) for key, v in volumes.items()}, params["marks"])
    if not len(points):
        return None, None
    sources, packages = inputs.get("source", []), inputs.get("package", [])
    origins = {
        key: Origin(sources[v["source"]], v["read"], v["content"])
        for key, v in volumes.items()
        if v["source"] is not None
    }
    notes, folders = {}, {}
    for patch in params["patches"]:
        key, row = str(patch["key"]), int(patch["row"])
        for i in points.at(key, [row]):
            notes[int(i)] = str(patch["note"])
        if patch["package"] is not None:
            folders[key, row] = packages[patch["package"]].path
    return points, hover(points, origins, folders, notes, ctx)


def _method(inputs: Inputs) -> str:
    from alcore.artifact import read_manifest

    return str(read_manifest(one(inputs, "map")).result["method"])


def _drawings(content: Content, folder: Path) -> dict[str, str]:
    """Figures that are also in the page, saved and as <svg>."""
    from alcore.report import figures

    made = {}
    if content.curve:
        figure = figures.learning_curve(content)
        made["learning_curve"] = (figure, figures.describe_curve(content.curve))
    for name, column, label, title in (
        ("minutes", "minutes", "minutes", "Minutes spent"),
        ("timings", "total_s", "seconds of computing", "Time by stage"),
    ):
        table = next((t for t in content.tables if t.name == name), None)
        if table is None or not table.rows:
            continue
        at = [c.name for c in table.columns].index(column)
        rows = [(str(row[0]), value) for row in table.rows if isinstance(value := row[at], (int, float)) and value > 0][
            :20
        ]
        if rows:
            words, values = zip(*rows, strict=True)
            alt = f"{title}: " + ", ".join(f"{w} {v:.0f}" for w, v in rows)
            made[name] = (figures.bars(words, values, label), alt)
    for name, (figure, _) in made.items():
        figures.save(figure, folder, name)
    return {name: figures.drawing(figure, name, alt) for name, (figure, alt) in made.items()}


def _gate(inputs: Inputs, folder: Path) -> tuple[list[GateRow], list[str]]:
    from alcore.report import figures
    from alcore.report.page import GateRow
    from alcore.report.pictures import shrunk
    from alcore.stages.gate_pictures import PANELS, PX

    if not inputs.get("gate"):
        return [], []
    path = one(inputs, "gate")
    found = json.loads((path / "patches.json").read_text())
    rows, drawn = [], []
    for n, patch in enumerate(found["patches"]):
        files = {panel: path / f"{n:02d}_{panel}.jpg" for panel in patch["panels"]}
        facts = [
            f"slice {patch['slice'] + 1} of {patch['n_slices']}",
            f"F1 {patch['f1']:.2f}, Dice {patch['dice']:.2f}",
        ]
        rows.append(GateRow(patch["name"], facts, {p: f.read_bytes() for p, f in files.items()}, patch["objects"]))
        pictures = {panel: picture for panel, file in files.items() if (picture := shrunk(file, PX)) is not None}
        drawn.append((f"{patch['name']}\nDice {patch['dice']:.2f}", pictures))
    if drawn:
        figures.save(figures.gate_patches(drawn, PANELS), folder, "gate_patches")
    return rows, list(PANELS)


def _gate_table(inputs: Inputs) -> list[Table]:
    """What was found on the held-out patches that are shown, for the CSV."""
    from alcore.report.content import Column, Table

    if not inputs.get("gate"):
        return []
    found = json.loads((one(inputs, "gate") / "patches.json").read_text())
    kinds = ("pseudo-label", "prediction", "label")
    columns = [Column(name, name) for name in ("patch", "model", "f1", "dice", *(f"{k}_objects" for k in kinds))]
    rows = [
        (p["name"], found["version"], p["f1"], p["dice"], *(p["objects"].get(kind) for kind in kinds))
        for p in found["patches"]
    ]
    return [Table("gate_patches", "Held-out patches", "", tuple(columns), tuple(rows))]


def _cards(inputs: Inputs, content: Content) -> Mapping[int, bytes]:
    from alcore.report.pictures import jpeg, suggested

    found = {}
    for number in {card.picture for card in content.cards if card.picture is not None}:
        picture = suggested(inputs["package"][number].path, CARD_PX)
        if picture is not None:
            found[number] = jpeg(picture)
    return found


STAGE = Stage("report", 1, run, long=True)
