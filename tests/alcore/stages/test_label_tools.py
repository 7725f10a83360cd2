"""Stage label: files as napari, Fiji, QuPath and ITK-SNAP save them, the margin, and labels of which a part was looked at."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile

from alcore.artifact import ArtifactStore
from alcore.errors import BadLabelError
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import Box
from alcore.volumes import open_volume
from alcore.volumes.labels import read_labels
from alcore.volumes.writers import write_image_tiff
from tests.alcore.stages.label_desk import BOX, Desk, drawing

Labels = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With a margin: image.tif shows (7, 60, 100) voxels of a volume of (9, 70, 110)."""
    return Desk(tmp_path_factory.mktemp("desk"), margin=(1, 10, 25))


def in_image(labels: Labels) -> Labels:
    """The drawing in the frame of image.tif, with an object in the margin that counts nowhere."""
    whole = np.zeros((7, 60, 105), labels.dtype)
    whole[1:6, 10:50, 20:80] = labels
    whole[0, 0:5, 0:5] = 99
    return whole


def napari_like(path: Path, labels: Labels) -> Path:
    path = path.with_suffix(".tif")
    tifffile.imwrite(path, labels, compression="zlib")
    return path


def imagej_stack(path: Path, labels: Labels) -> Path:
    path = path.with_suffix(".tif")
    tifffile.imwrite(
        path, labels.astype(np.uint16), imagej=True, metadata={"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    )
    return path


def imagej_hyperstack(path: Path, labels: Labels) -> Path:
    path = path.with_suffix(".tif")
    tifffile.imwrite(path, labels.astype(np.float32)[None, :, None], imagej=True, metadata={"axes": "TZCYX"})
    return path


def imagej_frames(path: Path, labels: Labels) -> Path:
    """Fiji, when slices were taken for frames."""
    path = path.with_suffix(".tif")
    tifffile.imwrite(path, labels.astype(np.uint16)[:, None, None], imagej=True, metadata={"axes": "TZCYX"})
    return path


def qupath_like(path: Path, labels: Labels) -> Path:
    path = path.with_suffix(".ome.tif")
    tifffile.imwrite(
        path,
        labels.astype(np.int32)[None, :, None],
        ome=True,
        metadata={"axes": "TZCYX"},
        tile=(32, 32),
        compression="zlib",
    )
    return path


def by_nrrd(encoding: str, dtype: str) -> Any:
    def save(path: Path, labels: Labels) -> Path:
        path = path.with_suffix(".nrrd")
        header = {"encoding": encoding, "space": "left-posterior-superior", "space directions": -np.eye(3)}
        nrrd.write(str(path), labels.astype(dtype).transpose(2, 1, 0), header)
        return path

    return save


def by_nibabel(ending: str, kind: Any, dtype: str) -> Any:
    def save(path: Path, labels: Labels) -> Path:
        path = path.with_suffix(ending)
        nibabel.save(kind(labels.astype(dtype).transpose(2, 1, 0)[..., None], np.diag([-1.0, 2, -3, 1])), path)
        return path

    return save


def by_itk(ending: str) -> Any:
    def save(path: Path, labels: Labels) -> Path:
        sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed: its files are not tried")
        image = sitk.GetImageFromArray(labels.astype(np.uint16))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        image.SetSpacing((0.1, 0.1, 0.5))
        path = path.with_suffix(ending)
        sitk.WriteImage(image, str(path), True)
        return path

    return save


TOOLS = {
    "napari": napari_like,
    "Fiji stack": imagej_stack,
    "Fiji hyperstack of 32 bits": imagej_hyperstack,
    "Fiji with slices as frames": imagej_frames,
    "QuPath": qupath_like,
    "NRRD gzip": by_nrrd("gzip", "uint16"),
    "NRRD raw big": by_nrrd("raw", ">u4"),
    "NRRD bzip2": by_nrrd("bzip2", "int64"),
    "NIfTI": by_nibabel(".nii", nibabel.Nifti1Image, "int16"),
    "NIfTI gz float": by_nibabel(".nii.gz", nibabel.Nifti1Image, "float32"),
    "NIfTI 2": by_nibabel(".nii.gz", nibabel.Nifti2Image, "uint32"),
    "ITK nrrd": by_itk(".nrrd"),
    "ITK nii": by_itk(".nii"),
    "ITK nii.gz": by_itk(".nii.gz"),
    "ITK tif": by_itk(".tif"),
}


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


def test_a_label_of_the_image_or_of_the_patch_and_of_nothing_else(desk: Desk, tmp_path: Path) -> None:
    for wrong in ((5, 40, 61), (7, 60, 104), (6, 60, 105)):
        tifffile.imwrite(tmp_path / "s-1.tif", np.ones(wrong, np.uint8), photometric="minisblack")
        with pytest.raises(
            BadLabelError, match=r"the patch is \(5, 40, 60\) \(with its margin, as in image.tif, \(7, 60, 105\)\)"
        ):
            desk.submit(file=tmp_path / "s-1.tif")
    tifffile.imwrite(tmp_path / "s-1.tif", in_image(drawing()).swapaxes(0, 2), photometric="minisblack")
    with pytest.raises(BadLabelError, match="its axes seem to be stored as XYZ"):
        desk.submit(file=tmp_path / "s-1.tif")
    only_margin = np.where(in_image(drawing()) == 99, 99, 0).astype(np.uint8)
    tifffile.imwrite(tmp_path / "s-1.tif", only_margin, photometric="minisblack")
    with pytest.raises(BadLabelError, match="empty"):
        desk.submit(file=tmp_path / "s-1.tif")


def sparse(value: int, dtype: str = "uint16") -> Labels:
    labels = drawing().astype(dtype)
    labels[:, :, 45:] = value
    return labels


def test_the_reserved_value_is_not_looked_at(desk: Desk, tmp_path: Path) -> None:
    folder, result = desk.submit(file=napari_like(tmp_path / "s-1", sparse(65535)), not_looked_at=65535)
    seen, _ = read_labels(folder / "seen.tif")
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(seen, sparse(65535) != 65535)
    labels, _ = read_labels(folder / "label.tif")
    np.testing.assert_array_equal(labels, np.where(seen, np.select([drawing() == 7, drawing() == 300], [1, 2], 0), 0))
    assert result["seen_fraction"] == 0.75 == json.loads((folder / "label.json").read_text())["seen_fraction"]
    assert "25% of it has the value 65535, not looked at" in result["warnings"]


@pytest.mark.parametrize(
    ("labels", "value", "words"),
    [
        (np.where(drawing() > 0, 65535, 0).astype(np.uint16), 65535, "holds nothing but 0 and 65535"),
        (np.where(drawing() > 0, 255, 0).astype(np.uint8), 255, "holds nothing but 0 and 255"),
        (np.where(drawing() == 7, 254, np.where(drawing() > 0, 255, 0)).astype(np.uint8), 255, "numbers next to 255"),
        (
            np.where(drawing() == 7, 1000, np.where(drawing() > 0, 1001, 0)).astype(np.uint16),
            1000,
            "numbers next to 1000",
        ),
        (np.full((5, 40, 60), 65535, np.uint16), 65535, "nothing was looked at"),
    ],
)
def test_an_object_is_never_taken_for_not_looked_at(
    desk: Desk, labels: Labels, value: int, words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadLabelError, match=words):
        desk.submit(file=napari_like(tmp_path / "s-1", labels), not_looked_at=value)


def test_no_value_is_reserved_when_that_is_switched_off(desk: Desk, tmp_path: Path) -> None:
    folder, result = desk.submit(file=napari_like(tmp_path / "s-1", sparse(65535)), not_looked_at=0)
    assert result["n_objects"] == 3
    assert not (folder / "seen.tif").exists()


def test_slices_and_boxes_that_were_looked_at(desk: Desk, tmp_path: Path) -> None:
    file = napari_like(tmp_path / "s-1", drawing())
    folder, result = desk.submit(file=file, seen={"z": [1, 3]})
    seen, _ = read_labels(folder / "seen.tif")
    assert seen[:, 0, 0].tolist() == [0, 1, 1, 1, 0]
    assert result["seen_fraction"] == 0.6
    folder, result = desk.submit(file=file, seen={"box": [[0, 4], [0, 15], [0, 59]]})
    assert (result["n_objects"], result["seen_fraction"]) == (1, 0.4)
    assert "1 objects lie where nobody looked: they are left out" in result["warnings"]
    folder, result = desk.submit(file=file, seen={"z": [0, 4]})
    assert result["seen_fraction"] == 1.0
    assert not (folder / "seen.tif").exists()
    with pytest.raises(BadLabelError, match="empty"):
        desk.submit(file=file, seen={"box": [[0, 0], [0, 1], [0, 1]]})
    _, result = desk.submit(file=file, seen={"box": [[0, 0], [0, 1], [0, 1]]}, confirm_empty=True)
    assert result["n_objects"] == 0


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"z": [3, 5]}, "slices 3 to 5 were looked at, but the patch has slices 0 to 4"),
        ({"z": [3, 1]}, "slices 3 to 1"),
        ({"z": [-1, 1]}, "slices -1 to 1"),
        ({"z": ["a", 1]}, "not said by slices"),
        ({"z": 3}, "not said by slices"),
        ([3, 4], "not said by slices"),
        ("all", "not said by slices"),
        ({}, "not said by slices"),
        ({"box": [[0, 1], [0, 1]]}, "not said by slices"),
        ({"box": [[0, 1], [0, 1], [0, 60]]}, "columns 0 to 60"),
        ({"z": [0, 1], "box": []}, "not said by slices"),
    ],
)
def test_nonsense_about_what_was_looked_at(desk: Desk, seen: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadLabelError, match=words):
        desk.submit(file=napari_like(tmp_path / "s-1", drawing()), seen=seen)


