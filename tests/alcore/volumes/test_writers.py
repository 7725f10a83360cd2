"""Our TIFFs: read back by tifffile and by ourselves with axes, ids, voxel size and metadata; never half a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alcore.errors import PermanentError, UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import check, open_volume, writers
from alcore.volumes.labels import read_labels, read_labels_metadata
from alcore.volumes.store import create_labels, open_labels
from alcore.volumes.writers import write_image_tiff, write_labels_tiff

lengths = st.floats(1e-5, 500)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["uint8", "uint16", "uint32"]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(2, 20)),
    voxel_um=st.none() | st.tuples(lengths, lengths, lengths),
    metadata=st.dictionaries(
        st.text(max_size=8), st.text(max_size=30) | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9)
    ),
    seed=st.integers(0, 99),
)
def test_labels_come_back(
    dtype: str, shape: Any, voxel_um: Any, metadata: dict[str, Any], seed: int, tmp_path: Path
) -> None:
    labels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    path = tmp_path / "labels.tif"
    write_labels_tiff(path, iter(labels), shape, dtype, voxel_um, metadata)
    found, notes = read_labels(path)
    assert found.dtype == dtype
    assert notes == ()
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(tifffile.imread(path).reshape(shape), labels)
    assert read_labels_metadata(path) == metadata
    assert check.problems(path) == []
    with open_volume(path) as volume:
        assert volume.shape == (1, *shape)
        if voxel_um is None:
            assert volume.voxel_um is None
        else:
            expected = voxel_um if shape[0] > 1 or dtype == "uint32" else (voxel_um[1], *voxel_um[1:])
            assert volume.voxel_um == pytest.approx(expected, rel=1e-6)


def test_what_other_programs_see(tmp_path: Path) -> None:
    """Fiji reads ImageJ's description and the resolution tags; napari and others the series axes."""
    labels = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    write_labels_tiff(tmp_path / "16.tif", labels, (3, 4, 5), "uint16", (0.04, 0.01, 0.005))
    with tifffile.TiffFile(tmp_path / "16.tif") as tif:
        assert tif.series[0].axes == "ZYX"
        assert tif.is_imagej
        assert {"slices": 3, "spacing": 0.04, "unit": "um"}.items() <= (tif.imagej_metadata or {}).items()
        assert tif.pages.first.tags["XResolution"].value == (200, 1)
    write_labels_tiff(tmp_path / "32.tif", labels + 2**31, (3, 4, 5), "uint32", (0.04, 0.01, 0.005))
    with tifffile.TiffFile(tmp_path / "32.tif") as tif:
        assert tif.series[0].axes == "ZYX"
        assert tif.is_ome
        assert tif.pages.first.resolutionunit == 3
        assert tif.pages.first.tags["XResolution"].value == (2_000_000, 1)
    write_image_tiff(tmp_path / "c.tif", np.ones((2, 3, 4, 5), np.uint16), None)
    with tifffile.TiffFile(tmp_path / "c.tif") as tif:
        assert tif.series[0].axes == "ZCYX"
        assert (tif.imagej_metadata or {})["mode"] == "composite"


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_large_files_are_bigtiff(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "CLASSIC_LIMIT_BYTES", 100)
    labels = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(dtype)
    write_labels_tiff(tmp_path / "l.tif", labels, (3, 4, 5), dtype, (1, 2, 3), {"a": 1})
    with tifffile.TiffFile(tmp_path / "l.tif") as tif:
        assert tif.is_bigtiff
        assert tif.is_ome
    np.testing.assert_array_equal(read_labels(tmp_path / "l.tif")[0], labels)
    assert read_labels_metadata(tmp_path / "l.tif") == {"a": 1}


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    labels = np.arange(60).reshape(3, 4, 5)
    for dtype in ("uint16", "uint32"):
        for name in ("a", "b"):
            write_labels_tiff(tmp_path / name, labels, (3, 4, 5), dtype, (1, 2, 3), {"n": 1})
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("planes", "shape", "dtype", "words"),
    [
        (np.ones((2, 4, 5)), (3, 4, 5), "uint8", "2 planes instead of 3"),
        (np.ones((4, 4, 5)), (3, 4, 5), "uint8", "more than the 3 planes"),
        (np.ones((3, 4, 6)), (3, 4, 5), "uint8", r"shape \(4, 6\), expected \(4, 5\)"),
        (np.full((3, 4, 5), 256), (3, 4, 5), "uint8", "values that uint8 cannot"),
        (np.full((3, 4, 5), -1), (3, 4, 5), "uint32", "values that uint32 cannot"),
        (np.full((3, 4, 5), 0.5), (3, 4, 5), "uint16", "values that uint16 cannot"),
        (np.ones((3, 4, 5)), (3, 4, 5), "int32", "not int32"),
        (np.ones((3, 4, 1)), (3, 4, 1), "uint8", "single column"),
    ],
)
def test_a_wrong_plane_leaves_no_file(
    tmp_path: Path, planes: np.ndarray[Any, Any], shape: Any, dtype: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        write_labels_tiff(tmp_path / "l.tif", planes, shape, dtype, None)
    assert list(tmp_path.iterdir()) == []


def save(path: Path, array: np.ndarray[Any, Any], **options: Any) -> None:
    tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "uint64", "float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((3, 8, 9), {}),
        ((3, 8, 9), {"metadata": None, "compression": "lzw"}),
        ((1, 3, 8, 9), {}),
        ((3, 8, 9), {"metadata": {"axes": "TYX"}}),
        ((3, 8, 9), {"metadata": {"axes": "CYX"}}),
    ],
)
def test_labels_of_any_tool(tmp_path: Path, dtype: str, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    labels = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    save(tmp_path / "l.tif", labels, **options)
    found, notes = read_labels(tmp_path / "l.tif")
    np.testing.assert_array_equal(found, labels.reshape(3, 8, 9))
    assert found.dtype == dtype
    axes = (options.get("metadata") or {}).get("axes", "Q" if "compression" not in options else "I")
    assert notes == (f"dimension {axes[0]} taken as slices (Z)",)


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "words"),
    [
        ((8, 9, 3), "uint8", {"photometric": "rgb"}, "a colour image"),
        ((2, 3, 8, 9), "uint8", {}, r"no single \(Z, Y, X\) mask"),
        ((3, 8, 9), "bool", {}, "bool values"),
        ((3, 8, 9), "complex64", {}, "complex64 values"),
        ((300, 80, 90), "uint8", {"compression": "zlib"}, "above the limit"),
    ],
)
def test_what_is_no_label(tmp_path: Path, shape: Any, dtype: str, options: dict[str, Any], words: str) -> None:
    save(tmp_path / "l.tif", np.zeros(shape, dtype), **options)
    with pytest.raises(UnreadableVolumeError, match=rf"l\.tif: .*{words}"):
        read_labels(tmp_path / "l.tif", limit_bytes=1_000_000)


