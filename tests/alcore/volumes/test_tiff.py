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
from alcore.volumes import check, open_volume, parts
from alcore.volumes.labels import read_labels
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
        ("TYX", (4, 8, 9)),
        ("CYX", (4, 8, 9)),
        ("ZCYX", (3, 2, 8, 9)),
        ("CZYX", (3, 2, 8, 9)),
        ("TZCYX", (1, 3, 2, 8, 9)),
        ("TZCYX", (4, 3, 2, 8, 9)),
        ("CTZYX", (4, 3, 2, 8, 9)),
    ],
)
@pytest.mark.parametrize("options", [{}, {"ome": True}, {"compression": "zlib"}], ids=["plain", "ome", "zlib"])
def test_named_axes_are_parts_of_their_own(
    axes: str, shape: tuple[int, ...], options: dict[str, Any], tmp_path: Path
) -> None:
    image = write(tmp_path / "v.tif", shape, "uint16", metadata={"axes": axes}, **options)
    sizes = {"T": 1, "C": 1, "Z": 1, **dict(zip(axes, shape, strict=True))}

    def plane(**where: int) -> np.ndarray[Any, Any]:
        return np.asarray(image[tuple(where[a] for a in axes[:-2])])

    expected = [(t, c) for t in range(sizes["T"]) for c in range(sizes["C"])]
    found = parts(tmp_path / "v.tif")
    assert len(found) == len(expected)
    assert {name for part in found for name in part.select} == {
        word for word, n in (("time", sizes["T"]), ("channel", sizes["C"])) if n > 1
    }
    for part, (t, c) in zip(found, expected, strict=True):
        with open_volume(tmp_path / "v.tif", part.select) as volume:
            assert volume.shape == (1, sizes["Z"], 8, 9)
            for z, slice_ in enumerate(volume.read(Box((0, 0, 0), volume.shape[1:]))[0]):
                np.testing.assert_array_equal(slice_, plane(T=t, C=c, Z=z))
    together = parts(tmp_path / "v.tif", {"together": True})
    assert len(together) == sizes["T"]
    with open_volume(tmp_path / "v.tif", {"together": True, **together[-1].select}) as volume:
        assert volume.shape == (sizes["C"], sizes["Z"], 8, 9)
        found_all = volume.read(Box((0, 0, 0), volume.shape[1:]))
        last = sizes["T"] - 1
        planes = [[plane(T=last, C=c, Z=z) for z in range(sizes["Z"])] for c in range(sizes["C"])]
        np.testing.assert_array_equal(found_all, np.stack([np.stack(p) for p in planes]))


def test_several_scenes_or_times_have_to_be_chosen(tmp_path: Path) -> None:
    write(tmp_path / "t.tif", (3, 8, 9), metadata={"axes": "TYX"})
    with pytest.raises(UnreadableVolumeError, match=r"t\.tif: holds 3 time points?s, .* \(read option time"):
        open_volume(tmp_path / "t.tif")
    with pytest.raises(UnreadableVolumeError, match="time 3 is asked for, the file has 3"):
        open_volume(tmp_path / "t.tif", {"time": 3})
    with tifffile.TiffWriter(tmp_path / "s.tif", ome=True) as tif:
        for n in (3, 4):
            tif.write(
                np.full((n, 8, 9), n, np.uint8), photometric="minisblack", metadata={"axes": "ZYX", "Name": f"w{n}"}
            )
    with pytest.raises(UnreadableVolumeError, match=r"s\.tif: holds 2 scenes"):
        open_volume(tmp_path / "s.tif")
    with pytest.raises(UnreadableVolumeError, match="scene 2 is asked for, the file has 2"):
        open_volume(tmp_path / "s.tif", {"scene": 2})
    assert [p.name for p in parts(tmp_path / "s.tif")] == ["scene 1 (w3)", "scene 2 (w4)"]
    for scene, n in enumerate((3, 4)):
        with open_volume(tmp_path / "s.tif", {"scene": scene}) as volume:
            assert volume.shape == (1, n, 8, 9)
            assert (volume.read(Box((0, 0, 0), (n, 8, 9))) == n).all()