def test_an_earlier_label_stands_for_the_package(desk: Desk, tmp_path: Path) -> None:
    folder, _ = desk.submit(file=napari_like(tmp_path / "s-1", drawing()))
    again = Desk.__new__(Desk)
    again.__dict__ |= desk.__dict__ | {"package": [type(desk.package[0])(folder, "label-before")]}
    made, result = again.submit(file=napari_like(tmp_path / "s-1", drawing() * 2))
    assert result["n_objects"] == 2
    np.testing.assert_array_equal(read_labels(made / "pseudo.tif")[0], desk.pseudo)


def test_a_real_label_drawn_with_its_margin_comes_back_voxel_for_voxel(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Package of a real volume, its truth saved in the frame of image.tif by another tool, and the label that is made of it."""
    image = tifffile.imread(real_data("mouse_embryo_8cell") / "image.tif")
    truth = tifffile.imread(real_data("mouse_embryo_8cell") / "labels.tif")
    store, ctx = ArtifactStore(tmp_path / "artifacts"), QuietContext(tmp_path / "scratch", tmp_path / "cache")
    write_image_tiff(tmp_path / "v.tif", image[None], (1.75, 0.8, 0.8))
    source = [Input(tmp_path / "v.tif", "file:1")]
    params = {"read": {}, "voxel_um": None, "patch": {"shape_px": [25, 60, 60]}, "fingerprint": None, "limit_gb": 1}
    made = execute("volume", {"source": source}, params, store, ctx)
    volume = [Input(store.path(made.key), made.key)]
    for patch in made.result["volumes"][0]["patches"][::3]:
        box = Box.from_json(patch)
        about = {"read": {}, "box": patch, "suggestion": {"id": "s-1"}, "margin": [2, 16, 16]}
        package = execute("package", {"source": source, "volume": volume, "pseudo": []}, about, store, ctx)
        folder = store.path(package.key)
        margin = json.loads((folder / "suggestion.json").read_text())["margin"]
        start = [a - b for a, b in zip(box.start, margin["before"], strict=True)]
        stop = [a + b for a, b in zip(box.stop, margin["after"], strict=True)]
        shown = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        np.testing.assert_array_equal(tifffile.imread(folder / "image.tif"), image[shown])
        file = by_nibabel(".nii.gz", nibabel.Nifti1Image, "int32")(tmp_path / "s-1", truth[shown])
        inputs = {"file": [Input(file, f"file:{box}")], "package": [Input(folder, package.key)], "volume": volume}
        params = {"suggestion": "s-1", "box": patch, "confirm_empty": True}
        label = execute("label", inputs, params, store, ctx)
        found, _ = read_labels(store.path(label.key) / "label.tif")
        ids = np.unique(truth[box.slices])
        np.testing.assert_array_equal(found, np.searchsorted(np.union1d([0], ids), truth[box.slices]))
        with open_volume(store.path(label.key) / "image.tif") as reader:
            np.testing.assert_array_equal(reader.read(Box((0, 0, 0), box.shape))[0], image[box.slices])
        assert not any("mirrored" in w or "shifted" in w for w in label.result["warnings"])


def test_another_voxel_size_is_asked_about(desk: Desk, tmp_path: Path) -> None:
    def warned(spacing: float, y: float, x: float, **more: Any) -> bool:
        path = tmp_path / "s-1.tif"
        tifffile.imwrite(
            path,
            drawing().astype(np.uint16),
            imagej=True,
            resolution=(1 / x, 1 / y),
            metadata={"axes": "ZYX", "spacing": spacing, "unit": "um"} | more,
        )
        return any("is it of another image?" in w for w in desk.submit(file=path)[1]["warnings"])

    assert not warned(0.5, 0.1, 0.1)
    assert not warned(0.501, 0.101, 0.1)
    assert not warned(0.5, 7, 7, unit="pixel"), "no unit of length: nobody set it"
    assert warned(0.5, 0.2, 0.2)
    assert warned(1.5, 0.1, 0.1)
