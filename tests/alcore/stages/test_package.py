"""Stage package: what lies in the queue folder is right, self-explaining and opens anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import Box
from alcore.volumes.labels import read_labels, read_labels_metadata
from alcore.volumes.store import create_labels
from alcore.volumes.writers import write_image_tiff

BOX = Box((2, 10, 20), (5, 40, 60))
SUGGESTION = {"id": "s-0001", "distance": 0.25, "reason": "farthest from all labels", "volume_name": "a.tif"}


def package(
    tmp_path: Path,
    image: np.ndarray[Any, Any],
    pseudo: np.ndarray[Any, Any] | None,
    neighbours: list[Input] | None = None,
    named: list[dict[str, Any]] | None = None,
    margin: tuple[int, int, int] = (0, 0, 0),
) -> tuple[Path, dict[str, Any]]:
    """Run stages volume and package on an image (C, Z, Y, X); the package's folder and result."""
    store, ctx = ArtifactStore(tmp_path / "artifacts"), QuietContext(tmp_path / "scratch", tmp_path / "cache")
    write_image_tiff(tmp_path / "v.tif", image, (0.5, 0.1, 0.1))
    read = {"channels": list(range(len(image))), "together": True}
    source = [Input(tmp_path / "v.tif", "file:1")]
    params = {"read": read, "voxel_um": None, "patch": {"shape_px": [5, 40, 60]}, "fingerprint": None, "limit_gb": 1}
    volume = execute("volume", {"source": source}, params, store, ctx)
    inputs = {"source": source, "volume": [Input(store.path(volume.key), volume.key)], "pseudo": []}
    if pseudo is not None:
        (tmp_path / "pseudo").mkdir()
        create_labels(tmp_path / "pseudo" / "instances.zarr", pseudo.shape)[:] = pseudo
        inputs["pseudo"] = [Input(tmp_path / "pseudo", "pseudo-1")]
    inputs["neighbour"] = neighbours or []
    params = {"read": read, "box": BOX.to_json(), "suggestion": SUGGESTION, "neighbours": named or []}
    params["margin"] = list(margin)
    made = execute("package", inputs, params, store, ctx)
    return store.path(made.key), made.result


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (2, "uint16"), (1, "int16")])
def test_what_the_annotator_gets(tmp_path: Path, channels: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (channels, 9, 70, 110)).astype(dtype)
    pseudo = np.zeros((9, 70, 110), np.uint32)
    pseudo[3:6, 15:30, 25:40] = 70_000
    pseudo[3:6, 30:45, 25:40] = 5
    pseudo[0:2, :5, :5] = 9
    folder, result = package(tmp_path, image, pseudo)
    found = tifffile.imread(folder / "image.tif")
    expected = image[(slice(None), *BOX.slices)]
    np.testing.assert_array_equal(found.reshape(5, channels, 40, 60).swapaxes(0, 1), expected)
    labels, _ = read_labels(folder / "pseudo_label.tif")
    inside = pseudo[BOX.slices]
    assert labels.dtype == np.uint16
    assert labels.max() == 2 == result["n_pseudo_objects"]
    np.testing.assert_array_equal(labels == 1, inside == 5)
    np.testing.assert_array_equal(labels == 2, inside == 70_000)
    assert read_labels_metadata(folder / "pseudo_label.tif")["suggestion"] == "s-0001"
    page = json.loads((folder / "suggestion.json").read_text())
    assert SUGGESTION.items() <= page.items()
    assert Box.from_json(page["box"]) == BOX
    assert page["voxel_um"] == [0.5, 0.1, 0.1]
    with Image.open(folder / "preview.png") as picture:
        assert picture.size == (9 * 60, 9 * 40)
        pixels = np.asarray(picture)
    outline = (pixels == (255, 214, 0)).all(axis=2)
    assert outline[(15 - 10) * 9, (30 - 20) * 9], "the first row of an object is outlined"
    assert outline[(30 - 10) * 9 - 1 :, 90][:2].all(), "touching objects are told apart"
    assert not outline[(20 - 10) * 9 + 4, (32 - 20) * 9 + 4]
    assert not outline[-1, -1]


def test_without_a_pseudo_label(tmp_path: Path) -> None:
    folder, result = package(tmp_path, np.random.default_rng(0).normal(0, 1, (1, 9, 70, 110)).astype(np.float32), None)
    assert result == {"n_pseudo_objects": None}
    assert sorted(p.name for p in folder.iterdir()) == ["image.tif", "manifest.json", "preview.png", "suggestion.json"]


def labelled(tmp_path: Path, number: int) -> Input:
    folder = tmp_path / f"package-{number}"
    folder.mkdir()
    (folder / "preview.png").write_bytes(b"picture %d" % number)
    return Input(folder, folder.name)


