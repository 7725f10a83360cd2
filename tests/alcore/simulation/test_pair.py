"""Images and labels find each other in folders, and what is ambiguous or missing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from alcore.errors import PermanentError
from alcore.simulation.pair import found, given


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["image.tif", "labels.tif", "README.txt"], [None]),
        (["a/image.tif", "a/labels.tif", "b/image.tif", "b/labels.tif"], ["a", "b"]),
        (["one_image.tif", "one_labels.tif", "two_image.tif", "two_mask.nrrd"], ["one_image", "two_image"]),
        (["images/c.tif", "labels/c.tif", "images/d.tif"], ["c"]),
        (["images/b.tif", "labels/b_labels.tif", "images/c.tif", "labels/c_mask.tif"], ["b", "c"]),
        (["images/b_image.tif", "labels/b.tif"], ["b_image"]),
        (["a_image.ome.tif", "a_labels.tif"], ["a_image"]),
        (["image.zarr/.zgroup", "image.zarr/0/0", "labels.zarr/.zgroup", "labels.zarr/0/labels"], [None]),
    ],
)
def test_pairs_in_a_folder(tmp_path: Path, files: list[str], names: list[str | None]) -> None:
    touch(tmp_path, *files)
    pairs = found(tmp_path).pairs
    assert [pair.name for pair in pairs] == [name or tmp_path.name for name in names]
    assert all(pair.image.is_absolute() and pair.labels.is_absolute() for pair in pairs)
    assert all(any(word in str(pair.labels) for word in ("label", "mask")) for pair in pairs)


def test_a_folder_without_pairs_or_with_ambiguous_ones_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no such folder"):
        found(tmp_path / "none")
    touch(tmp_path, "a.tif", "b.tif")
    with pytest.raises(PermanentError, match="holds no pair of an image and its labels"):
        found(tmp_path)
    touch(tmp_path, "image.tif", "labels.tif", "mask.tif")
    with pytest.raises(PermanentError, match=r"it is not clear which goes with which: image.tif, labels.tif, mask.tif"):
        found(tmp_path)


def test_what_has_no_partner_is_named_and_other_files_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "images/c.tif", "labels/c.tif", "images/d.tif", "labels/e_labels.nrrd", "README.txt", "old.zarr/0")
    assert found(tmp_path).left_out == ("images/d.tif", "labels/e_labels.nrrd", "old.zarr")


def test_names_that_several_files_share_loosely_are_left_out_and_not_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "image.tif", "labels.tif", "x/images/b.tif", "x/labels/b_labels.tif", "x/labels/b_mask.tif")
    pairs = found(tmp_path)
    assert [pair.image.name for pair in pairs.pairs] == ["image.tif"]
    assert pairs.left_out == ("x/images/b.tif", "x/labels/b_labels.tif", "x/labels/b_mask.tif")


def test_results_of_simulations_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "image.tif", "labels.tif", "alscope-simulation/cache/labels/image.tif")
    touch(tmp_path, "new/image.tif", "new/label.tif")
    touch(
        tmp_path,
        "old/.lock",
        "old/cache/1/image.tif",
        "old/cache/1/labels.tif",
        "old/cache/1/mask.tif",
        "old/own_image.tif",
    )
    touch(tmp_path, "old/own_labels.tif", "cells/images/a.tif", "cells/labels/a.tif")
    touch(tmp_path, "older/cells/0123456789abcdef/x.json", "older/cache/image.tif", "older/cache/mask.tif")
    touch(tmp_path, "alscope-simulation/.lock", "alscope-simulation/figures/labels.png")
    pairs = found(tmp_path, tmp_path / "new")
    assert sorted(pair.name for pair in pairs.pairs) == sorted([tmp_path.name, "own_image", "a"])
    assert pairs.left_out == ()
    assert [pair.name for pair in found(tmp_path / "old", tmp_path / "old").pairs] == ["own_image"]  # --out . once more


def test_pairs_that_are_named_are_whole_and_have_names_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "x/vol.tif", "y/vol.tif", "l.tif")
    one, two, labels = tmp_path / "x/vol.tif", tmp_path / "y/vol.tif", tmp_path / "l.tif"
    assert [p.name for p in given([one, two], [labels, labels])] == ["vol", "vol-2"]
    with pytest.raises(PermanentError, match="2 --image and 1 --labels"):
        given([one, two], [labels])
    with pytest.raises(PermanentError, match=r"gone.tif: no such file"):
        given([tmp_path / "gone.tif"], [labels])
