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
    ],
)
def test_pairs_in_a_folder(tmp_path: Path, files: list[str], names: list[str | None]) -> None:
    touch(tmp_path, *files)
    pairs = found(tmp_path)
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


def test_pairs_that_are_named_are_whole_and_have_names_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "x/vol.tif", "y/vol.tif", "l.tif")
    one, two, labels = tmp_path / "x/vol.tif", tmp_path / "y/vol.tif", tmp_path / "l.tif"
    assert [p.name for p in given([one, two], [labels, labels])] == ["vol", "vol-2"]
    with pytest.raises(PermanentError, match="2 --image and 1 --labels"):
        given([one, two], [labels])
    with pytest.raises(PermanentError, match=r"gone.tif: no such file"):
        given([tmp_path / "gone.tif"], [labels])