def test_the_labelled_patches_most_like_it_are_shown_in_their_order(tmp_path: Path) -> None:
    packages = [labelled(tmp_path, n) for n in (7, 3)]
    box = {"start": [0, 0, 0], "shape": [5, 40, 60]}
    named = [{"suggestion": f"s{n}", "volume_name": "b.tif", "box": box, "distance": n / 10} for n in (7, 3)]
    folder, _ = package(
        tmp_path, np.ones((1, 9, 70, 110), np.uint8) * np.arange(110, dtype=np.uint8), None, packages, named
    )
    assert [(folder / f"nearest_{i}.png").read_bytes() for i in (1, 2)] == [b"picture 7", b"picture 3"]
    page = json.loads((folder / "suggestion.json").read_text())
    expected = [named[i] | {"picture": f"nearest_{i + 1}.png"} for i in range(2)]
    assert page["neighbours"] == expected


def test_neighbours_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    image = np.ones((1, 9, 70, 110), np.uint8) * np.arange(110, dtype=np.uint8)
    with pytest.raises(PermanentError, match="0 neighbours are named in params, and there are 1 packages"):
        package(tmp_path, image, None, [labelled(tmp_path, 1)])


def test_more_objects_than_16_bits(tmp_path: Path) -> None:
    shape = (9, 100, 110)
    pseudo = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    global_box = Box((0, 0, 0), shape)
    image = np.random.default_rng(0).integers(0, 200, (1, *shape)).astype(np.uint8)
    store, ctx = ArtifactStore(tmp_path / "a"), QuietContext(tmp_path / "s", tmp_path / "c")
    write_image_tiff(tmp_path / "v.tif", image, None)
    source = [Input(tmp_path / "v.tif", "file:1")]
    params = {"read": {}, "voxel_um": None, "patch": {"shape_px": [9, 99, 99]}, "fingerprint": None, "limit_gb": 1}
    volume = execute("volume", {"source": source}, params, store, ctx)
    (tmp_path / "pseudo").mkdir()
    create_labels(tmp_path / "pseudo" / "instances.zarr", shape)[:] = pseudo
    inputs = {
        "source": source,
        "volume": [Input(store.path(volume.key), volume.key)],
        "pseudo": [Input(tmp_path / "pseudo", "pseudo-1")],
    }
    made = execute("package", inputs, {"read": {}, "box": global_box.to_json(), "suggestion": SUGGESTION}, store, ctx)
    labels, _ = read_labels(store.path(made.key) / "pseudo_label.tif")
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels, pseudo)


@pytest.mark.parametrize(
    ("margin", "before", "after"),
    [((0, 16, 16), (0, 10, 16), (0, 16, 16)), ((3, 5, 200), (2, 5, 20), (2, 5, 30)), ((0, 0, 0), (0, 0, 0), (0, 0, 0))],
)
def test_context_around_the_patch_is_shown_and_cut_at_the_edges_of_the_volume(
    tmp_path: Path, margin: tuple[int, int, int], before: tuple[int, int, int], after: tuple[int, int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 200, (2, 9, 70, 110)).astype(np.uint8)
    pseudo = np.ones((9, 70, 110), np.uint32) * 8
    folder, result = package(tmp_path, image, pseudo, margin=margin)
    assert result["n_pseudo_objects"] == 1
    first = [a - b for a, b in zip(BOX.start, before, strict=True)]
    last = [a + b for a, b in zip(BOX.stop, after, strict=True)]
    around = (slice(None), *(slice(a, b) for a, b in zip(first, last, strict=True)))
    found = tifffile.imread(folder / "image.tif")
    np.testing.assert_array_equal(found.swapaxes(0, 1), image[around])
    page = json.loads((folder / "suggestion.json").read_text())
    assert page["margin"] == {"before": list(before), "after": list(after)}
    assert page["image_shape"] == list(image[around].shape[1:])
    assert Box.from_json(page["box"]) == BOX
    labels, _ = read_labels(folder / "pseudo_label.tif")
    expected = np.zeros((9, 70, 110), np.uint32)
    expected[BOX.slices] = 1
    np.testing.assert_array_equal(labels, expected[around[1:]])
    with Image.open(folder / "preview.png") as picture:
        pixels = np.asarray(picture)
    factor = pixels.shape[1] // image[around].shape[-1]
    framed = (pixels == (0, 190, 255)).all(axis=2)
    assert framed.any() == (margin != (0, 0, 0))
    rows, columns = (
        slice(before[1] * factor, -after[1] * factor or None),
        slice(before[2] * factor, -after[2] * factor or None),
    )
    assert not framed[rows, columns].any(), "the frame hides nothing of the patch"
