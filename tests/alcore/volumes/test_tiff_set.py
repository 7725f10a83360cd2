"""Multi-file OME-TIFF: who stands for the set, what is missing, and planes from the right files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alcore.errors import PartOfSetError, UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import check, members, open_volume, parts, tiff_set
from tests.alcore.volumes.ome_set import NAMESPACE, identity, ome, write_ome_set

Image = np.ndarray[Any, Any]


def numbered(t: int, c: int, z: int, y: int = 12, x: int = 14, dtype: str = "uint16") -> Image:
    """(T, C, Z, Y, X) in which every plane is unlike every other."""
    rng = np.random.default_rng(t * 100 + c * 10 + z)
    return rng.integers(1, 200, (t, c, z, y, x)).astype(dtype)


def whole(path: Path, read: dict[str, Any]) -> Image:
    with open_volume(path, read) as volume:
        return volume.read(Box((0, 0, 0), volume.shape[1:]))


@pytest.fixture(params=[None, "s.companion.ome"], ids=["first_file", "companion"])
def companion(request: pytest.FixtureRequest) -> str | None:
    return None if request.param is None else str(request.param)


ORDERS = ["".join(("XY", *rest)) for rest in itertools.permutations("CZT")]
SPLITS: dict[str, Callable[[int, int, int, int], str]] = {
    "a file per slice": lambda s, t, c, z: f"z{z}.tif",
    "a file per channel": lambda s, t, c, z: f"c{c}.tif",
    "a file per time point": lambda s, t, c, z: f"t{t}.ome.tif",
    "a file per scene": lambda s, t, c, z: f"s{s}.tif",
    "a file per plane": lambda s, t, c, z: f"{s}_{t}_{c}_{z}.tif",
    "any": lambda s, t, c, z: f"{(s * 7 + t * 5 + c * 3 + z * 2) % 4}.tif",
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.tuples(*[st.integers(1, 3)] * 3), min_size=1, max_size=3),
    split=st.sampled_from(sorted(SPLITS)),
    order=st.sampled_from(ORDERS),
    described_in=st.sampled_from([None, "s.companion.ome", "s.ome"]),
    compression=st.sampled_from([None, "zlib"]),
)
def test_every_plane_comes_from_its_file(
    sizes: list[tuple[int, int, int]],
    split: str,
    order: str,
    described_in: str | None,
    compression: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("set")
    images = [numbered(*size) + 1000 * s for s, size in enumerate(sizes)]
    files = write_ome_set(folder, images, SPLITS[split], described_in, order, compression=compression)
    owner = folder / (described_in or files[0])
    everything = tuple(sorted({*files, owner.name}))
    if everything == (owner.name,):
        assert members(owner) is None
    else:
        assert members(owner) == everything
    assert check.problems(owner) == []
    expected = []
    for s, (t, c, _) in enumerate(sizes):
        for time in range(t):
            for channel in range(c):
                expected.append(images[s][time, channel])
    found = parts(owner)
    assert len(found) == len(expected)
    for part, image in zip(found, expected, strict=True):
        np.testing.assert_array_equal(whole(owner, dict(part.select))[0], image)
    for name in set(everything) - {owner.name}:
        for ask in (members, parts, open_volume, check.problems):
            with pytest.raises(PartOfSetError) as caught:
                ask(folder / name)
            assert caught.value.detail == {"owner": str(owner), "members": list(everything)}


def test_missing_files_are_counted_and_named(tmp_path: Path, companion: str | None) -> None:
    files = write_ome_set(tmp_path, [numbered(1, 1, 5)], lambda s, t, c, z: f"z{z}.tif", companion)
    owner = tmp_path / (companion or files[0])
    for name in ("z2.tif", "z4.tif"):
        (tmp_path / name).unlink()
    n = 6 if companion else 5
    assert check.problems(owner) == [f"missing 2 of {n} files: z2.tif, z4.tif; copy them too"]
    assert members(owner) is not None
    (tmp_path / "z2.tif").mkdir()
    (tmp_path / "z4.tif").symlink_to("z3.tif")
    assert check.problems(owner) == [f"missing 2 of {n} files: z2.tif, z4.tif; copy them too"]


def test_an_owner_that_is_not_there_yet_is_waited_for(tmp_path: Path, companion: str | None) -> None:
    files = write_ome_set(tmp_path, [numbered(1, 1, 5)], lambda s, t, c, z: f"z{z}.tif", companion)
    owner = tmp_path / (companion or files[0])
    owner.unlink()
    with pytest.raises(PartOfSetError) as caught:
        members(tmp_path / "z3.tif")
    assert caught.value.detail["owner"] == str(owner)
    assert {owner.name, "z3.tif"} <= set(caught.value.detail["members"])


def test_a_member_that_is_cut_or_unlike_the_others_is_named(tmp_path: Path, companion: str | None) -> None:
    files = write_ome_set(tmp_path, [numbered(1, 1, 4)], lambda s, t, c, z: f"z{z}.tif", companion)
    owner = tmp_path / (companion or files[0])
    good = (tmp_path / "z2.tif").read_bytes()
    (tmp_path / "z2.tif").write_bytes(good[: len(good) - 40])
    assert check.problems(owner)[0].startswith("z2.tif: the image data of page 0")
    tifffile.imwrite(tmp_path / "z2.tif", np.ones((12, 15), np.uint16), metadata=None)
    assert "z2.tif: its planes are unlike those of the other files" in check.problems(owner)[0]
    tifffile.imwrite(tmp_path / "z2.tif", np.ones((2, 12, 14), np.uint16), photometric="minisblack", metadata=None)
    assert "z2.tif: 1 of its 2 pages are planes that its OME-XML does not speak of" in check.problems(owner)[0]
    (tmp_path / "z2.tif").write_bytes(good)
    assert check.problems(owner) == []


def test_few_files_are_open_at_a_time(tmp_path: Path, companion: str | None) -> None:
    image = numbered(1, 1, 3 * tiff_set.MOST_OPEN)
    files = write_ome_set(tmp_path, [image, image], lambda s, t, c, z: f"{s}_{z}.tif", companion, compression="zlib")
    owner = tmp_path / (companion or files[0])
    before = len(os.listdir("/proc/self/fd"))
    assert check.problems(owner) == []
    assert len(parts(owner)) == 2
    with open_volume(owner, {"scene": 1}) as volume:
        np.testing.assert_array_equal(volume.read(Box((0, 0, 0), volume.shape[1:]))[0], image[0, 0])
        assert 0 < len(os.listdir("/proc/self/fd")) - before <= tiff_set.MOST_OPEN + 1
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["/etc/passwd", "../z1.tif", "sub/z1.tif", "..", ".", "a\\z1.tif", "a\nb.tif"])
def test_a_file_outside_the_folder_is_never_touched(name: str, tmp_path: Path) -> None:
    data = f'<TiffData IFD="0"><UUID FileName="{name}">urn:uuid:1</UUID></TiffData>'
    pixels = '<Pixels DimensionOrder="XYZCT" Type="uint8" SizeX="9" SizeY="8" SizeZ="1" SizeC="1" SizeT="1">'
    whole = ome(f"<Image>{pixels}{data.replace(chr(10), '&#10;')}</Pixels></Image>", "v.tif")
    only = ome(f'<BinaryOnly MetadataFile="{name.replace(chr(10), "&#10;")}"/>', "v.tif")
    (tmp_path / "v.companion.ome").write_text(whole)
    for index, xml in enumerate((whole, only)):
        path = tmp_path / f"{index}.tif"
        tifffile.imwrite(path, np.ones((8, 9), np.uint8), metadata=None, description=xml.encode())
        for told in (path, tmp_path / "v.companion.ome"):
            with pytest.raises(UnreadableVolumeError, match="names a file outside its folder") as caught:
                open_volume(told)
            assert "\n" not in str(caught.value)
            assert "names a file outside its folder" in check.problems(told)[0]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def test_entities_endless_and_nonsense_descriptions_are_refused(tmp_path: Path) -> None:
    def problem(body: str, prefix: str = "") -> str:
        path = tmp_path / "v.tif"
        xml = prefix + ome(body, "v.tif")
        tifffile.imwrite(path, np.ones((8, 9), np.uint8), metadata=None, description=xml.encode())
        (told,) = check.problems(path)
        with pytest.raises(UnreadableVolumeError):
            open_volume(path)
        (tmp_path / "v.companion.ome").write_text(xml)
        assert check.problems(tmp_path / "v.companion.ome") != []
        return told

    def image(z: object, data: str = "<TiffData/>", width: int = 9) -> str:
        sizes = f'SizeX="{width}" SizeY="8" SizeZ="{z}" SizeC="1" SizeT="1"'
        return f'<Image><Pixels DimensionOrder="XYZCT" Type="uint8" {sizes}>{data}</Pixels></Image>'

    assert "defines entities" in problem("<Image>&b;</Image>", BOMB)
    assert "describes no image" in problem("<Image/>")
    assert "describes no image" in problem("<Plate>" * 5000 + "</Plate>" * 5000)
    assert "cut off or damaged" in problem("<Image>")
    assert "sizes" in problem(image(3_000_000))
    assert "sizes" in problem(image(-1))
    assert "sizes" in problem(image(900_000) * 2)
    assert "invalid literal" in problem(image("many"))
    assert "1 pages are there, page 2 is promised" in problem(image(2))
    assert "1 of the 2 planes" in problem(image(2, '<TiffData IFD="0"/>'))
    assert "planes of 8 x 7 pixels" in problem(image(1, width=7))


def test_a_description_of_more_than_64_mb_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alcore.volumes import tiff_chain, tiff_ome

    monkeypatch.setattr(tiff_chain, "MAX_TEXT_BYTES", 1 << 20)
    monkeypatch.setattr(tiff_ome, "LIMIT_BYTES", 1 << 20)
    xml = ome(f"<!-- {'x' * (1 << 20)} -->", "v.tif")
    tifffile.imwrite(tmp_path / "v.tif", np.ones((8, 9), np.uint8), metadata=None, description=xml.encode())
    (tmp_path / "v.companion.ome").write_text(xml)
    assert "description of more than 1 MB" in check.problems(tmp_path / "v.tif")[0]
    assert "larger than 1 MB" in check.problems(tmp_path / "v.companion.ome")[0]


def test_files_that_point_at_each_other(tmp_path: Path) -> None:
    for name, other in (("a.tif", "b.tif"), ("b.tif", "a.tif"), ("c.tif", "c.tif")):
        xml = ome(f'<BinaryOnly MetadataFile="{other}"/>', name)
        tifffile.imwrite(tmp_path / name, np.ones((8, 9), np.uint8), metadata=None, description=xml.encode())
    for name in ("a.tif", "b.tif", "c.tif"):
        with pytest.raises(UnreadableVolumeError, match=r"describes it, which says that of another file"):
            members(tmp_path / name)


def test_the_owner_is_the_first_file_that_carries_the_description(tmp_path: Path) -> None:
    """As Micro-Manager writes it: the file in the middle describes all, the others point to it."""
    write_ome_set(tmp_path, [numbered(1, 1, 3)], lambda s, t, c, z: f"z{z}.tif")
    image = tifffile.imread(tmp_path / "z0.tif", is_ome=False)
    xml = ome('<BinaryOnly MetadataFile="z1.tif"/>', "z0.tif")
    tifffile.imwrite(tmp_path / "z0.tif", image, metadata=None, photometric="minisblack", description=xml.encode())
    assert members(tmp_path / "z1.tif") == ("z0.tif", "z1.tif", "z2.tif")
    for name in ("z0.tif", "z2.tif"):
        with pytest.raises(PartOfSetError) as caught:
            members(tmp_path / name)
        assert caught.value.detail["owner"] == str(tmp_path / "z1.tif")
    np.testing.assert_array_equal(whole(tmp_path / "z1.tif", {})[0], numbered(1, 1, 3)[0, 0])


def test_a_stranger_in_the_folder_is_no_member(tmp_path: Path) -> None:
    write_ome_set(tmp_path, [numbered(1, 1, 2)], lambda s, t, c, z: f"z{z}.tif", "s.companion.ome")
    (tmp_path / "copy of z1.tif").write_bytes((tmp_path / "z1.tif").read_bytes())
    with pytest.raises(UnreadableVolumeError, match=r"s\.companion\.ome describes it, which does not name it"):
        members(tmp_path / "copy of z1.tif")


def test_a_single_file_that_was_renamed_is_still_itself(tmp_path: Path) -> None:
    image = numbered(1, 1, 3)
    write_ome_set(tmp_path, [image], lambda s, t, c, z: "old name.ome.tif")
    text = (
        (tmp_path / "old name.ome.tif")
        .read_bytes()
        .replace(f' UUID="{identity("old name.ome.tif")}"'.encode(), b" " * 53)
    )
    (tmp_path / "new name.ome.tif").write_bytes(text)
    (tmp_path / "old name.ome.tif").unlink()
    assert members(tmp_path / "new name.ome.tif") is None
    assert check.problems(tmp_path / "new name.ome.tif") == []
    np.testing.assert_array_equal(whole(tmp_path / "new name.ome.tif", {})[0], image[0, 0])


def test_tiffdata_that_says_little(tmp_path: Path) -> None:
    """Attributes that may be left out: one element for everything, or one per file without counts."""
    image = numbered(1, 2, 3)[0].swapaxes(0, 1).reshape(6, 12, 14)  # Z, C: channel fastest
    pixels = (
        '<Image><Pixels DimensionOrder="XYCZT" Type="uint16" SizeX="14" SizeY="12" SizeZ="3" SizeC="2" SizeT="1">'
        '<Channel Name="DAPI"/><Channel Name="GFP"/>{}</Pixels></Image>'
    )
    xml = ome(pixels.format("<TiffData/>"), "v.tif")
    assert NAMESPACE in xml
    tifffile.imwrite(tmp_path / "v.tif", image, photometric="minisblack", metadata=None, description=xml.encode())
    assert check.problems(tmp_path / "v.tif") == []
    np.testing.assert_array_equal(whole(tmp_path / "v.tif", {"channels": ["gfp", "DAPI"]}), numbered(1, 2, 3)[0][::-1])
    files = [f'<TiffData FirstZ="{z}"><UUID FileName="z{z}.tif">urn:uuid:{z}</UUID></TiffData>' for z in range(3)]
    (tmp_path / "s.companion.ome").write_text(ome(pixels.format("".join(files[::-1])), "s.companion.ome"))
    for z in range(3):
        tifffile.imwrite(tmp_path / f"z{z}.tif", image[2 * z : 2 * z + 2], photometric="minisblack", metadata=None)
    assert check.problems(tmp_path / "s.companion.ome") == []
    np.testing.assert_array_equal(whole(tmp_path / "s.companion.ome", {}), numbered(1, 2, 3)[0])


def test_real_companion(real_data: Callable[[str], Path]) -> None:
    folder = real_data("formats") / "viv_ometiff_omezarr" / "sites" / "avivator" / "data"
    owner = folder / "multifile.companion.ome"
    names = tuple(sorted(["multifile.companion.ome", *(f"multifile-Z{z}.ome.tiff" for z in range(1, 6))]))
    assert members(owner) == names
    expected = np.stack([tifffile.imread(folder / f"multifile-Z{z}.ome.tiff", is_ome=False) for z in range(1, 6)])
    np.testing.assert_array_equal(whole(owner, {})[0], expected)
    with pytest.raises(PartOfSetError):
        open_volume(folder / "multifile-Z3.ome.tiff")
