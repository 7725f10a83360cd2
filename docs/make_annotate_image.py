"""Draws docs/images/annotate.png: the annotation window on a synthetic volume, with a Segment Anything of random weights.

Run by `make docs-images` on a virtual screen: `xvfb-run -a python docs/make_annotate_image.py`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PICTURES = ("annotate.png",)
SHAPE, MARGIN, VOXEL_UM = (12, 288, 288), 16, (0.05, 0.01, 0.01)
CORRECTED = 4
"""So many objects of the pseudo-label have been corrected already."""


def suggestion(folder: Path) -> np.ndarray:
    """Write what the stage `package` writes; returns the truth (Z, Y, X)."""
    from alcore.arrays.instancing import relabel_sequential
    from alcore.arrays.synthetic import em_volume
    from alcore.volumes.picture import write_preview
    from alcore.volumes.writers import write_image_tiff, write_labels_tiff

    folder.mkdir(parents=True)
    image, truth = em_volume(SHAPE, VOXEL_UM, np.random.default_rng(3), fraction=0.12)
    truth = truth.astype(np.uint32)
    pseudo = truth.copy()
    ids = np.unique(truth[truth > 0])
    pseudo[np.isin(truth, ids[::4])] = 0  # a pseudo-labeller finds a part of the objects
    pseudo[:, :MARGIN] = pseudo[:, -MARGIN:] = pseudo[:, :, :MARGIN] = pseudo[:, :, -MARGIN:] = 0
    pseudo = relabel_sequential(pseudo)
    write_image_tiff(folder / "image.tif", image[None], VOXEL_UM)
    write_labels_tiff(folder / "pseudo_label.tif", pseudo, SHAPE, "uint16", VOXEL_UM)
    neighbours = []
    for number, distance in enumerate((0.21, 0.24, 0.31), start=1):
        like, there = em_volume((3, 160, 160), VOXEL_UM, np.random.default_rng(10 + number), fraction=0.12)
        write_preview(folder / f"nearest_{number}.png", like[1], there[1])
        near = {"suggestion": f"s0000{number * 2}", "distance": distance, "picture": f"nearest_{number}.png"}
        neighbours.append(near | {"volume_name": "block_02.tif"})
    about = {
        "box": {"start": [96, 512, 768], "shape": [SHAPE[0], SHAPE[1] - 2 * MARGIN, SHAPE[2] - 2 * MARGIN]},
        "margin": {"before": [0, MARGIN, MARGIN], "after": [0, MARGIN, MARGIN]},
        "neighbours": neighbours,
    }
    (folder / "suggestion.json").write_text(json.dumps(about))
    return truth


def main(target: Path) -> int:
    """Open the window, click once into an object, and take its picture."""
    os.environ["NAPARI_CONFIG"] = ""
    import pytest

    from alcore.annotate.order import Order, Weights
    from alcore.annotate.sam import store_embeddings
    from alcore.annotate.window import SIZE_PX, Window, load_libraries
    from alcore.weights.places import digest
    from tests.alcore.pseudo import tiny_sam

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        truth = suggestion(root / "s00011")
        tiny_sam.register(pytest.MonkeyPatch())
        files = tiny_sam.save_checkpoints(root)
        weights = Weights("vit_b_em_organelles", (str(files["plain"]), str(files["decoder"])))
        nothing = np.zeros((1, 256, 64, 64), np.float32)
        store_embeddings(root / "embeddings", digest(files["plain"]), SHAPE[0], lambda z: nothing)
        order = Order(
            "s00011",
            str(root / "s00011"),
            str(root / "work"),
            "ana",
            weights,
            embeddings=str(root / "embeddings"),
            facts=(
                ("where", "block_07.tif, z 96 y 512 x 768"),
                ("size", "12 x 256 x 256 voxels (z, y, x)"),
                ("why", "unlike everything suggested so far, and typical of many patches that wait"),
                ("novelty", "0.338 from what was asked before"),
                ("time", "about 4 min"),
            ),
            progress=("today: 6 labels in 21 min; 2 more until the next round of training",),
            news=("s00010: accepted: 14 objects, for training",),
            reasons=("artefact", "out of focus", "nothing here", "too hard", "other"),
        )
        load_libraries(True)
        window = Window(order)
        _pose(window, truth)
        window.qt.resize(*SIZE_PX)
        _then(window, lambda: _take(window, target))
        window.run()
    return 0


def _pose(window: object, truth: np.ndarray) -> None:
    """As in the middle of work: some objects corrected, one prompted."""
    viewer = window.viewer  # type: ignore[attr-defined]
    z = SHAPE[0] // 2
    inside = truth[z, 60:-60, 60:-60]
    ids, sizes = np.unique(inside[inside > 0], return_counts=True)
    prompted = int(ids[np.argmax(sizes)])
    labels = viewer.layers["committed_objects"].data
    for identity in ids[np.argsort(sizes)][:CORRECTED]:
        labels[(truth == identity)] = labels.max() + 1
    labels[truth == prompted] = 0
    viewer.layers["committed_objects"].data = labels
    spots = np.argwhere(truth[z] == prompted)
    spot = spots[len(spots) // 2]
    viewer.layers["point_prompts"].data = np.array([[z, *spot]], float)
    current = np.zeros_like(labels)
    current[truth == prompted] = 1
    viewer.layers["current_object"].data = current
    window.session.activity.active_s = 130.0  # type: ignore[attr-defined]


def _then(window: object, act: object) -> None:
    from qtpy.QtCore import QTimer

    QTimer.singleShot(2500, act)


def _take(window: object, target: Path) -> None:
    from qtpy.QtCore import QTimer

    picture = window.qt.grab()  # type: ignore[attr-defined]
    picture.save(str(target))
    QTimer.singleShot(0, window.viewer.close)  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parent / "images" / "annotate.png"))
