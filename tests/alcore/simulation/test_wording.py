"""What readers say of a config.toml is said in options of this command; real files, so that a changed message is noticed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.errors import PermanentError
from alcore.simulation.pair import Pair
from alcore.simulation.pool import LabelledPool, Workshop
from alcore.simulation.settings import Settings
from alcore.simulation.wording import translated

NO_OPTION = ("config.toml", "watched folder", "read option", "arrives again")


def pages(path: Path, axes: str = "", shape: tuple[int, ...] = (4, 64, 64)) -> Path:
    """A TIFF of plain pages, or of ImageJ with its dimensions named."""
    image = np.random.default_rng(0).integers(0, 200, shape, np.uint8)
    if axes:
        tifffile.imwrite(path, image, imagej=True, metadata={"axes": axes})
        return path
    with tifffile.TiffWriter(path) as writer:
        for page in image.reshape(-1, *shape[-2:]):
            writer.write(page, photometric="minisblack", metadata=None, contiguous=False)
    return path


def refusal(image: Path, axes: str | None, tmp_path: Path) -> str:
    pair = Pair("a", image, pages(tmp_path / "labels.tif"))
    with pytest.raises(PermanentError) as caught:
        LabelledPool(
            pair, Settings(patch_px=(4, 8, 8), read={"axes": axes} if axes else {}), Workshop(tmp_path / "shop")
        )
    said = str(caught.value)
    assert not [words for words in NO_OPTION if words in said], said
    return said


@pytest.mark.parametrize(
    ("named", "shape", "axes", "words"),
    [
        ("", (4, 64, 64), None, "4 pages without names.* add --axes ZYX"),
        ("", (4, 64, 64), "TYX", r"holds 4 time points \(if they are slices, add --axes ZYX\); simulate plays on one"),
        ("", (4, 64, 64), "CYX", "holds 4 channels"),
        ("", (4, 64, 64), "CZYX", "--axes CZYX names 4 dimensions, the file has 3.*; correct --axes"),
        ("", (4, 64, 64), "QYX", "--axes QYX is no order of Z, Y, X"),
        ("ZCYX", (4, 2, 64, 64), None, "holds 2 channels; simulate plays on one volume with one channel: save the"),
        ("TZCYX", (3, 4, 2, 64, 64), None, "holds 3 time points of 2 channels; simulate"),
    ],
)
def test_dimensions_of_a_tiff(named: str, shape: Any, axes: str | None, words: str, tmp_path: Path) -> None:
    said = refusal(pages(tmp_path / "image.tif", named, shape), axes, tmp_path)
    assert said.startswith((str(tmp_path / "image.tif"), "--axes")) and re.search(words, said), said


QUESTIONS = ('slices or time points? Set axes = "ZYX", "TYX" or "CYX"', 'what are they? Set axes, such as "CZYX",')


@pytest.mark.parametrize(
    "message",
    [
        *(f"a.zarr: {question} for its watched folder in config.toml" for question in QUESTIONS),
        'a: are they channels or slices? Set axes = "CYX" or "ZYX" for its watched folder in config.toml',
        "a.h5: holds several images: x, y; set dataset for its watched folder",
        "a.h5: Copy or save it again, or set sparse = true for its watched folder if its writer leaves out empty chunks",
        'a.lif: 2 channels of 3 colours each are not understood; set rgb = "luminance" for its watched folder',
        "a.tif: holds no finite value; leave it out with read option channels",
        "a.tif: holds 3 scenes, each a volume of its own: say which (read option scene)",
    ],
)
def test_no_message_names_what_this_command_does_not_have(message: str) -> None:
    for of_labels in (False, True):
        said = translated(message, of_labels)
        assert not [words for words in NO_OPTION if words in said], said
        assert said.split(":")[0] == message.split(":")[0] and not (of_labels and "--axes" in said)
