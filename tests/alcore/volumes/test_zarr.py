"""OME-Zarr: what is read, and what its metadata mean. Real files are compared with what zarr reads by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from alcore.errors import SourceMissingError, UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import check, open_volume, parts
from tests.alcore.volumes.zarr_forms import array, group, multiscale, put, write_zarr

RNG = np.random.default_rng(0)


def ramp(*shape: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return np.arange(1, 1 + int(np.prod(shape))).reshape(shape).astype(dtype)


def whole(path: Path, **read: Any) -> np.ndarray[Any, Any]:
    with open_volume(path, read) as volume:
        return volume.read(Box((0, 0, 0), volume.shape[1:]))


FIJI = "formats/omezarr_v04_v05_fiji/test-shared/resources/ome/zarr/testdata"
BOTH = (
    "2d_testing/2d_dataset_v{}.ome.zarr",
    "3d_testing/xyz/3d_dataset_v{}.ome.zarr",
    "3d_testing/xyc/3d_dataset_v{}.ome.zarr",
    "3d_testing/xyt/3d_dataset_v{}.ome.zarr",
    "4d_testing/xyzc/4d_dataset_v{}.ome.zarr",
    "4d_testing/xyzt/4d_dataset_v{}.ome.zarr",
    "4d_testing/xyct/4d_dataset_v{}.ome.zarr",
    "5d_testing/5d_dataset_v{}.ome.zarr",
)
# image -> its array, and the axes of that
REAL = {
    **{f"{FIJI}/{name.format(v)}": ("0", None) for name in BOTH for v in (4, 5)},
    f"{FIJI}/single_resolution_testing/single_resolution_dataset_v5.ome.zarr": ("0", "yx"),
    "formats/omezarr_examples_v04/data/valid/image-02.zarr": ("0", "yx"),
    "formats/omezarr_examples_v04/data/valid/image-03.zarr": ("0", "zyx"),
    "formats/omezarr_py_bf2raw_plate/tests/data/v1": ("0", "tczyx"),
    "formats/omezarr_py_bf2raw_plate/tests/data/v2": ("0", "tczyx"),
    "formats/viv_ometiff_omezarr/packages/loaders/tests/fixtures/bioformats-zarr/data.zarr": ("0/0", "tczyx"),
    "formats/viv_ometiff_omezarr/packages/loaders/tests/fixtures/ome-zarr/blobs_image_v04.ome.zarr": ("0", "cyx"),
    "formats/viv_ometiff_omezarr/packages/loaders/tests/fixtures/ome-zarr/blobs_image_v05.ome.zarr": ("0", "cyx"),
}


def axes_in(path: Path) -> str:
    """The axes by the shortest way there is; tests only."""
    if (path / "zarr.json").exists():
        ome = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    else:
        ome = json.loads((path / ".zattrs").read_text())
    return "".join(a["name"] for a in ome["multiscales"][0]["axes"])


@pytest.mark.parametrize("name", REAL)
def test_real_files_equal_what_zarr_reads(name: str, real_data: Callable[[str], Path]) -> None:
    path = real_data(name)
    key, axes = REAL[name]
    axes = axes or axes_in(path)
    stored = np.asarray(zarr.open_array(store=path / key, mode="r")[...])
    labels = "".join(letter for letter in "tczyx" if letter in axes)
    expected = np.einsum(f"{axes}->{labels}", stored)
    for at, letter in enumerate("tczyx"):
        if letter not in axes:
            expected = np.expand_dims(expected, at)
    assert check.problems(path) == []
    found = parts(path)
    assert len(found) == expected.shape[0] * expected.shape[1]
    for index, part in enumerate(found):
        t, c = divmod(index, expected.shape[1])
        assert part.select == {k: v for k, v, n in (("time", t, 0), ("channel", c, 1)) if expected.shape[n] > 1}
        np.testing.assert_array_equal(whole(path, **part.select), expected[t, c : c + 1])


def test_real_pyramids_that_compress_a_thousandfold_are_accepted(real_data: Callable[[str], Path]) -> None:
    for version in (4, 5):
        path = real_data(f"{FIJI}/pyramid_testing/pyramid_v{version}.zarr")
        assert check.problems(path, limit_bytes=501 << 20) == []
        assert "above the limit" in check.problems(path, limit_bytes=400 << 20)[0]
        with open_volume(path) as volume:
            assert (volume.shape, volume.chunk_slices) == ((1, 500, 1000, 1000), 125)
            box = Box((120, 240, 700), (10, 20, 60))
            stored = zarr.open_array(store=path / "0", mode="r")
            np.testing.assert_array_equal(volume.read(box)[0], stored[120:130, 240:260, 700:760])


def test_real_series(real_data: Callable[[str], Path]) -> None:
    path = real_data(f"{FIJI}/bioformats2raw_testing/bf2raw_dataset_v5.ome.zarr")
    assert check.problems(path) == []
    assert [p.name for p in parts(path)] == ["scene 1 (0)", "scene 2 (1)"]
    for scene in (0, 1):
        expected = zarr.open_array(store=path / str(scene) / "0", mode="r")[...]
        np.testing.assert_array_equal(whole(path, scene=scene)[0, 0], expected)
    with pytest.raises(UnreadableVolumeError, match="holds 2 scenes"):
        open_volume(path)


def test_a_plate_holds_every_field_of_every_well(tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    fields = {"A/1/0": 1, "A/1/1": 2, "B/3/0": 3}
    wells = [{"path": "A/1"}, {"path": "B/3"}]
    group(path, {"plate": {"wells": wells}, "bioformats2raw.layout": 3})
    group(path / "A/1", {"well": {"images": [{"path": "0"}, {"path": "1"}]}})
    group(path / "B/3", {"well": {"images": [{"path": "0"}]}})
    for key, value in fields.items():
        write_zarr(path / key, np.full((2, 9, 9), value, np.uint8), "zyx")
        group(path / key / "labels", {"labels": ["cells"]})
        write_zarr(path / key / "labels" / "cells", np.full((2, 9, 9), 9, np.uint8), "zyx")
    assert check.problems(path) == []
    found = parts(path)
    assert [p.name for p in found] == [f"scene {i + 1} ({key})" for i, key in enumerate(fields)]
    assert [int(whole(path, **p.select).max()) for p in found] == [1, 2, 3]
    (path / "B/3/0/0/c/0/0/0").unlink()
    assert check.problems(path)[0].startswith("array B/3/0/0: 1 of 1 chunks are missing")
    assert [int(whole(path / "A" / "1", scene=s).max()) for s in (0, 1)] == [1, 2]


def test_series_are_those_of_the_list_or_numbered(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    group(path, {"bioformats2raw.layout": 3}, 4)
    for name, value in (("0", 1), ("1", 2), ("x", 3)):
        write_zarr(path / name, np.full((9, 9), value, np.uint8), "yx", 4)
    (path / "OME").mkdir()
    (path / "OME" / "METADATA.ome.xml").write_text("<OME/>")
    assert [int(whole(path, scene=s).max()) for s in (0, 1)] == [1, 2]
    group(path / "OME", {"series": ["x", "0"]}, 4)
    assert [int(whole(path, scene=s).max()) for s in (0, 1)] == [3, 1]
    group(path / "OME", {"series": ["x", "0", "2"]}, 4)
    assert "name 2, which is not there" in check.problems(path)[0]
    (path / "OME" / ".zgroup").unlink()
    (path / "0").rename(path / "2")
    assert check.problems(path) == ["its series 1, 2 are not numbered from 0: is one missing? Copy or save it again"]


def test_several_multiscales_are_scenes(tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    write_zarr(path, ramp(2, 9, 9), "zyx")
    array(path / "other", ramp(3, 9, 9), chunks=(1, 9, 9))
    second = multiscale("cyx", name="second")
    second["datasets"][0]["path"] = "other"
    group(path, {"multiscales": [multiscale("zyx", name="first"), second]})
    assert [p.name for p in parts(path)] == [
        "scene 1 (first)",
        *(f"scene 2 (second), channel {c}" for c in range(3)),
    ]
    assert whole(path, scene=1).shape == (3, 1, 9, 9)


@pytest.mark.parametrize("minor", [4, 5])
@pytest.mark.parametrize("separator", [".", "/"])
def test_any_order_of_axes(minor: int, separator: str, tmp_path: Path) -> None:
    image = ramp(2, 3, 4, 9, 10)
    encoding = {"name": "v2" if minor == 4 else "default", "separator": separator}
    for axes in ("tczyx", "ztcyx", "czyx", "zcyx", "tyx"):
        small = image[(0,) * (5 - len(axes))]
        write_zarr(tmp_path / "v.zarr", small, axes, minor, chunks=(2,) * len(axes), chunk_key_encoding=encoding)
        assert check.problems(tmp_path / "v.zarr") == []
        time = {"time": 1} if "t" in axes else {}
        expected = small.take(1, axes.index("t")) if "t" in axes else small
        rest = axes.replace("t", "")
        if rest == "zcyx":
            expected = expected.swapaxes(0, 1)
        expected = expected.reshape({"yx": (1, 1, 9, 10)}.get(rest, expected.shape))
        np.testing.assert_array_equal(whole(tmp_path / "v.zarr", **time), expected)
        if "c" in axes:
            channels = [2, 0, 1][: expected.shape[0]] if expected.shape[0] == 3 else [1, 0]
            np.testing.assert_array_equal(whole(tmp_path / "v.zarr", channels=channels, **time), expected[channels])


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    image = RNG.normal(size=(2, 9, 9)).astype(np.float16)
    write_zarr(tmp_path / "v.zarr", image, "zyx", compressors=None)
    found = whole(tmp_path / "v.zarr")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], image.astype(np.float32))


VOXELS: dict[str, tuple[dict[str, Any], tuple[float, float, float] | None, str]] = {
    "micrometres": (multiscale("zyx", (2, 0.5, 0.25)), (2, 0.5, 0.25), ""),
    "nanometres": (multiscale("zyx", (40, 5.9, 5.9), "nanometer"), (0.04, 0.0059, 0.0059), ""),
    "ångström": (multiscale("zyx", (10, 2, 1), "angstrom"), (0.001, 0.0002, 0.0001), ""),
    "millimetres": (multiscale("zyx", (1, 0.1, 0.2), "millimeter"), (1000, 100, 200), ""),
    "two scales": (
        multiscale("zyx", (1, 2, 2), coordinateTransformations=[{"type": "scale", "scale": [3, 0.1, 0.2]}]),
        (3, 0.2, 0.4),
        "",
    ),
    "no unit": (multiscale("zyx", unit=None), None, "z 1 without unit"),
    "unit of no length": (multiscale("zyx", unit="second"), None, "z 1 second"),
    "scale of 0": (multiscale("zyx", (0, 1, 1)), None, "z 0 micrometer"),
    "scale elsewhere": (
        multiscale("zyx", coordinateTransformations=[{"type": "scale", "path": "s"}]),
        None,
        "state no voxel size",
    ),
}


@pytest.mark.parametrize("name", VOXELS)
def test_voxel_size(name: str, tmp_path: Path) -> None:
    entry, expected, words = VOXELS[name]
    write_zarr(tmp_path / "v.zarr", ramp(2, 9, 9), "zyx")
    group(tmp_path / "v.zarr", {"multiscales": [entry]})
    with open_volume(tmp_path / "v.zarr") as volume:
        assert volume.voxel_um == expected
        assert (words in " ".join(volume.notes)) if words else volume.notes == ()


def test_a_single_slice_has_the_spacing_of_its_rows(tmp_path: Path) -> None:
    write_zarr(tmp_path / "v.zarr", ramp(9, 9), "yx")
    group(tmp_path / "v.zarr", {"multiscales": [multiscale("yx", (0.5, 0.25))]})
    with open_volume(tmp_path / "v.zarr") as volume:
        assert (volume.shape, volume.voxel_um) == ((1, 1, 9, 9), (0.5, 0.5, 0.25))


def test_channels_by_the_names_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr"
    write_zarr(path, ramp(3, 2, 9, 9), "czyx", chunks=(3, 2, 9, 9))
    labels = [{"label": "DAPI"}, {}, {"label": "Cy5"}]
    group(path, {"multiscales": [multiscale("czyx")], "omero": {"channels": labels}})
    assert [p.name for p in parts(path)] == ["channel 0 (DAPI)", "channel 1", "channel 2 (Cy5)"]
    np.testing.assert_array_equal(whole(path, channels=["cy5", "DAPI"]), ramp(3, 2, 9, 9)[[2, 0]])
    group(path, {"multiscales": [multiscale("czyx")], "omero": {"channels": labels[:2]}})
    assert [p.name for p in parts(path)] == ["channel 0", "channel 1", "channel 2"]


def test_axes_are_asked_for_and_never_guessed(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr"
    array(path, ramp(4, 9, 9), chunks=(1, 9, 9))
    assert "Set axes = " in check.problems(path)[0] and "for its watched folder" in check.problems(path)[0]
    assert check.problems(path, {"axes": "ZYX"}) == []
    assert whole(path, axes="ZYX").shape == (1, 4, 9, 9)
    assert len(parts(path, {"axes": "TYX"})) == 4
    assert "names 4 dimensions, the array has 3" in check.problems(path, {"axes": "CZYX"})[0]
    array(tmp_path / "flat.zarr", ramp(9, 9), 4, chunks=(9, 9))
    assert whole(tmp_path / "flat.zarr").shape == (1, 1, 9, 9)
    array(tmp_path / "named.zarr", ramp(4, 9, 9), chunks=(1, 9, 9), dimension_names=["c", "y", "x"])
    assert len(parts(tmp_path / "named.zarr")) == 4


def test_what_a_person_says_wins_where_it_fits(tmp_path: Path) -> None:
    write_zarr(tmp_path / "v.zarr", ramp(4, 9, 9), "tyx")
    with open_volume(tmp_path / "v.zarr", {"axes": "ZYX"}) as volume:
        assert (volume.shape, volume.voxel_um) == ((1, 4, 9, 9), None)
    write_zarr(tmp_path / "v.zarr", ramp(2, 4, 9, 9), "tzyx")
    assert len(parts(tmp_path / "v.zarr", {"axes": "ZYX"})) == 2


def test_names_of_axes_in_old_and_odd_versions(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr"
    write_zarr(path, ramp(2, 3, 9, 9), "czyx", 4)
    old = {"version": "0.3", "axes": ["c", "z", "y", "x"], "datasets": [{"path": "0"}]}
    group(path, {"multiscales": [old]}, 4)
    assert [p.select for p in parts(path)] == [{"channel": 0}, {"channel": 1}]
    entry = multiscale("czyx")
    entry["axes"][0]["name"] = "marker"
    group(path, {"multiscales": [entry]}, 4)
    assert len(parts(path)) == 2


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    for minor, name in ((4, "0/1/0/0"), (5, "0/c/1/0/0")):
        path = tmp_path / f"{minor}.zarr"
        write_zarr(path, RNG.integers(0, 99, (4, 20, 20), np.uint16), "zyx", minor, chunks=(2, 20, 20))
        file = path / name
        file.write_bytes(file.read_bytes()[:-30])
        assert check.problems(path) == []
        with open_volume(path) as volume:
            volume.read(Box((0, 0, 0), (2, 20, 20)))
            with pytest.raises(UnreadableVolumeError, match=rf"{minor}\.zarr: {name} does not decode"):
                volume.read(Box((0, 0, 0), (4, 20, 20)))


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr"
    write_zarr(path, RNG.integers(0, 99, (4, 20, 20), np.uint16), "zyx", chunks=(1, 10, 10), shards=(2, 20, 20))
    file = path / "0/c/1/0/0"
    data = bytearray(file.read_bytes())
    data[-10:] = bytes(10)
    file.write_bytes(data)
    with (
        open_volume(path) as volume,
        pytest.raises(UnreadableVolumeError, match=r"v\.zarr: 0/c/1/0/0 does not decode"),
    ):
        volume.read(Box((3, 0, 0), (1, 5, 5)))


def test_a_chunk_that_goes_missing_is_no_empty_space_unless_sparse(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr"
    write_zarr(path, ramp(4, 9, 9), "zyx", chunks=(1, 9, 9))
    (path / "0/c/2/0/0").unlink()
    with open_volume(path) as volume:
        assert volume.read(Box((0, 0, 0), (2, 9, 9))).all()
        with pytest.raises(UnreadableVolumeError, match=r"0/c/2/0/0 is missing"):
            volume.read(Box((0, 0, 0), (4, 9, 9)))
    assert not whole(path, sparse=True)[0, 2].any()


def test_links_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr"
    write_zarr(path, ramp(4, 9, 9), "zyx", chunks=(1, 9, 9))
    (path / "0/c/1").rename(tmp_path / "outside")
    os.symlink(tmp_path / "outside", path / "0/c/1")
    assert "1 is a link" in check.problems(path)[0]
    with pytest.raises(UnreadableVolumeError, match="reached through a link"):
        whole(path)


def test_a_tree_that_is_gone_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError):
        open_volume(tmp_path / "v.zarr")


def test_only_folders_are_trees(tmp_path: Path) -> None:
    (tmp_path / "v.zarr").write_bytes(b"")
    assert check.problems(tmp_path / "v.zarr")[0].startswith("an empty file")
    put(tmp_path / "x" / ".zgroup", {"zarr_format": 2})
    assert "without OME-Zarr metadata" in check.problems(tmp_path / "x")[0]
