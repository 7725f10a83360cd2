"""From results.csv to tables, verdicts, pictures and page: right numbers, honest words, the same bytes every time."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from alcore.errors import PermanentError
from alcore.simulation import report, tables, verdicts
from alcore.simulation.arms import Arm, Curves
from alcore.simulation.brief import brief_scores, brief_strategies
from alcore.simulation.presentation import all_tables, present
from alcore.simulation.results import COLUMNS, OPTIONAL, Row, read_results
from alcore.simulation.told import asked
from tests.alcore.report.browser import browser, requests, seconds_to_load

Score = Callable[[int, int, str, int, float], float]
BUDGETS = (1, 2, 4, 8, 16)
N_POOL = 16
GAIN = {"random": 0.0, "coreset": 0.02, "guided": 0.05}


def plain(split: int, seed: int, strategy: str, pretrained: int, share: float) -> float:
    """A curve that rises by doublings; guided is ahead but for noise, random behind."""
    noise = np.random.default_rng([split, seed, len(strategy), round(1000 * share)]).normal(0, 0.004)
    ahead = 0.0 if share in (0, 1) else GAIN[strategy] + noise
    return 0.6 + 0.05 * split + 0.05 * math.log2(max(share, 1 / 32)) + ahead + 0.03 * pretrained * (share < 1)


def rows(
    strategies: Iterable[str] = tuple(GAIN),
    splits: int = 4,
    seeds: int = 3,
    starts: Iterable[int] = (0, 1),
    score: Score = plain,
) -> list[Row]:
    """A finished run of the fast learner."""
    found = []
    for split in range(splits):
        for seed in range(seeds):
            for start in starts:
                for strategy in strategies:
                    found += [_row(split, seed, strategy, start, n, score) for n in BUDGETS if n < N_POOL]
                found.append(_row(split, seed, "all", start, N_POOL, score))
            if 1 in starts:
                found.append(_row(split, seed, "none", 1, 0, score))
    return found


def _row(split: int, seed: int, strategy: str, start: int, n: int, score: Score) -> Row:
    f1 = score(split, seed, strategy, start, n / N_POOL)
    return Row(
        pool="tissue",
        split=split,
        seed=seed,
        strategy=strategy,
        pretrained=start,
        learner="fast",
        n_labels=n,
        n_pool=N_POOL,
        label_fraction=n / N_POOL,
        f1=f1,
        accuracy=f1 / (2 - f1),
        panoptic_quality=0.8 * f1,
        precision=f1,
        recall=f1,
        ap75=0.5 * f1,
        dice=f1,
        minutes=1.5 * n,
        n_selected_objects=2 * n,
        seconds=1.0,
    )


def write(folder: Path, played: list[Row], told: dict[str, object] | None = None) -> Path:
    """results.csv of these rows, run.json, and a map of twelve patches."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "results.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in played:
            writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in astuple(row)])
    if told is not None:
        (folder / "run.json").write_text(json.dumps(told))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 6)).astype(np.float32)
    place = np.stack([np.zeros(12), 8 * (np.arange(12) // 4), 8 * (np.arange(12) % 4)], 1).astype(np.int64)
    np.savez(
        folder / "latent.npz",
        pools=np.array(["tissue"]),
        embeddings_0=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        start_0=place,
        shape_0=np.full((12, 3), 8),
        foreground_0=rng.random(12).astype(np.float32),
        region_0=np.array([[[0, 0, 0], [8, 24, 8]]]),
    )
    with open(folder / "picks.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(report.PICKS)
        for strategy in {row.strategy for row in played} - {"all", "none"}:
            writer.writerows(["tissue", 0, 0, strategy, 0, "fast", n + 1, n + 3, 0, 0, 0, 1.5] for n in range(6))
    return folder


def test_the_engine_writes_what_is_read_here() -> None:
    assert set(COLUMNS) - set(OPTIONAL) <= set(report.COLUMNS)


def test_equal_results_give_equal_bytes_whatever_their_order(tmp_path: Path) -> None:
    played = rows()
    one = write(tmp_path / "one", played)
    random.Random(1).shuffle(played)
    other = write(tmp_path / "other", played)
    for folder in (one, other):
        present(folder, "guided")
    made = {p.relative_to(one) for kind in ("tables", "figures") for p in (one / kind).iterdir()}
    assert {p.suffix for p in made} == {".md", ".csv", ".png", ".svg"}
    for name in (*made, Path("report.html")):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_table_1_has_the_scores_and_their_share_of_all_labels_beside_the_papers(tmp_path: Path) -> None:
    played = rows(score=lambda split, seed, strategy, start, share: 0.2 + 0.4 * share + 0.1 * split)
    curves = Curves(read_results(write(tmp_path, played) / "results.csv"), "fast")
    table = tables.table1(curves, Arm("coreset", 1))
    assert table.columns == ("0 (0 %)", "1 (6.25 %)", "2 (12.5 %)", "4 (25 %)", "8 (50 %)", "16 (100 %)")
    cells = {tuple(row[:2]): row[2:] for row in table.cells()}
    means = [0.35 + 0.4 * share for share in (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)]
    assert [c.split(" ± ")[0] for c in cells["F1", "here"]] == [f"{m:.3f}" for m in means]
    shares = [c.removesuffix(" %").split(" ± ")[0] for c in cells["F1, share of all labels", "here"]]
    assert shares == [f"{100 * m / means[-1]:.1f}" for m in means]
    assert cells["F1", "the paper"] == ["–", "0.588", "0.600", "–", "–", "0.635"]
    assert cells["F1, share of all labels", "the paper"][1:3] == ["92.7 %", "94.5 %"]
    assert {label for label, _ in cells} >= {"accuracy", "panoptic quality", "precision"}


def test_table_2_pairs_strategies_and_starts(tmp_path: Path) -> None:
    curves = Curves(read_results(write(tmp_path, rows()) / "results.csv"), "fast")
    table = tables.table2(curves, "f1", "F1", "coreset", "random")
    lines = {line.labels: line.entries for line in table.lines}
    ahead = lines["coreset − random", "no"][2]
    assert ahead is not None and ahead.told_apart and ahead.value.mean == pytest.approx(0.02, abs=0.006)
    gained = lines["coreset", "yes − no"][2]
    assert gained is not None and gained.value.mean == pytest.approx(0.03, abs=1e-9)
    assert lines["coreset − random", "yes"][-1] is None  # with all labels there is nothing to choose
    assert "**+0.0" in table.markdown() and "0.577" in table.markdown()
    text = list(csv.reader(table.csv().splitlines()))
    assert text[0][:3] == ["strategy", "pre-trained", "statistic"] and len({len(line) for line in text}) == 1


def test_verdicts_name_winner_loser_and_what_cannot_be_told_apart(tmp_path: Path) -> None:
    curves = Curves(read_results(write(tmp_path, rows()) / "results.csv"), "fast")
    found = {v.arm: v for v in verdicts.against(curves, "coreset", "f1")}
    assert found[Arm("guided", 0)].word == "better" and found[Arm("random", 0)].word == "worse"
    assert "ahead in 12 of 12 runs, 4 of 4 test regions" in found[Arm("guided", 1)].sentence(True)
    assert verdicts.headline(curves, "guided", "F1").startswith("Yes, choosing pays here: guided scores +0.0")
    alike = rows(
        score=lambda split, seed, strategy, start, share: plain(split, seed, "random", start, share) + seed * 0
    )
    same = Curves(read_results(write(tmp_path / "alike", alike) / "results.csv"), "fast")
    assert {v.word for v in verdicts.against(same, "coreset", "f1")} == {"not told apart"}
    assert verdicts.headline(same, "guided", "F1").startswith("Not shown here")


def test_one_seed_gives_no_interval_and_says_so(tmp_path: Path) -> None:
    (shown,) = present(write(tmp_path, rows(seeds=1)), "guided")
    assert "One seed is too little" in shown.answer and "±" not in str(shown.short[0].cells())
    assert shown.verdicts and all("no verdict" in sentence for sentence in shown.verdicts)
    assert "no interval can be given" in (tmp_path / "report.html").read_text()


def test_an_unfinished_run_counts_whole_runs_and_says_of_how_many() -> None:
    played = rows(starts=(0,))
    told = {
        "learner": "fast",
        "strategies": list(GAIN),
        "pretrained": [0],
        "seeds": [0, 1, 2, 3],
        "pools": {"tissue": {"regions": [{}] * 4}},
    }
    cut = [r for r in played if not (r.seed == 2 and r.split == 1 and r.strategy == "guided" and r.n_labels > 2)]
    curves = Curves(cut, "fast", asked(told))
    assert any("11 of 16 runs" in note for note in tables.how_sure(curves))
    assert not any("(11 of" in cell for row in tables.table1(curves, Arm("coreset", 0)).cells() for cell in row)
    whole = Curves(played, "fast")
    assert (whole.n_complete, whole.n_wanted) == (12, 12)
    none = [r for r in cut if r.strategy != "guided"]
    curves = Curves(none, "fast", asked(told))
    assert "guided was not played" in verdicts.headline(curves, "guided", "F1")
    assert any("0 of 16 runs" in note for note in tables.how_sure(curves))


def test_points_that_are_missing_from_every_whole_run_are_counted_in_the_cell(tmp_path: Path) -> None:
    played = [r for r in rows(starts=(0,)) if not (r.seed == 0 and r.strategy == "random" and r.n_labels == 4)]
    played = [r for r in played if not (r.seed > 0 and r.strategy == "coreset" and r.n_labels == 2)]
    table = tables.table1(Curves(read_results(write(tmp_path, played) / "results.csv"), "fast"), Arm("random", 0))
    assert table.cells()[0][4].endswith("(8 of 12)")


def test_scores_that_are_nan_are_left_out_and_told(tmp_path: Path) -> None:
    played = rows(score=lambda *who: math.nan if who[:4] == (0, 0, "guided", 0) and who[4] == 1 / 4 else plain(*who))
    curves = Curves(read_results(write(tmp_path, played) / "results.csv"), "fast")
    assert any("without a score (NaN), left out: 1" in note for note in tables.how_sure(curves))
    assert {v.n_compared for v in verdicts.against(curves, "random", "f1") if v.arm == Arm("guided", 0)} == {11}
    made = [table for kind in all_tables(curves, "guided") for table in kind]
    assert len(made) > 5 and "nan" not in "".join(table.markdown() + table.csv() for table in made)


def test_a_single_strategy_has_curves_but_no_verdict(tmp_path: Path) -> None:
    (shown,) = present(write(tmp_path, rows(["coreset"], starts=(0,))), "guided")
    assert "random was not played" in shown.answer and not shown.verdicts
    assert (tmp_path / "figures" / "learning_curve_fast.png").stat().st_size > 10_000


def test_no_labels_are_no_column_where_nothing_is_pre_trained() -> None:
    played = [*rows(starts=(0,), seeds=1), *(r for r in rows(seeds=1) if r.strategy == "none")]
    assert Curves(played, "fast").shares[0] == 1 / 16 and Curves(rows(seeds=1), "fast").shares[0] == 0


def test_without_the_default_the_answer_is_on_the_papers_rule(tmp_path: Path) -> None:
    (shown,) = present(write(tmp_path, rows(["coreset", "random"])), "guided")
    assert shown.answer.startswith("Yes, choosing pays here: coreset scores +0.0")
    targets = next(table for table in shown.tables if table.name.startswith("targets"))
    aims = {line.labels[0]: line.labels[1] for line in targets.lines}
    assert [aim.split(":")[0] for aim in list(aims)[:2]] == ["coreset", "coreset"] and list(aims.values())[2:] == [
        "not played"
    ] * 2


def test_what_a_terminal_shows_fits_eighty_columns() -> None:
    longest = rows(["random", "coreset", "guided"], seeds=2)
    longest = [dataclasses.replace(r, strategy={"guided": "uncertainty"}.get(r.strategy, r.strategy)) for r in longest]
    curves = Curves(longest, "fast")
    for short in (brief_strategies(curves, ["random", "coreset"]), brief_scores(curves, Arm("coreset", 1))):
        lines = [[*short.labels, *short.columns], *short.cells()]
        widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
        assert len(short.lines) in (5, 6) and sum(widths) + 2 * len(widths) <= 80


def test_a_run_that_has_only_begun_is_a_page_already(tmp_path: Path) -> None:
    begun = [row for row in rows(seeds=1) if row.strategy in ("all", "none")]
    (shown,) = present(write(tmp_path, begun), "guided")
    assert "no strategy has been played" in shown.answer and shown.answer in (tmp_path / "report.html").read_text()


def test_tables_of_an_earlier_run_go(tmp_path: Path) -> None:
    present(write(tmp_path, rows(["coreset", "random"], seeds=1, starts=(0,))), "guided")
    assert (tmp_path / "tables" / "table1_fast_random_scratch.md").exists()
    for mine in ("tables/mine.txt", "tables/mine.csv", "figures/paper_fig1.png"):
        (tmp_path / mine).write_text("kept")
    listed = (tmp_path / ".written").read_text()
    (tmp_path / "mine.md").write_text("kept")
    (tmp_path / ".written").write_text(f"{listed}tables/../mine.md\nmine.md\ntables/..\n")
    present(write(tmp_path, rows(["coreset"], seeds=1, starts=(0,))), "guided")
    assert not (tmp_path / "tables" / "table1_fast_random_scratch.md").exists()
    assert {p.name for p in (tmp_path / "tables").iterdir()} >= {
        "mine.txt",
        "mine.csv",
        "table1_fast_coreset_scratch.csv",
    }
    assert (tmp_path / "figures" / "paper_fig1.png").exists() and (tmp_path / "mine.md").exists()


def test_warnings_stand_above_the_answer_and_name_the_labels(tmp_path: Path) -> None:
    told: dict[str, object] = {
        "pools": {
            "tissue": {"labels": {"name": "l.tif"}, "concerns": ["l.tif holds a single object"], "voxel_um": None}
        },
        "left_out": ["images/d.tif"],
    }
    nothing = rows(["coreset", "random"], seeds=1, starts=(0,), score=lambda *who: 0.0)
    (shown,) = present(write(tmp_path, nothing, told), "guided")
    assert shown.warnings[0] == "l.tif holds a single object"
    assert "F1 with all labels is 0 on tissue" in shown.warnings[1] and "l.tif lies on its image" in shown.warnings[1]
    page = (tmp_path / "report.html").read_text()
    assert page.index("holds a single object") < page.index("F1 with all labels is 0") < page.index(shown.answer[:20])
    assert "without a partner in the folder: images/d.tif" in page and "tissue: the image states no voxel size" in page
    (shown,) = present(write(tmp_path / "well", rows(["coreset"], seeds=1, starts=(0,))), "guided")
    assert shown.warnings == () and 'class="warning"' not in (tmp_path / "well" / "report.html").read_text()


def test_a_page_without_maps_draws_none(tmp_path: Path) -> None:
    present(write(tmp_path, rows(["coreset"], seeds=1, starts=(0,))), "guided", maps=False)
    assert not list(tmp_path.glob("figures/latent_map*")) and list(tmp_path.glob("figures/learning_curve*"))


def test_the_page_needs_nothing_else_and_takes_no_orders_from_names(tmp_path: Path) -> None:
    told: dict[str, object] = {"pools": {"<script>alert(1)</script>": {}}, "settings": {}, "alscope": "</pre><b>"}
    present(write(tmp_path, rows(["guided", "random"], seeds=2, starts=(0,)), told), "guided")
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page and "</pre><b>" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) and "@import" not in page
    assert "prefers-color-scheme: dark" in page and "default-src 'none'" in page
    assert all(re.search(r'alt="[^"]{20,}', image) for image in re.findall(r"<img[^>]*", page))
    assert len(re.findall(r'<svg role="img" aria-label="[^"]{20,}', page)) == 1
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for used in re.findall(r'(?:xlink:href="|url\()#([^")]+)', page):
        assert used in ids


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (420, True)])
def test_a_browser_shows_the_page_without_network_error_or_overflow(width: int, dark: bool, tmp_path: Path) -> None:
    present(write(tmp_path, rows(["guided", "random"], seeds=2)), "guided")
    with browser(width, dark) as driver:
        seconds_to_load(driver, tmp_path / "report.html")
        assert requests(driver) == [] and driver.get_log("browser") == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        text, ground = (
            [int(n) for n in re.findall(r"\d+", driver.execute_script(f"return getComputedStyle({of}).{what}"))[:3]]
            for of, what in (("document.querySelector('svg text')", "fill"), ("document.body", "backgroundColor"))
        )
        assert (sum(ground) < 200) == dark and abs(sum(text) - sum(ground)) > 400
        assert driver.execute_script("return document.querySelector('figure img').naturalWidth") > 500


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "has no column pool"),
        (",".join(COLUMNS) + "\n", "holds no row"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_result_is_named(text: str | None, says: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "results.csv").write_text(text)
    with pytest.raises(PermanentError, match=f"results.csv.*{says}"):
        present(tmp_path, "guided")


def test_a_value_that_is_no_number_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, rows(seeds=1)) / "results.csv"
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("coreset", "coreset", 1).replace(",fast,", ",fast,many", 1)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(PermanentError, match=r"line 4: n_labels 'many\d"):
        read_results(path)
    path.write_text("\n".join([*lines[:3], lines[2]]) + "\n")
    with pytest.raises(PermanentError, match="twice"):
        read_results(path)


def test_pools_of_different_sizes_meet_at_powers_of_a_half(tmp_path: Path) -> None:
    one = rows(starts=(0,))
    other = [
        Row(**{**dict(zip(COLUMNS, astuple(r), strict=True)), "pool": "other", "n_pool": 100, "n_labels": n})
        for r in one
        for n in [{1: 6, 2: 12, 4: 25, 8: 50, 16: 100}[r.n_labels]]
    ]
    curves = Curves(read_results(write(tmp_path, [*one, *other]) / "results.csv"), "fast")
    assert curves.shares == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1] and curves.n_complete == 24
    assert curves.size(1 / 8) == "12.5 %"
