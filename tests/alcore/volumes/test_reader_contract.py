"""The contract of every VolumeReader: a new format adds its ways of writing a volume to FORMS."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alcore.errors import SourceMissingError
from alcore.types import Box
from alcore.volumes import check, open_volume
from alcore.volumes.port import REAL_DTYPES
from alcore.volumes.writers import write_image_tiff
from tests.alcore.volumes import zarr_forms

Image = np.ndarray[Any, Any]
ALL = tuple(REAL_DTYPES)
IMAGEJ = ("uint8", "uint16", "float32")


def tiff(**options: Any) -> Callable[[Path, Image], None]:
    """Write (C, Z, Y, X) with tifffile itself, planes in ImageJ's order."""

    def write(path: Path, image: Image) -> None:
        metadata = {"axes": "ZCYX"}
        tifffile.imwrite(path, image.swapaxes(0, 1), photometric="minisblack", metadata=metadata, **options)

    return write


def pages(path: Path, image: Image) -> None:
    """One page after the other with their directories between them, as microscopes append them; no axes anywhere."""
    with tifffile.TiffWriter(path) as tif:
        for plane in image[0]:
            tif.write(plane, photometric="minisblack", metadata=None, contiguous=False, rowsperstrip=5)


def slices(suffix: str) -> Callable[[Path, Image], None]:
    """A folder with one file per slice."""

    def write(path: Path, image: Image) -> None:
        path.mkdir()
        for z, plane in enumerate(image[0]):
            name = path / f"s_{z + 8}{suffix}"
            if suffix == ".png":
                name.write_bytes(imagecodecs.png_encode(plane))
            else:
                tifffile.imwrite(name, plane, photometric="minisblack", compression="zlib", metadata=None)

    return write


