"""Stage kept_embedding: what was kept of a patch has the vector that the patch had in its acquisition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.arrays.synthetic import em_volume
from alcore.artifact import ArtifactStore
from alcore.encoder.descriptor import Descriptor
from alcore.encoder.embed import Embedder
from alcore.encoder.standardise import Standardisation
from alcore.errors import PermanentError, Preempted
from alcore.run import QuietContext, execute
from alcore.stage import Input
from tests.alcore.stages.test_embedding import encoder_at

VOXEL = (0.04, 0.02, 0.02)
PATCH = [8, 32, 32]
MARGIN = [2, 8, 8]


class Bench:
    """A volume with packages of some of its patches, and a label of one."""

    def __init__(self, root: Path, image: np.ndarray[Any, Any]) -> None:
        self.root, self.store = root, ArtifactStore(root / "artifacts")
        path = root / "v.tif"
        axes = "ZYX" if image.ndim == 3 else "ZCYX"
        tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": axes}, imagej=image.ndim == 4)
        self.read = {"together": True} if image.ndim == 4 else {}
        self.source = Input(path, "file:1")
        params = {"read": self.read, "voxel_um": VOXEL, "patch": {"shape_px": PATCH}, "fingerprint": None}
        self.volume = self.made("volume", {"source": [self.source]}, {**params, "limit_gb": 1.0})
        self.boxes = json.loads((self.volume.path / "patches.json").read_text())

    def made(self, stage: str, inputs: dict[str, list[Input]], params: dict[str, Any]) -> Input:
        key = execute(stage, inputs, params, self.store, self.ctx()).key
        return Input(self.store.path(key), key)

    def ctx(self) -> QuietContext:
        return QuietContext(self.root / "scratch", self.root / "cache")

    def package(self, row: int) -> Input:
        told = {"id": f"s{row}", "distance": None, "reason": "", "volume_name": "v"}
        params = {"read": self.read, "box": self.boxes[row], "margin": MARGIN, "suggestion": told}
        return self.made("package", {"volume": [self.volume], "source": [self.source]}, params)

    def label(self, row: int) -> Input:
        mask = self.root / f"s{row}.tif"
        labels = np.zeros(PATCH, np.uint16)
        labels[2:5, 4:12, 4:12] = 1
        tifffile.imwrite(mask, labels)
        inputs = {"file": [Input(mask, "file:2")], "package": [self.package(row)], "volume": [self.volume]}
        return self.made("label", inputs, {"suggestion": f"s{row}", "box": self.boxes[row], "confirm_empty": False})

    def embedded(self, encoder: Input) -> np.ndarray[Any, Any]:
        inputs = {"encoder": [encoder], "volume": [self.volume], "source": [self.source]}
        found: np.ndarray[Any, Any] = np.load(
            self.made("embedding", inputs, {"read": self.read}).path / "embeddings.npy"
        )
        return found

    def kept(self, encoder: Input, images: dict[int, Input]) -> tuple[Path, dict[str, Any]]:
        inputs = {"encoder": [encoder], "volume": [self.volume], "image": list(images.values())}
        made = execute("kept_embedding", inputs, {"rows": list(images)}, self.store, self.ctx())
        return self.store.path(made.key), made.result


def descriptor_at(folder: Path) -> Input:
    folder.mkdir()
    features, rng = Descriptor(1, 32), np.random.default_rng(0)
    images = rng.normal(size=(24, 1, 32, 32)).astype(np.float32).cumsum(axis=2) / 4
    Embedder(features, Standardisation.measured(features, images, rng)).save(folder, {})
    return Input(folder, "descriptor-1")


@pytest.mark.parametrize("kind", ["descriptor", "mae"])
def test_a_kept_patch_has_the_vector_that_it_had_in_its_volume(tmp_path: Path, kind: str) -> None:
    """Of a package with its margin and of a label alike, at the corner of the volume and within it, file or no file."""
    image, _ = em_volume((16, 64, 96), VOXEL, np.random.default_rng(0))
    image[8:, 32:, 64:] = 90  # a patch that shows nothing
    bench = Bench(tmp_path, image)
    encoder = descriptor_at(tmp_path / "e") if kind == "descriptor" else encoder_at(tmp_path / "e")
    whole = bench.embedded(encoder)
    images = {7: bench.label(7), 0: bench.package(0), 11: bench.package(11), 4: bench.package(4)}
    bench.source.path.unlink()
    folder, result = bench.kept(encoder, images)
    vectors, rows = np.load(folder / "embeddings.npy"), np.load(folder / "patches.npy")
    assert rows.tolist() == [0, 4, 7, 11]
    assert result == {"n": 4, "dim": whole.shape[1], "flat": [3]}
    if kind == "descriptor":
        np.testing.assert_array_equal(vectors, whole[rows])
    else:
        np.testing.assert_allclose(vectors, whole[rows], atol=1e-5)  # other company in a batch, other rounding
    assert np.abs(whole[rows] - whole[[1, 5, 8, 10]]).max() > 0.05, "or any vector would do"


def test_floats_without_a_value_and_several_channels(tmp_path: Path) -> None:
    image = np.random.default_rng(1).normal(size=(8, 2, 64, 64)).astype(np.float32).cumsum(axis=3)
    image[3, 0, 5, 5] = np.nan
    bench = Bench(tmp_path, image)
    encoder = encoder_at(tmp_path / "e", channels=2)
    folder, _ = bench.kept(encoder, {0: bench.package(0), 3: bench.package(3)})
    np.testing.assert_allclose(np.load(folder / "embeddings.npy"), bench.embedded(encoder)[[0, 3]], atol=1e-5)


def test_what_is_not_of_the_patch_is_refused(tmp_path: Path) -> None:
    image, _ = em_volume((8, 64, 64), VOXEL, np.random.default_rng(0))
    bench = Bench(tmp_path, image)
    encoder, package = descriptor_at(tmp_path / "e"), bench.package(0)
    with pytest.raises(PermanentError, match=r"is of patch 4, the volume has 4"):
        bench.kept(encoder, {4: package})
    with pytest.raises(PermanentError, match=r"image\.tif: has 1 channels, the encoder was trained on 2"):
        bench.kept(encoder_at(tmp_path / "two", channels=2), {0: package})
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    tifffile.imwrite(
        foreign / "image.tif", image[None, :, :20, :20], metadata={"axes": "CZYX"}, photometric="minisblack"
    )
    with pytest.raises(PermanentError, match=r"image\.tif: is \(8, 20, 20\), patch 0 with its margin \(8, 32, 32\)"):
        bench.kept(encoder, {0: Input(foreign, "foreign")})
    (foreign / "suggestion.json").write_text('{"margin": {"before": [1]')
    with pytest.raises(PermanentError, match=r"suggestion\.json: does not say where the patch is in image\.tif"):
        bench.kept(encoder, {0: Input(foreign, "foreign-2")})

    class Asked(QuietContext):
        def should_stop(self) -> bool:
            return True

    inputs = {"encoder": [encoder], "volume": [bench.volume], "image": [package]}
    with pytest.raises(Preempted, match="0 of 1 kept patches"):
        execute("kept_embedding", inputs, {"rows": [0]}, bench.store, Asked(tmp_path / "s", tmp_path / "c"))
