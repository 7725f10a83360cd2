"""From patches to unit vectors: deterministic, nothing masked, shuffled or augmented. One way for every kind of features."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alcore.encoder import descriptor, pooling
from alcore.encoder.ahead import ahead
from alcore.encoder.features import Features
from alcore.encoder.resample import resample
from alcore.encoder.slices import READ_LIMIT_PX, patch_windows, read_windows
from alcore.encoder.standardise import Standardisation
from alcore.errors import PermanentError
from alcore.types import Box, IntensityStats
from alcore.volumes.port import VolumeReader

DESCRIPTION = "encoder.json"
BATCH = 64
"""Slices that are described at a time."""


@dataclass(frozen=True)
class Embedded:
    """The patches of one volume as vectors.

    vectors (N, dim) float32, rows of length 1. flat: ascending rows of patches that have no direction of their own: in
    none of the slices that were read two voxels differ (empty, or NaN throughout), or they are exactly the average of the
    training slices. They all have the vector `Standardisation.nowhere`.
    """

    vectors: NDArray[np.float32]
    flat: list[int]


class Embedder:
    """Features and their standardisation: all that embeds patches of any volume with that number of channels.

    pooling: how a patch's slices become one vector, see `alcore.encoder.pooling`.
    """

    def __init__(self, features: Features, standardisation: Standardisation, slice_pooling: str = "mean") -> None:
        pooling.check(slice_pooling)
        self.features = features
        self.standardisation = standardisation
        self.pooling = slice_pooling

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return len(self.standardisation.mean)

    def images(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, dim) of images (N, C, image_px, image_px), each as if it were a patch of one slice, normalised already."""
        moments = self._moments(len(images))
        moments.add(range(len(images)), self.features(images))
        return self.standardisation.unit(moments.pooled(self._usual_spread))

    def patches(
        self,
        reader: VolumeReader,
        boxes: Sequence[Box],
        stats: Sequence[IntensityStats],
        tick: Callable[[int], None],
        read_px: int = READ_LIMIT_PX,
    ) -> Embedded:
        """Embeddings of patches of one volume, in the order of `boxes`.

        Of each patch at most `SLICES_PER_PATCH` evenly spaced slices are read, normalised with the volume's `stats`,
        resampled whole to image_px x image_px (a patch that is not square is stretched), described, and pooled; then
        standardised (see `Standardisation`) and scaled to length 1. Memory does not grow with the volume.
        `tick` is called with the number of slices just embedded, and may raise to stop.
        read_px: see `read_windows`.
        """
        moments = self._moments(len(boxes))
        flat = np.ones(len(boxes), bool)
        # the next slices are read while the present ones are described
        with closing(ahead(_batches(reader, boxes, stats, self.features.image_px, read_px))) as batches:
            for batch in batches:
                moments.add(batch.rows, self.features(batch.images))
                flat[batch.rows[batch.textured]] = False
                tick(len(batch.rows))
        features = moments.pooled(self._usual_spread)
        flat |= ~self.standardisation.has_direction(features)
        vectors = self.standardisation.unit(features)
        vectors[flat] = self.standardisation.nowhere
        return Embedded(vectors, [int(row) for row in np.flatnonzero(flat)])

    def _moments(self, n: int) -> pooling.SliceMoments:
        return pooling.SliceMoments(n, self.features.dim, self.pooling)

    @property
    def _usual_spread(self) -> NDArray[np.float64]:
        return self.standardisation.mean[self.features.dim :]

    def save(self, out: Path, about: Mapping[str, Any]) -> None:
        """Write `encoder.json` (design, pooling, standardisation and `about`: how it was made) and the weights, if it has any."""
        save_weights: Callable[[Path], None] | None = getattr(self.features, "save", None)
        if save_weights is not None:
            save_weights(out)
        description = {
            "kind": self.features.kind,
            "design": self.features.to_json(),
            "pooling": self.pooling,
            "standardisation": self.standardisation.to_json(),
            **about,
        }
        (out / DESCRIPTION).write_text(json.dumps(description, indent=1, allow_nan=False))

    @classmethod
    def load(cls, directory: Path, device: str) -> Embedder:
        """Inverse of `save`. Raises PermanentError, naming the folder, when the files do not fit together."""
        from safetensors import SafetensorError

        try:
            description = json.loads((directory / DESCRIPTION).read_text())
            features = _features(description, directory, device)
            standardisation = Standardisation.from_json(description["standardisation"])
            loaded = cls(features, standardisation, description.get("pooling", "mean"))
            expected = features.dim * (2 if loaded.pooling == "mean_std" else 1)
            if loaded.dim != expected:
                raise ValueError(f"its standardisation has {loaded.dim} dimensions, its features {expected}")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as e:
            raise PermanentError(
                f"{directory}: not a readable encoder ({type(e).__name__}: {e}); train it again"
            ) from e
        return loaded


@dataclass(frozen=True)
class _Batch:
    """Slices to be described: rows (n,) of their patches, images (n, C, px, px), textured (n,) whether any two voxels differ."""

    rows: NDArray[np.intp]
    images: NDArray[np.float32]
    textured: NDArray[np.bool_]


def _batches(
    reader: VolumeReader, boxes: Sequence[Box], stats: Sequence[IntensityStats], px: int, read_px: int
) -> Iterator[_Batch]:
    """All slices of `boxes` that are embedded, `BATCH` at a time, in the order of z."""
    windows = [(row, w) for row, box in enumerate(boxes) for w in patch_windows(box)]
    rows: list[int] = []
    images: list[NDArray[np.float32]] = []
    textured: list[bool] = []
    for i, image in read_windows(reader, [w for _, w in windows], stats, read_px):
        rows.append(windows[i][0])
        textured.append(bool((image != image[:, :1, :1]).any()))
        images.append(resample(image, px, px))
        if len(rows) == BATCH:
            yield _Batch(np.array(rows), np.stack(images), np.array(textured))
            rows, images, textured = [], [], []
    if rows:
        yield _Batch(np.array(rows), np.stack(images), np.array(textured))


def _features(description: Mapping[str, Any], directory: Path, device: str) -> Features:
    """The features that a description names. Encoders made before there were descriptors do not say their kind."""
    design = description["design"]
    kind = description.get("kind", "mae")
    if kind == descriptor.KIND:
        if design["version"] != descriptor.VERSION:
            raise ValueError(f"made by version {design['version']} of the descriptor, this is {descriptor.VERSION}")
        return descriptor.Descriptor(design["channels"], design["image_px"])
    if kind != "mae":
        raise ValueError(f"kind {kind!r} is not known")
    from alcore.encoder.design import Design
    from alcore.encoder.mae import Encoder
    from alcore.encoder.vit import ViTFeatures

    return ViTFeatures.load(Encoder(Design.from_json(design)), directory, device)


_WARM_MOST = 2
"""The encoder that serves and the one that is about to."""

_warm: OrderedDict[tuple[str, str, str], Embedder] = OrderedDict()


def warm(directory: Path, key: str, device: str) -> Embedder:
    """The encoder of an artifact, read once in the life of a process: `load` for the next volumes costs nothing.

    Artifacts never change, so that path and key say all. The two used last are kept.
    """
    name = (str(directory), key, device)
    if name not in _warm:
        _warm[name] = Embedder.load(directory, device)
    _warm.move_to_end(name)
    while len(_warm) > _WARM_MOST:
        _warm.popitem(last=False)
    return _warm[name]
