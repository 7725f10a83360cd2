"""A model as a package for bioimage.io (specification 0.5): TorchScript weights, which need none of our code, and rdf.yaml."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.export.nnunet_layout import about, told_apart
from alcore.nnunet import model
from alcore.nnunet.model import Design

Floats = npt.NDArray[np.float32]
EPS = 1e-6
OBJECTS = "objects.py"
CITE = (
    ("Isensee et al. 2021, nnU-Net", "10.1038/s41592-020-01008-z"),
    (
        "Zhao, Zhou, Chen 2025, Active Learning Pipeline for Biomedical Image Instance Segmentation",
        "10.1007/978-3-658-47422-5_47",
    ),
)


@dataclass(frozen=True)
class Credits:
    """Who made the model, and under which licence (SPDX) it is passed on."""

    authors: Sequence[str]
    license: str


def export_bioimage(source: Path, target: Path, name: str, made_by: Credits) -> None:
    """Write the package of the model directory `source` into the new folder `target`.

    The network takes images on its own grid (see `binning` in rdf.yaml's config), at least one patch large, and gives a
    probability for each class. The preprocessing that rdf.yaml states is that of training: clipping to the 0.5 and 99.5
    percentiles, zero mean, unit variance. bioimageio.core takes all statistics before it changes anything, as we do; a reader
    that takes mean and deviation after clipping differs a little. objects.py, which is attached, makes objects of the likeliest
    class of every voxel.
    """
    import torch

    target.mkdir(parents=True)
    design = model.load_design(source)
    network = _network(design, model.load_weights(source))
    patch = design.patch_px
    image = _example(design)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch: scripts of its own age, and that what is traced is not checked
        prepared = torch.from_numpy(preprocessed(image))
        script = torch.jit.trace(network, prepared, check_trace=False)
        script.save(str(target / "weights.pt"))
        result = script(prepared).numpy()
    np.save(target / "test_input.npy", image)
    np.save(target / "test_output.npy", result)
    (target / "README.md").write_text(_readme(design, name))
    (target / "about.json").write_text(json.dumps(about(design, name), indent=1))
    shutil.copyfile(Path(__file__).with_name("objects_script.py"), target / OBJECTS)
    _cover(target / "cover.png", image, result)
    page = _page(design, name, made_by, target, patch, torch.__version__.split("+")[0])
    (target / "rdf.yaml").write_text(json.dumps(page, indent=1))  # JSON is YAML


def preprocessed(image: Floats) -> Floats:
    """The preprocessing that rdf.yaml states, of (1, C, ...) float32, channel by channel, as bioimageio.core carries it out:
    percentiles are values of voxels."""
    axes = tuple(range(2, image.ndim))
    low, high = (np.percentile(image, q, axis=axes, keepdims=True, method="inverted_cdf") for q in (0.5, 99.5))
    mean, std = image.mean(axis=axes, keepdims=True), image.std(axis=axes, keepdims=True)
    return np.asarray((np.clip(image, low, high) - mean) / (std + EPS), np.float32)


def _network(design: Design, weights: dict[str, Any]) -> Any:
    """The network with probabilities at its end, ready to trace."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(dict(design.plans))
    setup = manager.get_configuration(design.configuration)
    network = nnUNetTrainer.build_network_architecture(manager, setup, design.n_channels, design.n_classes, False)
    network.load_state_dict(weights)
    return torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval()


def _example(design: Design) -> Floats:
    """An image (1, C, ...) of one patch: smooth noise, always the same."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, design.n_channels, *design.patch_px))
    smooth = ndimage.gaussian_filter(noise, (0, 0, *[2] * len(design.patch_px)))
    return np.asarray(100 + 1000 * smooth, np.float32)


def _page(
    design: Design, name: str, made_by: Credits, folder: Path, patch: Sequence[int], torch_version: str
) -> dict[str, Any]:
    strides = np.array(_strides(design)).prod(axis=0)
    axes = "zyx"[-len(patch) :]
    voxel = (
        [None] * 3 if design.voxel_um is None else [v * f for v, f in zip(design.voxel_um, design.binning, strict=True)]
    )
    scales = voxel[-len(patch) :]

    def space(axis: str, size: Any, scale: float | None) -> dict[str, Any]:
        known = {} if scale is None else {"unit": "micrometer", "scale": scale}
        return {"type": "space", "id": axis, "size": size, **known}

    channels = {"type": "channel", "channel_names": [f"channel_{c}" for c in range(design.n_channels)]}
    classes = {"type": "channel", "channel_names": list(model.classes_of(design.dataset))}
    sizes = [{"min": int(p), "step": int(s)} for p, s in zip(patch, strides, strict=True)]
    same = [{"tensor_id": "image", "axis_id": a} for a in axes]
    every = {"axes": list(axes)}
    return {
        "type": "model",
        "format_version": "0.5.4",
        "name": f"alscope {name}",
        "description": "Foreground of objects in microscopy volumes: an nnU-Net trained by active learning with alscope.",
        "authors": [{"name": author} for author in made_by.authors],
        "cite": [{"text": text, "doi": doi} for text, doi in CITE],
        "license": made_by.license,
        "documentation": {"source": "README.md", **_sha(folder / "README.md")},
        "covers": [{"source": "cover.png", **_sha(folder / "cover.png")}],
        "attachments": [{"source": name, **_sha(folder / name)} for name in ("about.json", OBJECTS)],
        "tags": ["nnunet", "segmentation", "active-learning"],
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "version": "0.1.0",
        "config": {"alscope": about(design, name)},
        "inputs": [
            {
                "id": "image",
                "description": "A volume on the grid of the network",
                "axes": [
                    {"type": "batch"},
                    channels,
                    *(space(a, size, s) for a, size, s in zip(axes, sizes, scales, strict=True)),
                ],
                "data": {"type": "float32"},
                "test_tensor": {"source": "test_input.npy", **_sha(folder / "test_input.npy")},
                "preprocessing": [
                    {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
                    {"id": "clip", "kwargs": {"min_percentile": 0.5, "max_percentile": 99.5, **every}},
                    {"id": "zero_mean_unit_variance", "kwargs": {"eps": EPS, **every}},
                ],
            }
        ],
        "outputs": [
            {
                "id": "probabilities",
                "description": "Of each class, background first",
                "axes": [
                    {"type": "batch"},
                    classes,
                    *(space(a, size, s) for a, size, s in zip(axes, same, scales, strict=True)),
                ],
                "data": {"type": "float32"},
                "test_tensor": {"source": "test_output.npy", **_sha(folder / "test_output.npy")},
            }
        ],
        "weights": {
            "torchscript": {"source": "weights.pt", **_sha(folder / "weights.pt"), "pytorch_version": torch_version}
        },
    }


def _strides(design: Design) -> list[list[int]]:
    kwargs = design.plans["configurations"][design.configuration]["architecture"]["arch_kwargs"]
    return [[int(n) for n in stage] for stage in kwargs["strides"]]


def _sha(path: Path) -> dict[str, str]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _cover(path: Path, image: Floats, probabilities: Floats) -> None:
    """The middle plane of the example, and beside it where the network takes it for an object."""
    from PIL import Image

    def plane(values: Floats) -> Floats:
        return values[len(values) // 2] if values.ndim == 3 else values

    grey, found = plane(image[0, 0]), plane(1 - probabilities[0, 0])
    low, high = float(grey.min()), float(grey.max())
    pair = np.concatenate([(grey - low) / max(high - low, 1e-6), found], axis=1)
    Image.fromarray(np.asarray(255 * pair.clip(0, 1), np.uint8)).resize((512, 256)).save(path)


def _readme(design: Design, name: str) -> str:
    z, y, x = design.binning
    size = "unknown" if design.voxel_um is None else " x ".join(f"{v:g}" for v in design.voxel_um) + " um"
    return f"""# alscope {name}

An nnU-Net ({design.configuration}) that was pre-trained on pseudo-labels and fine-tuned on the labels of experts, chosen by
active learning.

It was made for voxels of {size} (z, y, x); {z} x {y} x {x} of them, averaged, are one voxel of its input. It gives the
probability of each class ({", ".join(model.classes_of(design.dataset))}). The attached objects.py makes objects of them:
`objects(classes, about)` takes the most likely class of each voxel, and about.json.

{told_apart(design)}

## Validation

It was judged in alscope on patches that no model was trained on; the figures stay with the workspace. Before use, compare it
with labels of your own: it has seen one microscope and one kind of specimen. In training an image was normalised with the
statistics of its whole volume, so give whole volumes, or large parts of them.
"""