def test_palette_labels_of_imagej(real_data: Callable[[str], Path]) -> None:
    path = real_data("formats") / "imagej_neubias" / "image_data" / "xy_8bit_labels__nuclei_touchborder.tif"
    labels, _ = read_labels(path)
    assert labels.shape == (1, 505, 488)
    assert labels.max() == 5


def test_metadata_of_strangers_is_empty(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", np.ones((3, 8, 9), np.uint8))
    save(tmp_path / "b.tif", np.ones((3, 8, 9), np.uint8), imagej=True, metadata={"axes": "ZYX", "Info": "hello"})
    save(tmp_path / "c.tif", np.ones((3, 8, 9), np.uint8), ome=True, metadata={"axes": "ZYX"})
    assert [read_labels_metadata(tmp_path / name) for name in ("a.tif", "b.tif", "c.tif")] == [{}, {}, {}]


def test_label_store(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2**32, (20, 300, 280), dtype=np.uint32)
    store = create_labels(tmp_path / "instances.zarr", labels.shape)
    store[:16] = labels[:16]
    store[16:] = labels[16:]
    found = open_labels(tmp_path / "instances.zarr")
    assert found.dtype == np.uint32
    assert found.metadata.zarr_format == 3
    box = Box((10, 200, 100), (8, 90, 180))
    np.testing.assert_array_equal(found[box.slices], labels[box.slices])
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0, 0] = 1
    with pytest.raises(FileExistsError):
        create_labels(tmp_path / "instances.zarr", (4, 4, 4))
    with pytest.raises(PermanentError, match=r"gone\.zarr"):
        open_labels(tmp_path / "gone.zarr")


@pytest.mark.parametrize("cuts", [[], [1], [100, 150], [300, 301, 350]])
def test_planes_in_parts_give_the_same_file(tmp_path: Path, cuts: list[int]) -> None:
    labels = np.random.default_rng(0).integers(0, 9, (3, 400, 900)).astype(np.uint32)
    write_labels_tiff(tmp_path / "whole.tif", labels, labels.shape, "uint32", None)
    parts = (part for plane in labels for part in np.split(plane, cuts))
    write_labels_tiff(tmp_path / "parts.tif", parts, labels.shape, "uint32", None)
    assert (tmp_path / "parts.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    np.testing.assert_array_equal(read_labels(tmp_path / "whole.tif")[0], labels)
    with tifffile.TiffFile(tmp_path / "whole.tif") as tif:
        assert len(tif.pages[0].dataoffsets) > 1
