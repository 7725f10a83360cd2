"""The images in an OME-Zarr: one, the series of a bioformats2raw layout, or every field of a plate; each at full resolution."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alcore.types import VoxelSize
from alcore.volumes.faults import readable
from alcore.volumes.port import MOST_PARTS, ReadOptions, Scene, chosen_of
from alcore.volumes.zarr_array import ZarrArray, array_of
from alcore.volumes.zarr_axes import channel_names, dimensions, letters_of, scale_of, voxel_of
from alcore.volumes.zarr_tree import Json, Node, Tree

LAYOUTS = (1, 2, 3)
"""Versions of the layout of bioformats2raw: series in numbered groups."""
UNNAMED = (None, "0.1", "0.2")
"""Versions of OME-Zarr in which an image is t, c, z, y, x and nothing says so."""


@dataclass(frozen=True)
class ZarrImage:
    """One image. dims: which dimension of the array each of C, T, Z, Y, X is; the others have size 1."""

    name: str
    array: ZarrArray
    dims: Mapping[str, int]
    channels: tuple[str, ...]
    voxel_um: VoxelSize | None
    notes: tuple[str, ...]

    def size(self, letter: str) -> int:
        """Voxels, channels or time points along one axis."""
        return self.array.shape[self.dims[letter]] if letter in self.dims else 1

    @property
    def scene(self) -> Scene:
        """What there is to choose from."""
        return Scene(self.name, self.size("T"), self.channels)


@dataclass(frozen=True)
class _Place:
    """Where an image is: its group (or plain array), and which of the multiscales there."""

    key: str
    index: int = 0
    name: str = ""


def images_of(path: Path, options: ReadOptions) -> list[ZarrImage]:
    """Every image. Raises UnreadableVolumeError for metadata that are missing, invalid, absurd or ambiguous."""
    tree = Tree(path)
    with readable(path):
        return [_image(tree, place, options) for place in _places(tree)]


def image_of(path: Path, options: ReadOptions) -> ZarrImage:
    """The image that `options.scene` chooses. Raises as `images_of`."""
    tree = Tree(path)
    with readable(path):
        places = _places(tree)
        return _image(tree, places[chosen_of(path, "scene", options.scene, len(places))], options)


def _places(tree: Tree) -> list[_Place]:
    root = tree.node("")
    ome = root.ome
    if root.is_array:
        return [_Place("")]
    if "plate" in ome:
        places = _fields(tree, ome["plate"])
    elif "bioformats2raw.layout" in ome:
        places = _series(tree, ome["bioformats2raw.layout"])
    elif "well" in ome:
        places = _well(tree, root)
    elif "multiscales" in ome:
        n = len(_list(tree, "", ome["multiscales"], "multiscales"))
        places = [_Place("", index) for index in range(n)]
    else:
        raise tree.fault("a zarr group without OME-Zarr metadata (multiscales, plate or bioformats2raw.layout)")
    if len(places) > MOST_PARTS:
        raise tree.fault(f"claims to hold more than {MOST_PARTS} volumes")
    if len({(p.key, p.index) for p in places}) < len(places):
        raise tree.fault("its metadata name an image twice")
    return places


def _fields(tree: Tree, plate: object) -> list[_Place]:
    """Every field of every well of a plate, called by its path, such as A/1/0."""
    places: list[_Place] = []
    for well in _list(tree, "", plate.get("wells") if isinstance(plate, dict) else None, "wells of its plate"):
        key = tree.below("", well.get("path") if isinstance(well, dict) else None)
        places += _well(tree, tree.node(key))
        if len(places) > MOST_PARTS:
            break
    return places


def _well(tree: Tree, node: Node) -> list[_Place]:
    well = node.ome.get("well")
    fields = _list(tree, node.key, well.get("images") if isinstance(well, dict) else None, "images of the well")
    keys = [tree.below(node.key, field.get("path") if isinstance(field, dict) else None) for field in fields]
    return [_Place(key, name=key) for key in keys]


def _series(tree: Tree, layout: object) -> list[_Place]:
    """The series that the group OME lists; without a list: the groups 0, 1, 2... as far as there are any."""
    if layout not in LAYOUTS:
        raise tree.fault(f"bioformats2raw.layout {str(layout)[:20]} is not known", "save it as OME-Zarr 0.4 or 0.5")
    listed = None
    if any(os.path.lexists(tree.folder("OME") / name) for name in ("zarr.json", ".zgroup")):
        listed = tree.node(tree.below("", "OME")).ome.get("series")
    if listed is None:
        found = {entry.name for entry in os.scandir(tree.path) if entry.name.isdecimal()}
        listed = [str(number) for number in range(len(found))]
        if not found or found != set(listed):
            raise tree.fault(f"its series {', '.join(sorted(found)[:20])} are not numbered from 0: is one missing?")
    keys = [tree.below("", path) for path in _list(tree, "OME", listed, "series")]
    return [_Place(key, name=key) for key in keys]


def _list(tree: Tree, key: str, value: object, what: str) -> Sequence[object]:
    if not isinstance(value, list) or not value:
        raise tree.fault(f"{what} {f'of {key} ' if key else ''}missing or empty: was it still being written?")
    return value


def _image(tree: Tree, place: _Place, options: ReadOptions) -> ZarrImage:
    """Understand one image from its group, or from an array that is no image of an OME-Zarr."""
    node = tree.node(place.key)
    if node.is_array:
        return _plain(tree, node, place, options)
    every = _list(tree, place.key, node.ome.get("multiscales"), "multiscales")
    if place.key and len(every) > 1:
        raise tree.fault(f"{place.key} holds {len(every)} multiscales, where one is expected")
    multiscale = every[place.index]
    if not isinstance(multiscale, dict):
        raise tree.fault("multiscales hold what is no JSON object")
    level = _list(tree, place.key, multiscale.get("datasets"), "datasets")[0]
    if not isinstance(level, dict):
        raise tree.fault("datasets hold what is no JSON object")
    inner = tree.node(tree.below(place.key, level.get("path")))
    if not inner.is_array:
        raise tree.fault(f"{inner.key} should be an array and is a group")
    array = array_of(tree, inner)
    letters = _letters(tree, place.key, node, multiscale, array)
    dims = dimensions(tree, letters, array.shape, options)
    axes = multiscale["axes"] if letters is not None and isinstance(multiscale.get("axes"), list) else []
    transformations = [level.get("coordinateTransformations"), multiscale.get("coordinateTransformations")]
    scale = scale_of(tree, place.key, transformations, len(array.shape))
    n_slices = array.shape[dims["Z"]] if "Z" in dims else 1
    voxel_um, notes = voxel_of(dims, n_slices, axes, scale)
    n_channels = array.shape[dims["C"]] if "C" in dims else 1
    told = multiscale.get("name")
    name = place.name or (told if isinstance(told, str) else "")
    return ZarrImage(name, array, dims, channel_names(node.ome, n_channels), voxel_um, notes)


def _plain(tree: Tree, node: Node, place: _Place, options: ReadOptions) -> ZarrImage:
    if place.key:
        raise tree.fault(f"{place.key} should be an image and is an array")
    array = array_of(tree, node)
    letters = "".join(name.upper() for name in array.names or ())
    named = letters.endswith("YX") and not set(letters) - set("CTZYX") and len(set(letters)) == len(letters)
    dims = dimensions(tree, letters if named else None, array.shape, options)
    n_channels = array.shape[dims["C"]] if "C" in dims else 1
    note = "a zarr array without OME-Zarr metadata, which state no voxel size: set voxel_um in the config"
    return ZarrImage(place.name, array, dims, ("",) * n_channels, None, (note,))


def _letters(tree: Tree, key: str, node: Node, multiscale: Json, array: ZarrArray) -> str | None:
    """A letter per dimension; None where the file does not say."""
    n = len(array.shape)
    if "axes" not in multiscale:
        version = multiscale.get("version", node.ome.get("version"))
        if version not in UNNAMED:
            raise tree.fault(f"an image of OME-Zarr {str(version)[:20]} without axes")
        return "TCZYX" if n == 5 else None
    letters = letters_of(tree, key, multiscale["axes"])
    if len(letters) != n:
        raise tree.fault(f"{len(letters)} axes for an array of {n} dimensions {array.shape}")
    return letters
