"""What the metadata of a TIFF mean: axes, channels, time, colour, voxel size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.errors import PermanentError, SourceChangedError, UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import open_volume
from alcore.volumes.port import ReadOptions
from alcore.volumes.tiff_calibration import um_per


def write(path: Path, shape: tuple[int, ...], dtype: str = "uint8", **options: Any) -> np.ndarray[Any, Any]:
    image = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    tifffile.imwrite(path, image, **{"photometric": "minisblack", **options})
    return image


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("YX", (8, 9)),
        ("ZYX", (4, 8, 9)),
        ("CYX", (4, 8, 9)),
        ("ZCYX", (3, 2, 8, 9)),
        ("CZYX", (3, 2, 8, 9)),
        ("TZCYX", (1, 3, 2, 8, 9)),
    ],
)
def test_named_axes(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    image = write(tmp_path / "v.tif", shape, metadata={"axes": axes})
    sizes = {"C": 1, "Z": 1, **dict(zip(axes, shape, strict=True))}
    order = [axes.index(a) for a in "CZYX" if a in axes]
    expected = image.squeeze(tuple(i for i, a in enumerate(axes) if a == "T")).transpose(np.argsort(np.argsort(order)))
    with open_volume(tmp_path / "v.tif", {"channels": list(range(sizes["C"]))}) as volume:
        assert volume.shape == (sizes["C"], sizes["Z"], 8, 9)
        found = volume.read(Box((0, 0, 0), volume.shape[1:]))
        for c in range(sizes["C"]):
            for z in range(sizes["Z"]):
                where = {"C": c, "Z": z, "T": 0}
                plane = image[tuple(where[a] for a in axes[:-2])]
                np.testing.assert_array_equal(found[c, z], plane)
    assert expected.size == found.size


def test_a_plain_stack_is_a_z_stack_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "v.tif", (5, 8, 9), metadata=None)
    with open_volume(tmp_path / "v.tif") as volume:
        assert volume.shape == (1, 5, 8, 9)
        assert "its 5 pages are taken as slices" in " ".join(volume.notes)
    with open_volume(tmp_path / "v.tif", {"axes": "ZYX"}) as volume:
        assert volume.notes == ()
    with open_volume(tmp_path / "v.tif", {"axes": "CYX", "channels": [4, 0]}) as volume:
        assert volume.shape == (2, 1, 8, 9)


def test_axes_of_a_folder_do_not_hinder_its_single_slices(tmp_path: Path) -> None:
    write(tmp_path / "v.tif", (8, 9))
    with open_volume(tmp_path / "v.tif", {"axes": "ZYX"}) as volume:
        assert volume.shape == (1, 1, 8, 9)


@pytest.mark.parametrize(
    ("shape", "options", "read", "words"),
    [
        ((3, 8, 9), {"metadata": {"axes": "TYX"}}, {}, r'3 time points.* axes = "ZYX"'),
        ((3, 4, 8, 9), {}, {}, "meaning of dimensions QQYX"),
        ((3, 4, 8, 9), {}, {"axes": "ZYX"}, r"names 3 dimensions, the file has 4"),
        ((3, 8, 9), {"metadata": {"axes": "CYX"}}, {}, r"3 channels.* channels, such as \[0\]"),
        ((3, 8, 9), {"metadata": {"axes": "CYX"}}, {"channels": [3]}, r"channels = \[3\], but the file has 3"),
        ((8, 9, 3), {"photometric": "rgb"}, {}, "colour image"),
        ((8, 9), {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}, {}, "palette"),
        ((8, 9), {"dtype": "uint64"}, {}, "uint64 values are not supported"),
        ((8, 9), {"dtype": "complex64"}, {}, "complex64 values are not supported"),
    ],
)
def test_what_cannot_be_understood_is_asked(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], read: dict[str, Any], words: str
) -> None:
    write(tmp_path / "v.tif", shape, **options)
    with pytest.raises(UnreadableVolumeError, match=rf"v\.tif: .*{words}") as caught:
        open_volume(tmp_path / "v.tif", read)
    assert "\n" not in str(caught.value)


def test_time_that_is_really_z(tmp_path: Path) -> None:
    image = write(tmp_path / "v.tif", (3, 8, 9), imagej=True, metadata={"axes": "TYX"})
    with open_volume(tmp_path / "v.tif", {"axes": "ZYX"}) as volume:
        np.testing.assert_array_equal(volume.read(Box((1, 0, 0), (2, 8, 9)))[0], image[1:])


def test_several_images_and_thumbnails(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as tif:
        tif.write(np.ones((8, 9), np.uint8), photometric="minisblack", metadata=None)
        tif.write(np.ones((6, 9), np.uint8), photometric="minisblack", metadata=None)
    with pytest.raises(UnreadableVolumeError, match="2 images of different kinds"):
        open_volume(tmp_path / "two.tif")
    with tifffile.TiffWriter(tmp_path / "thumb.tif") as tif:
        tif.write(np.ones((8, 9), np.uint8), photometric="minisblack", metadata=None)
        tif.write(np.ones((2, 3), np.uint8), photometric="minisblack", metadata=None, subfiletype=1)
    with open_volume(tmp_path / "thumb.tif") as volume:
        assert volume.shape == (1, 1, 8, 9)


def test_ome_of_several_files_or_scenes(tmp_path: Path) -> None:
    write(tmp_path / "v.tif", (3, 8, 9), ome=True, metadata={"axes": "ZYX"})
    xml = tifffile.TiffFile(tmp_path / "v.tif").ome_metadata
    assert xml is not None
    foreign = xml.replace('PlaneCount="3"/>', 'PlaneCount="3"><UUID FileName="other.tif">urn:uuid:1</UUID></TiffData>')
    write(tmp_path / "part.tif", (3, 8, 9), description=foreign.encode(), metadata=None)
    with pytest.raises(UnreadableVolumeError, match=r"needs other files too \(other\.tif\)"):
        open_volume(tmp_path / "part.tif")
    with tifffile.TiffWriter(tmp_path / "scenes.tif", ome=True) as tif:
        for _ in range(2):
            tif.write(np.ones((3, 8, 9), np.uint8), photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(UnreadableVolumeError, match=r"2 images \(scenes\)"):
        open_volume(tmp_path / "scenes.tif")


IMAGEJ: dict[str, Any] = {"imagej": True, "resolution": (4.0, 2.0), "resolutionunit": "NONE"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 3.0, "unit": "um"}}, (3.0, 0.5, 0.25)),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 3.0, "unit": "micron"}}, (3.0, 0.5, 0.25)),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": -3.0, "unit": "\\u00B5m"}}, (3.0, 0.5, 0.25)),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 30, "unit": "nm"}}, (0.03, 0.0005, 0.00025)),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 3.0, "unit": "um", "zunit": "nm"}}, (0.003, 0.5, 0.25)),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "unit": "um"}}, None),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 0.0, "unit": "um"}}, None),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 3.0, "unit": "pixel"}}, None),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 3.0, "unit": "inch"}}, None),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 3.0}}, None),
        ({"imagej": True, "metadata": {"axes": "ZYX", "spacing": 1.0, "unit": "pixel"}}, None),
        ({"imagej": True, "metadata": {"axes": "ZYX"}}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (4.0, 2.0), "metadata": {"axes": "ZYX", "spacing": 3.0, "unit": "um"}}, (3.0, 0.5, 0.25)),
        (
            {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 3}},
            (3.0, 0.5, 0.25),
        ),
        (
            {
                "ome": True,
                "metadata": {
                    "axes": "ZYX",
                    "PhysicalSizeX": 4,
                    "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 4,
                    "PhysicalSizeYUnit": "nm",
                    "PhysicalSizeZ": 0.04,
                    "PhysicalSizeZUnit": "µm",
                },
            },
            (0.04, 0.004, 0.004),
        ),
        ({"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}}, None),
        (
            {
                "ome": True,
                "metadata": {
                    "axes": "ZYX",
                    "PhysicalSizeX": 1,
                    "PhysicalSizeXUnit": "pixel",
                    "PhysicalSizeY": 1,
                    "PhysicalSizeYUnit": "pixel",
                    "PhysicalSizeZ": 1,
                },
            },
            None,
        ),
        ({"ome": True, "metadata": {"axes": "ZYX"}}, None),
    ],
)
def test_voxel_size_is_what_the_file_states_or_unknown(
    tmp_path: Path, options: dict[str, Any], expected: tuple[float, float, float] | None
) -> None:
    write(tmp_path / "v.tif", (3, 8, 9), **options)
    with open_volume(tmp_path / "v.tif") as volume:
        assert volume.voxel_um == expected


def test_a_single_slice_is_as_thick_as_its_pixels(tmp_path: Path) -> None:
    write(tmp_path / "v.tif", (8, 9), **{**IMAGEJ, "metadata": {"axes": "YX", "unit": "um"}})
    with open_volume(tmp_path / "v.tif") as volume:
        assert volume.voxel_um == (0.5, 0.5, 0.25)


@pytest.mark.parametrize("text", ["um", "µm", "μm", "\\u00B5m", "Âµm", "micron", "Microns"])
def test_spellings_of_a_micrometre(text: str) -> None:
    assert um_per(text) == 1.0


@pytest.mark.parametrize(
    ("read", "key"),
    [
        ({"axis": "ZYX"}, "axis"),
        ({"axes": "XYZ"}, "axes"),
        ({"axes": "ZZYX"}, "axes"),
        ({"axes": 3}, "axes"),
        ({"channels": []}, "channels"),
        ({"channels": [0, 0]}, "channels"),
        ({"channels": [-1]}, "channels"),
        ({"channels": [True]}, "channels"),
        ({"channels": 0}, "channels"),
    ],
)
def test_read_options_name_the_wrong_key(read: dict[str, Any], key: str) -> None:
    with pytest.raises(PermanentError, match=key):
        ReadOptions.from_json(read)


def test_a_file_cut_while_it_is_read_is_a_change_and_not_a_crash(tmp_path: Path) -> None:
    write(tmp_path / "v.tif", (3, 80, 90), metadata={"axes": "ZYX"})
    with open_volume(tmp_path / "v.tif") as volume:
        volume.read(Box((0, 0, 0), (1, 80, 90)))
        (tmp_path / "v.tif").write_bytes(b"")
        with pytest.raises(SourceChangedError, match=r"v\.tif: became shorter"):
            volume.read(Box((2, 0, 0), (1, 80, 90)))


def test_rows_of_a_wide_uncompressed_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alcore.volumes import tiff_planes

    image = write(tmp_path / "v.tif", (2, 30, 200), "uint16", metadata={"axes": "ZYX"}, byteorder=">")
    for gap in (0, 32 << 10):
        monkeypatch.setattr(tiff_planes, "ROW_GAP_BYTES", gap)
        with open_volume(tmp_path / "v.tif") as volume:
            np.testing.assert_array_equal(volume.read(Box((1, 3, 5), (1, 20, 7)))[0, 0], image[1, 3:23, 5:12])


def test_reads_only_what_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alcore.volumes import tiff_planes

    write(tmp_path / "v.tif", (4, 256, 256), tile=(64, 64), compression="zlib", metadata={"axes": "ZYX"})
    asked: list[int] = []
    whole = tiff_planes.TiffPlanes._pread
    monkeypatch.setattr(tiff_planes.TiffPlanes, "_pread", lambda self, o, n: (asked.append(n), whole(self, o, n))[1])
    with open_volume(tmp_path / "v.tif") as volume:
        volume.read(Box((1, 60, 60), (2, 8, 4)))
        assert len(asked) == 4
        volume.read(Box((1, 0, 0), (2, 128, 64)))
        assert len(asked) == 4, "tiles in the cache are not read again"


def test_the_cache_is_bounded_but_keeps_the_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alcore.volumes import tiff_planes

    monkeypatch.setattr(tiff_planes, "CACHE_BYTES", 3 * 8 * 9)
    image = write(tmp_path / "v.tif", (10, 8, 9), compression="zlib", metadata={"axes": "ZYX"})
    with open_volume(tmp_path / "v.tif") as volume:
        np.testing.assert_array_equal(volume.read(Box((0, 0, 0), (10, 8, 9)))[0], image)
        assert len(volume._planes._cache) == 3  # type: ignore[attr-defined]
        monkeypatch.setattr(tiff_planes, "CACHE_BYTES", 1)
        volume.read(Box((0, 0, 0), (1, 8, 9)))
        assert len(volume._planes._cache) == 1  # type: ignore[attr-defined]


def test_real_calibrations(real_data: Callable[[str], Path]) -> None:
    folder = real_data("formats") / "imagej_neubias" / "image_data"
    with open_volume(folder / "xyz_8bit__mitotic_plate_calibrated.tif") as volume:
        assert volume.voxel_um == pytest.approx((3.0, 0.0852, 0.0852), abs=1e-4)
    with open_volume(folder / "xyz_8bit__mitotic_plate_badZcalibrated.tif") as volume:
        assert volume.voxel_um is None
        assert "set voxel_um in the config" in volume.notes[0]
    with open_volume(folder / "xyzc_16bit__spots.tif", {"channels": [1]}) as volume:
        expected = tifffile.imread(folder / "xyzc_16bit__spots.tif")[:, 1]
        np.testing.assert_array_equal(volume.read(Box((0, 0, 0), volume.shape[1:]))[0], expected)