UNNAMED: dict[str, dict[str, Any]] = {
    "plain": {"metadata": None},
    "tifffile without axes": {},
    "zlib": {"metadata": None, "compression": "zlib"},
    "imagej says only images": {"metadata": None, "description": b"ImageJ=1.53f\nimages=5\n"},
    "bigtiff": {"metadata": None, "bigtiff": True},
}


@pytest.mark.parametrize("kind", sorted(UNNAMED))
def test_what_unnamed_pages_are_is_asked_and_never_guessed(kind: str, tmp_path: Path) -> None:
    image = write(tmp_path / "v.tif", (5, 8, 9), **UNNAMED[kind])
    question = r"5 pages without names: are they slices, time points or channels\? Set axes = .ZYX., .TYX. or .CYX. for"
    for ask in (parts, open_volume, check.strict):
        with pytest.raises(UnreadableVolumeError, match=rf"v\.tif: {question} its watched folder in config\.toml$"):
            ask(tmp_path / "v.tif")
    for axes, n_parts, shape in (("ZYX", 1, (1, 5, 8, 9)), ("TYX", 5, (1, 1, 8, 9)), ("CYX", 5, (1, 1, 8, 9))):
        assert check.problems(tmp_path / "v.tif", {"axes": axes}) == []
        found = parts(tmp_path / "v.tif", {"axes": axes})
        assert len(found) == n_parts
        with open_volume(tmp_path / "v.tif", {"axes": axes, **found[-1].select}) as volume:
            assert volume.shape == shape
            assert volume.notes == ()
            np.testing.assert_array_equal(volume.read(Box((0, 0, 0), shape[1:]))[0], image[-shape[1] :])
    with open_volume(tmp_path / "v.tif", {"axes": "CYX", "channels": [4, 0]}) as volume:
        np.testing.assert_array_equal(volume.read(Box((0, 0, 0), (1, 8, 9)))[:, 0], image[[4, 0]])


def test_pages_that_were_each_written_as_an_image_are_a_stack_without_names(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "v.tif") as tif:
        for n in range(4):
            tif.write(np.full((8, 9), n, np.uint8), photometric="minisblack", contiguous=False)
    assert "4 pages without names" in check.problems(tmp_path / "v.tif")[0]
    with open_volume(tmp_path / "v.tif", {"axes": "ZYX"}) as volume:
        assert volume.read(Box((0, 0, 0), (4, 8, 9)))[0, :, 0, 0].tolist() == [0, 1, 2, 3]


def test_dimensions_of_one_need_no_name(tmp_path: Path) -> None:
    write(tmp_path / "v.tif", (1, 8, 9))
    with open_volume(tmp_path / "v.tif") as volume:
        assert volume.shape == (1, 1, 8, 9)
    write(tmp_path / "v.tif", (1, 5, 1, 8, 9))
    assert "5 pages without names" in check.problems(tmp_path / "v.tif")[0]
    for axes in ("ZYX", "CZTYX"):
        with open_volume(tmp_path / "v.tif", {"axes": axes}) as volume:
            assert volume.shape == (1, 5, 8, 9)


def test_axes_of_a_folder_do_not_hinder_its_single_slices(tmp_path: Path) -> None:
    write(tmp_path / "v.tif", (8, 9))
    with open_volume(tmp_path / "v.tif", {"axes": "ZYX"}) as volume:
        assert volume.shape == (1, 1, 8, 9)


