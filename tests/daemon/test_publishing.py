"""Publishing: what people find is whole, of the promoted model, and a table never stands beside another model's segmentation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import publishing
from daemon.publishing import Publisher
from tests.daemon.scene import Scene


class Shelf:
    """One volume, models A, B and C, and what lies in predictions/ seen as (segmentation, table, uncertainty)."""

    def __init__(self, root: Path) -> None:
        self.scene = Scene(root)
        self.store, self.folder = self.scene.store, self.scene.workspace.predictions
        self.volume = self.scene.volume("a.tif")
        self.name = self.store.volumes.export_name(self.volume)
        self.publisher = Publisher(self.store, self.scene.workspace)

    def model(self, version: str, form: str = ".tif", uncertainty: bool = False, table: bool = True) -> None:
        """A model, and its segmentation of the volume."""
        trained = self.scene.artifact(f"finetune-{version}")
        self.store.learning.add_model(version, "finetuned", "retired", trained, None, [], "", self.scene.now)
        key = self.scene.artifact(f"predict-{version}")
        made = self.scene.workspace.artifacts.path(key)
        made.mkdir(parents=True)
        (made / "manifest.json").write_text("{}")
        for name in ["instances", *(["uncertainty"] if uncertainty else [])]:
            if form == ".tif":
                (made / f"{name}.tif").write_text(f"{name} {version}")
            else:
                (made / f"{name}{form}" / "0" / "c").mkdir(parents=True)
                (made / f"{name}{form}" / "zarr.json").write_text(f"{name} {version}")
                (made / f"{name}{form}" / "0" / "c" / "0").write_text(version)
        if table:
            (made / "objects.csv").write_text(f"table {version}")
        self.store.predictions.add(self.volume, version, key, 3, self.scene.now)

    def promote(self, version: str) -> None:
        self.store.models.promote(version, "hand", "ana", "to see it", self.scene.now)

    def seen(self) -> tuple[str, ...]:
        """Words of everything that is visible, in a fixed order."""
        found = []
        for place in (self.folder, self.folder / publishing.UNCERTAINTY):
            for path in sorted(place.glob("*")) if place.is_dir() else []:
                if path.name.startswith(".") or path.name == publishing.UNCERTAINTY:
                    continue
                found.append((path / "zarr.json" if path.is_dir() else path).read_text())
        return tuple(found)

    def hidden(self) -> list[Path]:
        return list(self.folder.rglob(".*"))


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.scene.close()


def test_it_follows_the_promoted_model_forth_and_back(shelf: Shelf) -> None:
    shelf.model("A")
    shelf.model("B", uncertainty=True)
    shelf.model("C", form=".ome.zarr", uncertainty=True)
    shelf.model("D", table=False)  # as the stage wrote it before there were tables
    assert shelf.publisher.step() == 0 and shelf.seen() == ()
    expected = {
        "A": ("table A", "instances A"),
        "B": ("table B", "instances B", "uncertainty B"),
        "C": ("table C", "instances C", "uncertainty C"),
        "D": ("instances D",),
    }
    for version in "ABCACBDBA":
        shelf.promote(version)
        assert shelf.publisher.step() == 1
        assert shelf.seen() == expected[version]
        assert shelf.publisher.step() == 0
        assert not shelf.hidden()
    assert (shelf.folder / f"{shelf.name}.tif").stat().st_mode & 0o777 == 0o640


def test_the_former_stays_until_a_model_that_has_not_seen_the_volume_is_done(shelf: Shelf) -> None:
    shelf.model("A")
    shelf.promote("A")
    shelf.publisher.step()
    trained = shelf.scene.artifact("finetune-B")
    shelf.store.learning.add_model("B", "finetuned", "retired", trained, None, [], "", shelf.scene.now)
    shelf.promote("B")
    assert shelf.publisher.step() == 0
    assert shelf.seen() == ("table A", "instances A")


def test_segmented_again_in_another_way_the_newer_one_is_seen(shelf: Shelf) -> None:
    shelf.model("A")
    shelf.promote("A")
    shelf.publisher.step()
    key = shelf.scene.artifact("predict-A2")
    made = shelf.scene.workspace.artifacts.path(key)
    made.mkdir(parents=True)
    (made / "manifest.json").write_text("{}")
    (made / "instances.tif").write_text("instances A2")
    shelf.store.predictions.add(shelf.volume, "A", "predict-A", 3, shelf.scene.now)
    assert shelf.publisher.step() == 0
    shelf.store.predictions.add(shelf.volume, "A", key, 4, shelf.scene.now)
    assert shelf.publisher.step() == 1
    assert shelf.seen() == ("instances A2",)


@pytest.mark.parametrize(("old", "new"), [(".tif", ".tif"), (".tif", ".ome.zarr"), (".ome.zarr", ".ome.zarr")])
def test_killed_at_any_moment_no_table_stands_beside_another_model(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    shelf.model("A", form=old, uncertainty=True)
    shelf.model("B", form=new, uncertainty=True)
    shelf.promote("A")
    shelf.publisher.step()

    class KilledError(BaseException):
        pass

    left = [0]

    def dying(real):  # type: ignore[no-untyped-def]
        def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return real(*args, **kwargs)

        return call

    # a killed process does not clean up either
    monkeypatch.setattr(publishing, "remove", dying(publishing.remove))
    for name in ("rename", "replace", "fsync", "unlink"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    monkeypatch.setattr(publishing, "fsync_dir", dying(publishing.fsync_dir))
    monkeypatch.setattr(Path, "unlink", dying(Path.unlink))
    whole = 0
    for moment, version in enumerate("BA" * 36):
        shelf.promote(version)
        left[0] = moment
        try:
            shelf.publisher.step()
            left[0], whole = 1 << 30, whole + 1
        except KilledError:
            left[0] = 1 << 30
            words = shelf.seen()
            tables = [w for w in words if w.startswith("table")]
            if tables:
                assert {w.split()[1] for w in words if not w.startswith("table")} == {tables[0].split()[1]}
            shelf.publisher = Publisher(shelf.store, shelf.scene.workspace)
            shelf.publisher.sweep()
            assert not shelf.hidden()
            shelf.publisher.step()
        assert shelf.seen() == (f"table {version}", f"instances {version}", f"uncertainty {version}")
    assert 0 < whole < 60  # it was killed at every moment there is, and at last no more


def test_a_large_copy_takes_several_turns_and_is_given_up_for_a_better_model(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "STEP_BYTES", 3)
    for version in "ABC":
        shelf.model(version)
    shelf.promote("A")
    turns = 1
    while not shelf.publisher.step(budget_s=-1.0):
        turns += 1
        assert shelf.seen() == ()
    assert turns > 5
    shelf.promote("B")
    assert shelf.publisher.step(budget_s=-1.0) == 0 and len(shelf.hidden()) == 1
    shelf.promote("C")
    while not shelf.publisher.step(budget_s=-1.0):
        assert shelf.seen() == ("table A", "instances A")
        assert len(shelf.hidden()) <= 2
    assert shelf.seen() == ("table C", "instances C") and not shelf.hidden()


def test_a_segmentation_whose_files_were_deleted_holds_nobody_up(shelf: Shelf) -> None:
    shelf.model("A")
    shelf.model("B")
    shelf.promote("A")
    shelf.publisher.step()
    for path in shelf.scene.workspace.artifacts.path("predict-B").iterdir():
        path.unlink()
    shelf.promote("B")
    assert shelf.publisher.step() == 0
    assert shelf.seen() == ("table A", "instances A")
    assert shelf.store.predictions.to_show(9) == []
