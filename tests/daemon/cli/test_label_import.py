"""Which file of a folder is the truth of a volume: the one called after it, or one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.cli.label_import import in_folder
from daemon.errors import UsageError


def folder(tmp_path: Path, *names: str) -> Path:
    made = tmp_path / "truths"
    made.mkdir()
    for name in names:
        (made / name).write_bytes(b"")
    return made


OTHERS = ("stack_1.tif", "stack_31_gt.nrrd", "stack_30.tif", "notes.txt", ".stack_3.tif")


@pytest.mark.parametrize(
    "name",
    [
        "stack_3.tif",
        "Stack_3.TIFF",
        "stack_3_labels.tif",
        "stack_3-gt.nii.gz",
        "stack_3.labels.ome.tif",
        "stack_3 mask v2.nrrd",
    ],
)
@pytest.mark.parametrize("volume", ["stack_3.tif", "run1/stack_3.ome.tif", "stack_3.czi"])
def test_the_file_called_after_the_volume_is_its_truth(tmp_path, name, volume):
    found = folder(tmp_path, name, *OTHERS)
    assert in_folder(found, volume) == found / name


def test_several_files_of_that_name_are_a_question(tmp_path):
    found = folder(tmp_path, "a_labels.tif", "a_gt.tif", "b.tif")
    with pytest.raises(
        UsageError, match=r"several files are called after 'a.tif': a_gt.tif, a_labels.tif; name the one"
    ):
        in_folder(found, "a.tif")


def test_a_folder_of_other_volumes_is_a_question(tmp_path):
    found = folder(tmp_path, *(f"{c}_labels.tif" for c in "abcdefg"))
    with pytest.raises(
        UsageError, match=r"no file in it is called after 'stack_3.tif' \(a_labels.tif, .*e_labels.tif, ...\)"
    ):
        in_folder(found, "stack_3.tif")


@pytest.mark.parametrize("volume", ["stack.tif", "another.tif"])
def test_slices_are_taken_as_a_folder(tmp_path, volume):
    found = folder(tmp_path, *(f"stack_{i:03d}.tif" for i in range(12)))
    assert in_folder(found, volume) == found


def test_a_file_and_a_zarr_are_what_they_are(tmp_path):
    found = folder(tmp_path, "a.tif")
    assert in_folder(found / "a.tif", "b.tif") == found / "a.tif"
    (found / "zarr.json").write_text("{}")
    tree = tmp_path / "m.zarr"
    found.rename(tree)
    assert in_folder(tree, "a.tif") == tree