@pytest.mark.parametrize(
    ("shape", "options", "read", "words"),
    [
        ((3, 4, 8, 9), {}, {}, r"what are its dimensions \(3, 4, 8, 9\)\? Set axes, such as .ZCYX."),
        ((3, 4, 8, 9), {}, {"axes": "ZYX"}, r"names 3 dimensions, the file has 4"),
        ((2, 2, 2, 2, 8, 9), {}, {}, "6 dimensions .* more than a volume has"),
        ((3, 8, 9), {"metadata": {"axes": "CYX"}}, {"channels": [3]}, r"channel 3 is asked for, but the file has 3"),
        ((3, 8, 9), {"metadata": {"axes": "CYX"}}, {"channels": ["DAPI"]}, r"no channels are called 'DAPI'"),
        ((8, 9, 3), {"photometric": "rgb"}, {"rgb": "refuse"}, "colour image, and rgb = .refuse."),
        ((8, 9, 4), {"photometric": "separated"}, {}, "pixels of kind SEPARATED"),
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


def test_a_persons_word_about_an_ome_stack_wins_when_it_fits(tmp_path: Path) -> None:
    image = write(tmp_path / "v.tif", (4, 2, 8, 9), ome=True, metadata={"axes": "TCYX"})
    with open_volume(tmp_path / "v.tif", {"axes": "ZCYX"}) as volume:
        np.testing.assert_array_equal(volume.read(Box((0, 0, 0), (4, 8, 9))), image.swapaxes(0, 1))
    assert len(parts(tmp_path / "v.tif", {"axes": "ZYX"})) == 8, "a word about other files does not concern this one"


def test_images_of_several_sizes_are_scenes_and_thumbnails_are_not(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as tif:
        for n, size in enumerate([(8, 9), (8, 9), (6, 9), (6, 9)]):
            tif.write(np.full(size, n, np.uint8), photometric="minisblack", metadata=None, contiguous=False)
    assert "2 pages without names" in check.problems(tmp_path / "two.tif")[0]
    assert len(parts(tmp_path / "two.tif", {"axes": "ZYX"})) == 2
    for scene, shape in enumerate([(1, 2, 8, 9), (1, 2, 6, 9)]):
        with open_volume(tmp_path / "two.tif", {"axes": "ZYX", "scene": scene}) as volume:
            assert volume.shape == shape
            assert volume.read(Box((0, 0, 0), shape[1:]))[0, :, 0, 0].tolist() == [2 * scene, 2 * scene + 1]
    with tifffile.TiffWriter(tmp_path / "named.tif") as tif:
        for n in (2, 3):
            tif.write(np.full((n, 8, 9), n, np.uint8), photometric="minisblack", metadata={"axes": "ZYX"})
    assert [part.name for part in parts(tmp_path / "named.tif")] == ["scene 1", "scene 2"]
    with tifffile.TiffWriter(tmp_path / "thumb.tif") as tif:
        tif.write(np.ones((8, 9), np.uint8), photometric="minisblack", metadata=None)
        tif.write(np.ones((2, 3), np.uint8), photometric="minisblack", metadata=None, subfiletype=1)
    with open_volume(tmp_path / "thumb.tif") as volume:
        assert volume.shape == (1, 1, 8, 9)


def test_pages_without_order_are_refused(tmp_path: Path) -> None:
    """One page that is unlike the others: a stack that would lose a slice if it were taken for scenes."""
    for name, sizes, compressions in (
        ("size", [(8, 9), (6, 9), (8, 9)], [None] * 3),
        ("last", [(8, 9), (8, 9), (6, 9)], [None] * 3),
        ("compression", [(8, 9)] * 4, [None, None, "zlib", "zlib"]),
    ):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as tif:
            for size, compression in zip(sizes, compressions, strict=True):
                tif.write(
                    np.ones(size, np.uint8),
                    photometric="minisblack",
                    metadata=None,
                    contiguous=False,
                    compression=compression,
                )
        for read in ({}, {"axes": "ZYX"}):
            assert "differ in size, bits or compression" in check.problems(tmp_path / f"{name}.tif", read)[0]


def test_pyramid_levels_are_no_scenes(tmp_path: Path) -> None:
    image = np.arange(3 * 64 * 64).reshape(3, 64, 64).astype(np.uint16)
    with tifffile.TiffWriter(tmp_path / "v.tif", ome=True) as tif:
        tif.write(image, subifds=1, photometric="minisblack", metadata={"axes": "ZYX"}, tile=(32, 32))
        tif.write(image[:, ::2, ::2], subfiletype=1, photometric="minisblack", tile=(32, 32))
    assert check.problems(tmp_path / "v.tif") == []
    assert [part.select for part in parts(tmp_path / "v.tif")] == [{}]
    with open_volume(tmp_path / "v.tif") as volume:
        np.testing.assert_array_equal(volume.read(Box((0, 0, 0), (3, 64, 64)))[0], image)


def test_channel_names(tmp_path: Path) -> None:
    metadata: dict[str, Any] = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    image = write(tmp_path / "ome.tif", (3, 2, 8, 9), ome=True, metadata=metadata)
    labels = {"axes": "ZCYX", "Labels": ["DAPI", "GFP"] * 3}
    write(tmp_path / "imagej.tif", (3, 2, 8, 9), imagej=True, metadata=labels)
    for name in ("ome.tif", "imagej.tif"):
        assert [p.name for p in parts(tmp_path / name)] == ["channel 0 (DAPI)", "channel 1 (GFP)"]
        assert [p.select for p in parts(tmp_path / name, {"channels": ["gfp"]})] == [{}]
        with open_volume(tmp_path / name, {"channels": ["gfp", 0]}) as volume:
            np.testing.assert_array_equal(volume.read(Box((0, 0, 0), (3, 8, 9))), image.swapaxes(0, 1)[::-1])
    slices = {"axes": "ZCYX", "Labels": [f"slice {i}" for i in range(6)]}
    write(tmp_path / "slices.tif", (3, 2, 8, 9), imagej=True, metadata=slices)
    assert [p.name for p in parts(tmp_path / "slices.tif")] == ["channel 0", "channel 1"]


def luminance_by_hand(rgb: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    grey = 0.2126 * rgb[..., 0].astype(float) + 0.7152 * rgb[..., 1].astype(float) + 0.0722 * rgb[..., 2].astype(float)
    return grey.astype(dtype) if dtype.startswith("float") else np.floor(grey + 0.5).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
@pytest.mark.parametrize("alpha", [False, True], ids=["rgb", "rgba"])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib", "rowsperstrip": 3}, {"compression": "lzw", "tile": (16, 16)}], ids=str
)
def test_colour_by_the_declared_rule(
    dtype: str, planar: bool, alpha: bool, options: dict[str, Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (3, 20, 30, 4 if alpha else 3)).astype(dtype)
    stored, axes = (image.transpose(0, 3, 1, 2), "ZSYX") if planar else (image, "ZYXS")
    tifffile.imwrite(
        tmp_path / "v.tif",
        np.ascontiguousarray(stored),
        photometric="rgb",
        planarconfig="separate" if planar else "contig",
        extrasamples=["unassalpha"] if alpha else None,
        metadata={"axes": axes},
        **options,
    )
    assert check.problems(tmp_path / "v.tif") == []
    box = Box((1, 2, 5), (2, 17, 20))
    expected = image[1:3, 2:19, 5:25]
    with open_volume(tmp_path / "v.tif") as volume:
        assert volume.shape == (1, 3, 20, 30)
        assert volume.dtype == dtype
        np.testing.assert_array_equal(volume.read(box)[0], luminance_by_hand(expected, dtype))
        assert "luminance (Rec. 709)" in volume.notes[0]
        assert ("transparency" in " ".join(volume.notes)) == alpha
    names = [part.name for part in parts(tmp_path / "v.tif", {"rgb": "channels"})]
    assert names == ["channel 0 (R)", "channel 1 (G)", "channel 2 (B)"]
    with open_volume(tmp_path / "v.tif", {"rgb": "channels", "channels": ["B", "R"]}) as volume:
        np.testing.assert_array_equal(volume.read(box), expected[..., [2, 0]].transpose(3, 0, 1, 2))
        assert ("transparency" in " ".join(volume.notes)) == alpha
    assert "a colour image, and rgb" in check.problems(tmp_path / "v.tif", {"rgb": "refuse"})[0]


def test_colour_stacks_of_ome_and_imagej(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 255, (2, 16, 18, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "ome.tif", image, photometric="rgb", ome=True, metadata={"axes": "ZYXS"})
    tifffile.imwrite(tmp_path / "imagej.tif", image, photometric="rgb", imagej=True, metadata={"axes": "ZYXS"})
    for name in ("ome.tif", "imagej.tif"):
        assert check.problems(tmp_path / name) == []
        with open_volume(tmp_path / name) as volume:
            np.testing.assert_array_equal(
                volume.read(Box((0, 0, 0), (2, 16, 18)))[0], luminance_by_hand(image, "uint8")
            )


def test_jpeg_in_ycbcr_is_colour(tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :64]
    image = np.stack([4 * y, 4 * x, 2 * (x + y)], axis=-1).clip(0, 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "v.tif", image, photometric="rgb", compression="jpeg", tile=(32, 32))
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        assert int(tif.pages.first.photometric) == 6
    assert check.problems(tmp_path / "v.tif") == []
    with open_volume(tmp_path / "v.tif") as volume:
        found = volume.read(Box((0, 0, 0), (1, 64, 64)))[0, 0].astype(float)
    assert np.abs(found - luminance_by_hand(image, "uint8")).mean() < 3


def test_several_grey_samples_are_channels(tmp_path: Path) -> None:
    image = np.arange(8 * 9 * 5).reshape(8, 9, 5).astype(np.uint16)
    tifffile.imwrite(tmp_path / "v.tif", image, photometric="minisblack", planarconfig="contig")
    assert len(parts(tmp_path / "v.tif")) == 5
    with open_volume(tmp_path / "v.tif", {"channels": [4, 1]}) as volume:
        np.testing.assert_array_equal(
            volume.read(Box((0, 0, 0), (1, 8, 9)))[:, 0], image[..., [4, 1]].transpose(2, 0, 1)
        )


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
        ({"resolution": (300, 300), "resolutionunit": "INCH", "metadata": {"axes": "ZYX"}}, None),
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
        ({"rgb": "grey"}, "rgb"),
        ({"scene": -1}, "scene"),
        ({"time": "first"}, "time"),
        ({"together": 1}, "together"),
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
        assert len(volume._image._planes._cache) == 3  # type: ignore[attr-defined]
    monkeypatch.setattr(tiff_planes, "CACHE_BYTES", 1)
    with open_volume(tmp_path / "v.tif") as volume:
        volume.read(Box((0, 0, 0), (2, 8, 9)))
        assert len(volume._image._planes._cache) == 1  # type: ignore[attr-defined]


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


@pytest.mark.parametrize("slices", [3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_few_slices_that_a_writer_took_for_colours_are_slices_where_it_names_them(
    tmp_path: Path, slices: int, compression: str | None
) -> None:
    """tifffile writes them as planar RGB(A), unless it is told better, and says in its description that they are Z."""
    image = np.random.default_rng(slices).integers(0, 200, (slices, 20, 24), np.uint8)
    options: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate", "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(tmp_path / "v.tif", image, compression=compression, rowsperstrip=7, **options)
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        assert tif.pages[0].photometric.name == "RGB"
    assert check.problems(tmp_path / "v.tif") == []
    with open_volume(tmp_path / "v.tif") as volume:
        assert volume.shape == (1, slices, 20, 24)
        np.testing.assert_array_equal(volume.read(Box((1, 2, 3), (2, 15, 20)))[0], image[1:3, 2:17, 3:23])
    mask, _ = read_labels(tmp_path / "v.tif")
    np.testing.assert_array_equal(mask, image)
