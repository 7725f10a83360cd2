"""What the report says, gathered from a workspace in the middle of its life: figures, marks, words, hostile names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alcore.report.content import MARKS, Content
from alcore.stage import Input
from daemon.config import load
from daemon.look import reading
from daemon.planner import Planner
from daemon.reporting.gather import Gathering
from daemon.reporting.pool import SHOWN_GATE, gate_patches, noted
from tests.daemon.scene import HOSTILE, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def embedded(scene: Scene) -> None:
    """Every volume is embedded by the encoder that selects."""
    planner = Planner(load(scene.config), "cpu", scene.workspace.artifacts.path, scene.workspace.root)
    (encoder,) = [e for e in scene.store.encoders.in_use().values() if e.state == "current"]
    spec = planner.embedding_spec(encoder)
    scene.store.state._db.execute("UPDATE job SET spec = ? WHERE stage = 'embedding'", [spec])


def gathered(scene: Scene, made: dict[str, Input | None] | None = None, words: dict[str, str] | None = None) -> Any:
    planner = Planner(load(scene.config), "cpu", scene.workspace.artifacts.path, scene.workspace.root)
    with reading(scene.workspace.root) as db:
        wanted = Gathering(planner, db).report("asked:1", made or {}, words or {}, scene.now)
    json.dumps(wanted.params)
    return wanted


def test_it_says_how_it_stands(scene: Scene) -> None:
    scene.live()
    embedded(scene)
    said = Content.from_json(gathered(scene).params["content"])
    tiles = {word: (figure, remark) for word, figure, remark in said.tiles}
    assert tiles["model in use"] == ("M_f-002", "F1 0.61, Dice 0.81")
    assert tiles["labels"] == ("4 of 32", "3 for training, 1 held out")
    assert tiles["rounds"] == ("2", "the last one: M_f-002 promoted")
    assert tiles["waiting for you"][0] == "4 patches"
    assert [(p.round, p.share, p.f1.value, p.promoted, p.pseudo_f1) for p in said.curve] == [
        (1, 0.01, 0.45, True, 0.402),
        (2, 0.02, 0.612, True, 0.402),
    ]
    (arm,) = said.arms
    assert (arm.selected, arm.control, arm.low, arm.high) == (0.62, 0.589, 0.004, 0.058)
    assert said.notes["control"] == "Selection helps: it does."
    assert [m.version for m in said.models] == ["M_f-001", "M_f-002"]
    assert any("in use from" in fact for fact in said.models[1].facts)
    assert [c.id for c in said.cards] == ["s00005", "s00006", "s00007", "s00008"]
    assert dict(said.cards[2].facts)["chosen"] == "◇ by chance"


def test_every_table_is_there_with_a_line_for_everything(scene: Scene) -> None:
    scene.live()
    tables = {t.name: t for t in Content.from_json(gathered(scene).params["content"]).tables}
    assert set(tables) == {"volumes", "rounds", "control", "models", "queue", "minutes", "timings", "versions"}
    for table in tables.values():
        assert all(len(row) == len(table.columns) for row in table.rows), table.name
    names = [row[0] for row in tables["volumes"].rows]
    assert sorted(names) == ["stack_00.tif", "stack_01.tif", "stack_02.tif", "stack_03.tif", "stack_99.tif"]
    at = [c.name for c in tables["volumes"].columns]
    first = dict(zip(at, next(r for r in tables["volumes"].rows if r[0] == "stack_00.tif"), strict=True))
    assert first["objects"] == 9 and first["model"] == "M_f-002" and first["patches"] == 8 and first["labelled"] == 1
    assert [row[0] for row in tables["rounds"].rows] == [1, 2]
    versions = dict(tables["versions"].rows)
    assert versions["model in use"] == "M_f-002" and versions["stage report"].startswith("v")
    assert {"Python", "torch", "nnunetv2", "umap-learn", "SQLite"} <= set(versions)
    who = {row[0]: row[2] for row in tables["minutes"].rows if row[1] == "person"}
    assert who == {"ana": 4}


def test_a_volume_that_lies_in_two_places_has_one_line_that_of_the_place_where_it_is(scene: Scene) -> None:
    scene.live()
    db = scene.store.state._db
    for path, gone in (("copy.tif", 0), ("lost.tif", 1)):
        db.execute(
            "INSERT INTO source (path, name, watch, state, size, fingerprint, gone, volume_id, first_seen, changed_at)"
            " SELECT ?, ?, 0, 'ingested', 1, fingerprint, ?, volume_id, 0, 0 FROM source WHERE name = 'stack_00.tif'",
            [f"/else/{path}".encode(), path, gone],
        )
        sql = "INSERT INTO source_part (source_id, volume_id, since) SELECT MAX(id), ?, 0 FROM source"
        db.execute(sql, [scene.volumes[0]])
    db.execute("UPDATE source SET gone = 1 WHERE name = 'stack_00.tif'")
    tables = {t.name: t for t in Content.from_json(gathered(scene).params["content"]).tables}
    names = [(row[0], row[1]) for row in tables["volumes"].rows]
    assert len(names) == 5 and ("copy.tif", "ingested") in names


def test_patches_are_marked_for_what_they_are(scene: Scene) -> None:
    scene.troubled()
    with reading(scene.workspace.root) as db:
        found = noted(db)
    first, hostile = scene.volumes[0], scene.volumes[-1]
    assert set(found.marks) == set(MARKS)
    assert found.marks["labelled"] == {v: [0] for v in scene.volumes[:3]}
    assert found.marks["held out"] == {scene.volumes[3]: [0]}
    assert sum(map(len, found.marks["suggested"].values())) == 4
    assert found.marks["by chance"] == {scene.volumes[2]: [1]}
    assert sorted(found.marks["outlier"][hostile]) == [3, 7]
    assert found.marks["newest"][hostile] == list(range(8)) and first in found.marks["newest"]
    assert found.notes[first, 0].startswith("s00001 (accepted, 17 objects drawn): far from the rest")
    assert found.notes[hostile, 7] == "looks broken: it is blank"
    assert "unlike everything before it" in found.notes[hostile, 3]
    assert found.packages[first, 0] == "package-s00001"


def test_names_are_harmless_lines_wherever_they_come_from(scene: Scene) -> None:
    scene.troubled()
    wanted = gathered(scene, words={"map": "the map is missing: why"})
    text = json.dumps(wanted.params, ensure_ascii=False)
    assert "\x1b" not in text and "\u202e" not in text and HOSTILE.splitlines()[0] not in text
    assert wanted.params["content"]["notes"]["map"] == "the map is missing: why"


def test_inputs_are_what_there_is_and_params_point_into_them(scene: Scene, tmp_path: Path) -> None:
    scene.live()
    embedded(scene)
    for number in (5, 6):
        scene.workspace.artifacts.path(f"package-s{number:05d}").mkdir(parents=True)
    made = {"latent_map": Input(tmp_path, "latent_map-1"), "gate_pictures": None}
    wanted = gathered(scene, made)
    assert [i.key for i in wanted.inputs["map"]] == ["latent_map-1"] and wanted.inputs["gate"] == []
    assert [i.key for i in wanted.inputs["package"]] == ["package-s00005", "package-s00006"]
    cards = Content.from_json(wanted.params["content"]).cards
    assert [c.picture for c in cards] == [0, 1, None, None]
    volumes = wanted.params["volumes"]
    assert [v["source"] for v in volumes] == [0, 1, 2] and len(wanted.inputs["source"]) == 3
    assert all(not i.content for i in wanted.inputs["source"]), "a report does without a file that changed"
    keys = {v["key"] for v in volumes}
    assert all(set(found) <= keys for found in wanted.params["marks"].values())
    shown = [p["package"] for p in wanted.params["patches"] if p["package"] is not None]
    assert sorted(shown) == [0, 1]


def test_what_was_kept_of_a_volume_that_went_is_on_the_map_until_it_is_embedded_itself(scene: Scene) -> None:
    scene.live()
    embedded(scene)
    planner = Planner(load(scene.config), "cpu", scene.workspace.artifacts.path, scene.workspace.root)
    (encoder,) = [e for e in scene.store.encoders.in_use().values() if e.state == "current"]
    first, last = scene.volumes[0], scene.volumes[3]
    for volume in (first, last):
        scene.done("kept_embedding", f"kept:{volume}")
    scene.store.state._db.execute(
        "UPDATE job SET spec = ? WHERE stage = 'kept_embedding'", [planner.kept_spec(encoder)]
    )
    volumes = gathered(scene).params["volumes"]
    assert [v["name"] for v in volumes] == [f"stack_{i:02d}.tif" for i in range(4)]
    assert [v["key"].split("-")[0] for v in volumes] == ["embedding"] * 3 + ["kept_embedding"]
    assert [v["source"] for v in volumes] == [0, 1, 2, None]


def test_a_workspace_in_which_nothing_has_happened_can_be_told_of(scene: Scene) -> None:
    wanted = gathered(scene)
    said = Content.from_json(wanted.params["content"])
    assert said.curve == () and said.models == () and said.notes["map"] == "No volume has arrived yet."
    assert wanted.params["volumes"] == []


def test_of_held_out_patches_some_are_shown_from_the_worst_to_the_best(scene: Scene) -> None:
    scene.live()
    with reading(scene.workspace.root) as db:
        assert gate_patches(db) is None, "nothing was scored patch by patch"
    rows = [{"label": "label-s00004", "scores": {"dice": 0.5}}, {"label": "label-gone", "scores": {"dice": 0.1}}]
    result = {"scores": {"f1": 0.5, "dice": 0.5}, "per_label": rows}
    scene.store.learning.add_evaluation("evaluate-1", "M_f-002", "d", result, scene.now)
    with reading(scene.workspace.root) as db:
        found = gate_patches(db)
    assert found is not None and (found.version, found.names, found.labels) == (
        "M_f-002",
        ("s00004",),
        ("label-s00004",),
    )
    db = scene.store.state._db
    many = [f"label-x{i}" for i in range(30)]
    for key in many:
        scene.artifact(key)
        db.execute(
            "INSERT INTO label (patch_id, artifact, received_id, origin, role, n_objects, author, warnings, superseded_by,"
            " accepted_at) SELECT patch_id, ?, received_id, origin, role, 1, '', '[]', id, 0 FROM label WHERE id = 4",
            [key],
        )
    rows = [{"label": key, "scores": {"dice": (7 * i % 30) / 30}} for i, key in enumerate(many)]
    scene.store.learning.add_evaluation("evaluate-2", "M_f-002", "e", result | {"per_label": rows}, scene.now)
    with reading(scene.workspace.root) as connection:
        chosen = gate_patches(connection)
    assert chosen is not None and len(chosen.labels) == SHOWN_GATE
    dice = [next(r["scores"]["dice"] for r in rows if r["label"] == key) for key in chosen.labels]
    assert dice == sorted(dice) and dice[0] == 0 and dice[-1] == pytest.approx(29 / 30)
