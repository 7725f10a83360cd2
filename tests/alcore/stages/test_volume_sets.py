"""Stage volume on sets of real files whose describing file has gone, was replaced, or denies that it describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tifffile

from alcore.artifact import ArtifactStore
from alcore.errors import PartOfSetError, UnreadableVolumeError
from alcore.run import QuietContext, execute
from alcore.stage import Input
from tests.alcore.stages.test_volume import PARAMS, noise, write_set

NAMES = ("z0.ome.tif", "z1.ome.tif", "z2.ome.tif")


def read(folder: Path, name: str, members: tuple[str, ...] | None = NAMES) -> Any:
    inputs = {"source": [Input(folder / name, "file:1", members=members)]}
    context = QuietContext(folder / "scratch", folder / "cache")
    return execute("volume", inputs, PARAMS, ArtifactStore(folder / "artifacts"), context)


def plain(path: Path) -> None:
    tifffile.imwrite(path, noise((4, 32, 32)), photometric="minisblack", metadata={"axes": "ZYX"})


def test_what_is_a_file_by_itself_again_is_no_set(tmp_path: Path) -> None:
    write_set(tmp_path, noise((3, 40, 50)), NAMES)
    plain(tmp_path / NAMES[0])
    with pytest.raises(PartOfSetError) as told:
        read(tmp_path, NAMES[0])
    assert told.value.detail == {"owner": str(tmp_path / NAMES[0]), "members": []}


def test_files_that_wait_for_the_one_that_describes_them_stay_together_and_others_are_let_go(tmp_path: Path) -> None:
    write_set(tmp_path, noise((3, 40, 50)), NAMES)
    (tmp_path / NAMES[0]).unlink()
    with pytest.raises(UnreadableVolumeError, match=r"z0\.ome\.tif: is not there, and 2 files beside it say that"):
        read(tmp_path, NAMES[0])
    plain(tmp_path / NAMES[2])
    with pytest.raises(PartOfSetError) as told:
        read(tmp_path, NAMES[0])
    assert told.value.detail["members"] == list(NAMES[:2])
    plain(tmp_path / NAMES[1])
    with pytest.raises(PartOfSetError) as told:
        read(tmp_path, NAMES[0])
    assert told.value.detail["members"] == []


def test_a_damaged_owner_is_what_is_wrong_with_the_set(tmp_path: Path) -> None:
    write_set(tmp_path, noise((3, 40, 50)), NAMES)
    whole = (tmp_path / NAMES[0]).read_bytes()
    (tmp_path / NAMES[0]).write_bytes(b"no TIFF at all")
    with pytest.raises(UnreadableVolumeError, match=r"z0\.ome\.tif: no image of a format that can be read"):
        read(tmp_path, NAMES[0])
    (tmp_path / NAMES[0]).write_bytes(whole)
    assert read(tmp_path, NAMES[0]).result["volumes"][0]["info"]["shape"] == [1, 3, 40, 50]