def mrc(path: Path, image: Image) -> None:
    """One volume in MRC2014."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NaN
        with mrcfile.new(path) as f:
            f.set_data(image[0])


def hdf5(**options: Any) -> Callable[[Path, Image], None]:
    """One dataset whose dimensions are labelled."""

    def write(path: Path, image: Image) -> None:
        with h5py.File(path, "w") as f:
            for dimension, label in zip(f.create_dataset("v", data=image, **options).dims, "czyx", strict=True):
                dimension.label = label

    return write


FORMS: dict[str, tuple[Callable[[Path, Image], None], tuple[str, ...], bool]] = {
    "ours": (lambda path, image: write_image_tiff(path, image, None), ALL, True),
    "plain": (tiff(), ALL, True),
    "plain_zlib": (tiff(compression="zlib"), ALL, True),
    "plain_lzw_predictor": (tiff(compression="lzw", predictor=True), ALL, True),
    "plain_zstd_strips": (tiff(compression="zstd", rowsperstrip=3), ALL, True),
    "plain_big_endian": (tiff(byteorder=">"), ALL, True),
    "big_endian_zlib": (tiff(byteorder=">", compression="zlib"), ALL, True),
    "bigtiff": (tiff(bigtiff=True), ALL, True),
    "bigtiff_tiles": (tiff(bigtiff=True, tile=(16, 32)), ALL, True),
    "bigtiff_tiles_zlib": (tiff(bigtiff=True, tile=(32, 16), compression="zlib"), ALL, True),
    "imagej": (tiff(imagej=True), IMAGEJ, True),
    "imagej_zlib": (tiff(imagej=True, compression="zlib"), IMAGEJ, True),
    "ome": (tiff(ome=True), ALL, True),
    "ome_tiles": (tiff(ome=True, tile=(16, 16), compression="zlib"), ALL, True),
    "appended_pages": (pages, ALL, False),
    "mrc": (mrc, ("int8", "int16", "uint16", "float32"), False),
    **{name: (write, ALL, True) for name, write in zarr_forms.FORMS.items()},
    "hdf5": (hdf5(), ALL, True),
    "hdf5_chunks": (hdf5(chunks=True, compression="gzip", shuffle=True), ALL, True),
    "slices_tiff": (slices(".tif"), ALL, False),
    "slices_png": (slices(".png"), ("uint8", "uint16"), False),
}
"""Name -> (how to write (C, Z, Y, X), dtypes it can hold, whether it can hold channels)."""


READ = {"appended_pages": {"axes": "ZYX"}}
"""What a person has to say of forms that do not say it."""


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, Image, tuple[int, ...], list[Box]]:
    """A form, an image that it can hold, the channels to read, and boxes to read."""
    form = draw(st.sampled_from(sorted(FORMS)))
    _, dtypes, has_channels = FORMS[form]
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    c = draw(st.integers(1, 3)) if has_channels else 1
    # tifffile stores a single column as a single row, and no microscope makes one
    z, y, x = draw(st.integers(1, 5)), draw(st.integers(1, 40)), draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = rng.integers(0, 256, (c, z, y, x * dtype.itemsize), np.uint8).view(dtype)
    if dtype.kind == "f":
        image = rng.normal(0, 1000, (c, z, y, x)).astype(dtype)
    channels = tuple(draw(st.permutations(range(c)))[: draw(st.integers(1, c))])
    boxes = []
    for _ in range(4):
        spans = [sorted((draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1)))) for n in (z, y, x)]
        (a, b), (d, e), (f, g) = spans
        boxes.append(Box((a, d, f), (b - a + 1, e - d + 1, g - f + 1)))
    return form, image, channels, boxes


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_any_box_of_any_form_equals_the_array(
    case: tuple[str, Image, tuple[int, ...], list[Box]], tmp_path: Path
) -> None:
    form, image, channels, boxes = case
    path = tmp_path / "volume.tif"
    _remove(path)
    FORMS[form][0](path, image)
    assert check.problems(path, READ.get(form)) == []
    with open_volume(path, {"channels": list(channels), **READ.get(form, {})}) as volume:
        expected = image[list(channels)]
        assert volume.shape == expected.shape
        assert volume.dtype == image.dtype
        assert volume.dtype.isnative
        for box in [*boxes, Box((0, 0, 0), image.shape[1:])]:
            found = volume.read(box)
            assert found.dtype == image.dtype
            np.testing.assert_array_equal(found, expected[(slice(None), *box.slices)])
            found[...] = 0  # a caller may do what it likes with its box


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


@pytest.fixture(params=sorted(FORMS))
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_box_outside_is_an_error(form: str, tmp_path: Path) -> None:
    path = tmp_path / "v.tif"
    FORMS[form][0](path, np.ones((1, 3, 8, 9), np.uint8))
    with open_volume(path, READ.get(form)) as volume:
        for start, shape in [
            ((0, 0, 0), (4, 8, 9)),
            ((-1, 0, 0), (1, 1, 1)),
            ((0, 0, 9), (1, 1, 1)),
            ((0, 0, 0), (0, 1, 1)),
        ]:
            with pytest.raises(ValueError, match=r"not inside volume .*v\.tif"):
                volume.read(Box(start, shape))


def test_nan_and_infinities_read_as_zero(form: str, tmp_path: Path) -> None:
    if "float32" not in FORMS[form][1]:
        pytest.skip("a form without floating point numbers")
    image = np.full((1, 2, 8, 9), 5, np.float32)
    image[0, 1, 2, 3:6] = [np.nan, np.inf, -np.inf]
    FORMS[form][0](tmp_path / "v.tif", image)
    box = Box((0, 0, 0), (2, 8, 9))
    with open_volume(tmp_path / "v.tif", READ.get(form)) as volume:
        assert volume.read(box)[0, 1, 2, 2:7].tolist() == [5, 0, 0, 0, 5]
        np.testing.assert_array_equal(volume.read_as_stored(box), image)


def test_the_file_is_released(form: str, tmp_path: Path) -> None:
    FORMS[form][0](tmp_path / "v.tif", np.ones((1, 2, 8, 9), np.uint8))
    before = sorted(p.name for p in Path("/proc/self/fd").iterdir())
    with open_volume(tmp_path / "v.tif", READ.get(form)) as volume:
        volume.read(Box((0, 0, 0), (1, 1, 1)))
    volume.close()
    assert sorted(p.name for p in Path("/proc/self/fd").iterdir()) == before


def test_a_missing_file_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match=r"gone\.tif: cannot be reached now"):
        open_volume(tmp_path / "gone.tif")


def test_packages_for_one_format_are_imported_for_its_files_only(tmp_path: Path) -> None:
    write_image_tiff(tmp_path / "v.tif", np.ones((1, 2, 8, 9), np.uint8), None)
    script = """
import sys
from pathlib import Path
from alcore.volumes import check, open_volume
assert check.problems(Path(sys.argv[1])) == []
open_volume(Path(sys.argv[1])).close()
print(sorted({"h5py", "mrcfile", "zarr", "nd2", "czifile", "liffile"} & set(sys.modules)))
"""
    argv = [sys.executable, "-c", script, str(tmp_path / "v.tif")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(argv, capture_output=True, text=True, check=True, env=env).stdout == "[]\n"
