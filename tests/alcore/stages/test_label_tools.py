"""Stage label: files as napari, Fiji, QuPath and ITK-SNAP save them, and files that are broken or lie."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from alcore.errors import BadLabelError
from alcore.types import Box
from alcore.volumes import open_volume
from alcore.volumes.labels import read_labels
from tests.alcore.stages.label_desk import BOX, Desk, drawing, in_image
from tests.alcore.stages.label_writers import TOOLS

Labels = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With a margin: image.tif shows (7, 60, 100) voxels of a volume of (9, 70, 110)."""
    return Desk(tmp_path_factory.mktemp("desk"), margin=(1, 10, 25))


@pytest.mark.parametrize("framed", [True, False], ids=["as image.tif", "as the patch"])
@pytest.mark.parametrize("tool", TOOLS)
def test_any_tool(desk: Desk, tool: str, framed: bool, tmp_path: Path) -> None:
    labels = drawing().astype(np.uint16)
    file = TOOLS[tool](tmp_path / "s-1", in_image(labels) if framed else labels)
    folder, result = desk.submit(file=file)
    found, _ = read_labels(folder / "label.tif")
    np.testing.assert_array_equal(found, np.select([labels == 7, labels == 300], [1, 2], 0))
    assert (result["n_objects"], result["n_cut"], result["seen_fraction"]) == (2, 2, 1.0)
    np.testing.assert_array_equal(read_labels(folder / "pseudo.tif")[0], desk.pseudo)
    with open_volume(folder / "image.tif") as image:
        np.testing.assert_array_equal(image.read(Box((0, 0, 0), BOX.shape)), desk.image[(slice(None), *BOX.slices)])
    assert not (folder / "seen.tif").exists()


def head_of(declared: str, body: bytes, encoding: str = "gzip", more: str = "") -> bytes:
    sizes = declared.split()
    text = f"NRRD0004\ntype: uint16\ndimension: {len(sizes)}\nsizes: {declared}\nencoding: {encoding}\nendian: little\n{more}\n"
    return text.encode() + body


ZEROS = bytes(5 * 40 * 60 * 2)
BOMB = gzip.compress(bytes(64 << 20), 1)


@pytest.mark.parametrize(
    ("ending", "content", "words"),
    [
        (".nrrd", head_of("60 40 5", gzip.compress(ZEROS)[:-30]), "cannot be unpacked|cut off"),
        (".nrrd", head_of("60 40 5", ZEROS[:-2], "raw"), "23998 of 24000 bytes of voxels are there: cut off"),
        (".nrrd", head_of("60 40 5", ZEROS + b"\0", "raw"), "holds more voxels than"),
        (".nrrd", head_of("60 40 5", BOMB), "holds more voxels than"),
        (".nrrd", head_of("60 40 5", bz2.compress(bytes(9 << 20)), "bzip2"), "holds more voxels than"),
        (".nrrd", head_of("60000 40000 500", BOMB), "declares .* GB; the limit is 1 GB"),
        (".nrrd", head_of("0 40 5", b"", "raw"), "which holds nothing"),
        (".nrrd", head_of("60 40 -5", ZEROS, "raw"), "its header says sizes"),
        (".nrrd", head_of("60 40 5 2", 2 * ZEROS, "raw"), "no single"),
        (".nrrd", head_of("3 60 40 5", b"", "raw", "kinds: RGB-color domain domain domain\n"), "colour or vectors"),
        (".nrrd", head_of("60 40 5", b"", "raw", "data file: /etc/passwd\n"), "in another file"),
        (".nrrd", head_of("60 40 5", b"", "raw", "datafile: a.raw\n"), "in another file"),
        (".nrrd", head_of("60 40 5", b"1 2 3", "ascii"), "encoding 'ascii' cannot be read"),
        (".nrrd", head_of("60 40 5", ZEROS, "raw", "byte skip: 100\n"), "skips bytes"),
        (".nrrd", b"NRRD0004\ntype: uint16\n", "has no end"),
        (".nrrd", b"NRRD0004\n" + b"#" * (2 << 20), "has no end"),
        (".nrrd", head_of("60 40 5", ZEROS, "raw").replace(b"uint16", b"block"), "values of type 'block'"),
        (".nii.gz", BOMB, "no image of a format|begins with"),
        (".nii.gz", b"\x1f\x8b" + bytes(30), "no image of a format|damaged|begins with"),
    ],
)
def test_broken_and_hostile_files_of_other_tools(
    desk: Desk, ending: str, content: bytes, words: str, tmp_path: Path
) -> None:
    file = tmp_path / f"s-1{ending}"
    file.write_bytes(content)
    with pytest.raises(BadLabelError, match=rf"^s-1\{ending}: .*({words})") as caught:
        desk.submit(file=file)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def changed_nifti(tmp_path: Path, edit: Any) -> bytes:
    """A good NIfTI whose header was changed."""
    path = tmp_path / "made.nii"
    nibabel.save(nibabel.Nifti1Image(drawing().astype(np.int16).transpose(2, 1, 0), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    edit(header)
    content[:348] = header.binaryblock
    return bytes(content)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda h: h.__setitem__("dim", [3, 6000, 4000, 500, 1, 1, 1, 1]), "GB; the limit is 1 GB"),
        (lambda h: h.__setitem__("dim", [3, -60, 40, 5, 1, 1, 1, 1]), "holds nothing|cannot be used"),
        (lambda h: h.__setitem__("dim", [3, 60, 40, 6, 1, 1, 1, 1]), "cut off"),
        (lambda h: h.__setitem__("dim", [3, 60, 40, 4, 1, 1, 1, 1]), "holds more voxels"),
        (lambda h: h.__setitem__("dim", [5, 60, 40, 5, 1, 3, 1, 1]), "no single|GB|cut off"),
        (lambda h: h.__setitem__("dim", [9, 60, 40, 5, 1, 1, 1, 1]), "cannot be used|holds nothing|begin at|no single"),
        (lambda h: h.__setitem__("datatype", 128), "colour or complex"),
        (lambda h: h.__setitem__("datatype", 9999), "cannot be used"),
        (lambda h: h.__setitem__("vox_offset", 1e12), "begin at byte"),
        (lambda h: h.__setitem__("vox_offset", 0), "begin at byte"),
        (lambda h: h.__setitem__("scl_slope", 0.5), "fractions"),
    ],
)
def test_nifti_headers_that_cannot_be_true(desk: Desk, edit: Any, words: str, tmp_path: Path) -> None:
    file = tmp_path / "s-1.nii"
    file.write_bytes(changed_nifti(tmp_path, edit))
    with pytest.raises(BadLabelError, match=rf"^s-1\.nii: .*({words})"):
        desk.submit(file=file)
