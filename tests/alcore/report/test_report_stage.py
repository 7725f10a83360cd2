"""Stage report: what is in its page, its figures and its CSV, whatever the names are and whatever is missing."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from alcore.errors import PermanentError
from alcore.report.content import MARKS, Content
from alcore.report.hover import MOST, choose
from alcore.report.pictures import suggested
from alcore.report.points import packed, points_table, read_points, spread
from alcore.run import execute
from alcore.stage import Input
from tests.alcore.report.scenes import HOSTILE, Scene, empty, suggestion_folder, without_curve


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    return Scene(tmp_path_factory.mktemp("report"), 40).report()


def test_page_figures_and_numbers_are_there(made: tuple[Path, dict[str, int]]) -> None:
    folder, result = made
    assert result["n_patches"] == 400 and result["n_bytes"] == (folder / "report.html").stat().st_size
    names = {"latent_map", "learning_curve", "timings"}
    assert {p.name for p in (folder / "figures").iterdir()} == {f"{n}.{kind}" for n in names for kind in ("png", "svg")}
    for name in names:
        with Image.open(folder / "figures" / f"{name}.png") as image:
            assert min(image.size) > 200
        ElementTree.parse(folder / "figures" / f"{name}.svg")
    assert {p.name for p in folder.glob("*.csv")} == {"volumes.csv", "timings.csv", "patches.csv"}


def test_the_page_names_no_address_and_forbids_itself_to_load_anything(made: tuple[Path, dict[str, int]]) -> None:
    page = (made[0] / "report.html").read_text()
    assert "default-src 'none'" in page
    told = re.sub(r"data:[a-z/]+;base64,[A-Za-z0-9+/=]+", "", page)
    assert set(re.findall(r"https?://[^\s\"'<)]+", told)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?!data:)", told)


def test_names_are_escaped_in_the_page_and_kept_as_they_are_in_the_csv(made: tuple[Path, dict[str, int]]) -> None:
    page = (made[0] / "report.html").read_text()
    assert "<img src=x" not in page and page.count("</script>") == page.count("<script")
    rows = list(csv.reader(io.StringIO((made[0] / "volumes.csv").read_text(), newline="")))
    assert rows[0] == ["volume", "patches", "expected_dice"] and rows[1][0] == HOSTILE and len(rows) == 41
    timings = list(csv.reader(io.StringIO((made[0] / "timings.csv").read_text(), newline="")))
    assert timings[2] == ["'=cmd()", "3.0"], "a spreadsheet must not run it"


def test_what_the_page_carries_of_every_patch_is_what_the_csv_says(made: tuple[Path, dict[str, int]]) -> None:
    page = (made[0] / "report.html").read_text()
    found = re.search(r'<script type="application/json" id="points">(.*?)</script>', page, re.DOTALL)
    assert found
    about = json.loads(found[1])
    n, data = about["n"], base64.b64decode(about["data"])
    assert about["wide"] == [2, 2] and len(data) == n * (4 + 2 + 6 + 1)
    xy = np.frombuffer(data, "<u2", 2 * n).reshape(n, 2).astype(float)
    of, start = np.frombuffer(data, "<u2", n, 4 * n), np.frombuffer(data, "<u2", 3 * n, 6 * n).reshape(n, 3)
    marks = np.frombuffer(data, np.uint8, n, 12 * n)
    rows = list(csv.DictReader(io.StringIO((made[0] / "patches.csv").read_text(), newline="")))
    assert [about["names"][i] for i in of] == [r["volume"] for r in rows]
    assert [tuple(map(int, s)) for s in start] == [(int(r["z"]), int(r["y"]), int(r["x"])) for r in rows]
    for bit, name in enumerate(MARKS):
        assert [m >> bit & 1 for m in marks.tolist()] == [int(r[name.replace(" ", "_")]) for r in rows]
    told = np.array([[float(r["map_x"]), float(r["map_y"])] for r in rows])
    for axis, sign in ((0, 1), (1, -1)):
        assert np.corrcoef(xy[:, axis], sign * told[:, axis])[0, 1] > 0.99999
    assert max(np.ptp(xy[:, 0]), np.ptp(xy[:, 1])) == 65535


def test_every_patch_that_can_be_read_may_have_a_picture_and_it_is_its_own(made: tuple[Path, dict[str, int]]) -> None:
    """The files have a grey level of its own in each patch, rising along x."""
    folder, result = made
    assert result["n_pictures"] == 30
    page = (folder / "report.html").read_text()
    found = re.search(r'id="points">(.*?)</script>', page, re.DOTALL)
    sheet = re.search(r"\.shot \{ background-image: url\(data:image/jpeg;base64,([^)]+)\)", page)
    assert found and sheet
    about = json.loads(found[1])
    assert sorted(about["shots"]) == list(range(30))
    with Image.open(io.BytesIO(base64.b64decode(sheet[1]))) as image:
        assert image.size[0] == 96 * about["columns"]
    assert about["notes"]["0"] == f"s00001 (open): {HOSTILE}"


def test_a_file_that_changed_or_went_has_no_picture(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 4)
    params = scene.params(scene.content())
    scene.files()[0].write_bytes(scene.files()[1].read_bytes())
    scene.files()[1].unlink()
    inputs = {"map": [scene.map()], "source": [Input(tmp_path / f"v{i}.tif", f"sha256:{i}") for i in range(3)]}
    made = execute("report", inputs, params, scene.store, scene.ctx)
    assert made.result["n_pictures"] == 10


@pytest.mark.parametrize("margin", [0, 8])
def test_the_picture_of_a_suggestion_shows_the_patch_and_no_margin(tmp_path: Path, margin: int) -> None:
    picture = suggested(suggestion_folder(tmp_path / "s1", margin), 320)
    assert picture is not None and picture.shape == (160, 160, 3)  # 32 voxels, five pixels each
    coloured = np.argwhere(np.ptp(picture.astype(int), axis=2) > 60)
    assert coloured.min(axis=0).tolist() == [40, 40] and coloured.max(axis=0).tolist() == [99, 99]
    (tmp_path / "s1" / "suggestion.json").write_text("{")
    assert suggested(tmp_path / "s1", 320) is None


def test_without_a_map_a_curve_or_anything_the_page_says_so(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 2)
    folder, result = scene.report(empty(), with_map=False)
    page = (folder / "report.html").read_text()
    assert result["n_patches"] == 0 and "No volume has arrived yet." in page and 'id="points"' not in page
    for words in ("Nothing waits for an expert.", "No round was scored yet.", "No model was trained yet."):
        assert words in page
    folder, _ = scene.report(without_curve(scene.content()))
    assert "No round was scored yet." in (folder / "report.html").read_text()
    assert not (folder / "figures" / "learning_curve.png").exists()


def test_a_damaged_map_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "map.npz").write_bytes(b"PK")
    with pytest.raises(PermanentError, match=r"map\.npz: not a readable map"):
        read_points(tmp_path, {}, {})


def test_content_survives_the_way_through_json() -> None:
    content = Scene(Path("unused"), 3).content()
    assert Content.from_json(json.loads(json.dumps(content.to_json()))) == content


def test_pictures_are_bounded_marked_ones_first_and_the_rest_from_everywhere(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 300)
    marks = {
        "labelled": {scene.key(7): list(range(10))},
        "newest": {scene.key(i): list(range(10)) for i in range(50, 90)},
    }
    points = read_points(scene.map().path, {}, marks)
    chosen = choose(points, np.arange(len(points)))
    assert 250 <= len(chosen) <= MOST and len(set(chosen)) == len(chosen)
    assert set(range(70, 80)) <= set(chosen), "all labelled patches"
    assert 20 <= len(set(chosen) & set(range(500, 900))) < 120
    cells = {tuple(c) for c in np.floor(points.xy / 6).astype(int).tolist()}
    seen = {tuple(c) for c in np.floor(points.xy[chosen] / 6).astype(int).tolist()}
    assert len(seen) > 0.7 * len(cells)
    assert len(spread(points, np.arange(0), 5)) == 0 and len(spread(points, np.arange(50), 0)) == 0


def test_one_place_for_all_patches_is_drawn_in_the_middle(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "map.npz",
        keys=np.array(["e"]),
        xy=np.ones((3, 2), np.float32),
        of=np.zeros(3, np.int32),
        row=np.arange(3),
        start=np.full((3, 3), 70_000),
        shape=np.ones((3, 3), np.int64),
    )
    about = packed(read_points(tmp_path, {"e": "v"}, {"labelled": {"e": [2, 9], "gone": [1]}}))
    assert about["wide"] == [2, 4] and about["aspect"] == 1.0
    data = base64.b64decode(about["data"])
    assert np.frombuffer(data, "<u2", 6).tolist() == [32767, 32768] * 3
    assert list(data[-3:]) == [0, 0, 1 << MARKS.index("labelled")]
    assert len(points_table(read_points(tmp_path, {}, {})).rows) == 3
