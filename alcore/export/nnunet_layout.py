"""A model in the layout of plain nnU-Net, which predicts with it in an environment that does not know us."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from alcore.nnunet import model
from alcore.nnunet.model import Design
from alcore.nnunet.targets import classes_of

DATASET = "Dataset001_alscope"
TRAINER = "nnUNetTrainer"


def export_nnunet(source: Path, target: Path, name: str) -> Path:
    """Write the model directory `source` to the new folder `target`; returns the trained-model folder inside.

    nnUNet_results/Dataset001_alscope/nnUNetTrainer__plans__<configuration>/ holds dataset.json, plans.json,
    dataset_fingerprint.json and fold_all/checkpoint_final.pth. Our images are normalised with statistics of the whole
    volume, clipped to its percentiles, and may be binned, which no scheme of nnU-Net's can say: prepare.py does it, and
    the plans say "NoNormalization". objects.py brings the result back to the grid of the image and tells objects apart as
    the model was trained to. The checkpoint forbids mirroring, which we do not do either. Raises PermanentError for a
    model that cannot be read.
    """
    import torch

    design = model.load_design(source)
    weights = model.load_weights(source)
    plans = {**design.plans, "dataset_name": DATASET, "plans_name": "plans"}
    folder = target / "nnUNet_results" / DATASET / f"{TRAINER}__plans__{design.configuration}"
    (folder / "fold_all").mkdir(parents=True)
    dataset = {k: v for k, v in design.dataset.items() if k != "dataset"}
    for file, value in (
        ("plans.json", plans),
        ("dataset.json", dataset),
        ("dataset_fingerprint.json", design.fingerprint),
    ):
        (folder / file).write_text(json.dumps(value, indent=1))
    checkpoint = {
        "network_weights": weights,
        "optimizer_state": None,
        "grad_scaler_state": None,
        "logging": {},
        "_best_ema": None,
        "current_epoch": 0,
        "init_args": {
            "plans": plans,
            "configuration": design.configuration,
            "fold": "all",
            "dataset_json": dataset,
        },
        "trainer_name": TRAINER,
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_all" / "checkpoint_final.pth")
    here = Path(__file__)
    shutil.copyfile(here.with_name("prepare_script.py"), target / "prepare.py")
    shutil.copyfile(here.with_name("objects_script.py"), target / "objects.py")
    (target / "about.json").write_text(json.dumps(about(design, name), indent=1))
    (target / "README.md").write_text(_readme(design, name))
    return folder


def about(design: Design, name: str) -> dict[str, Any]:
    """What the scripts have to know. spacing: (z, y, x) of the network grid, as planned."""
    spacing = [float(s) for s in design.plans["configurations"][design.configuration]["spacing"]]
    if len(spacing) == 2:  # a 2D configuration does not look at the distance of planes
        spacing = [1.0, *spacing]
    return {
        "model": name,
        "channels": design.n_channels,
        "binning": list(design.binning),
        "voxel_um": design.voxel_um,
        "spacing": spacing,
        "configuration": design.configuration,
        "classes": classes_of(design.dataset),
        "min_voxels": design.min_voxels,
        "least_core": design.least_core,
        "border": None if design.border is None else design.border.to_json(),
    }


def _readme(design: Design, name: str) -> str:
    made_for = "unknown" if design.voxel_um is None else " x ".join(f"{v:g}" for v in design.voxel_um) + " um (z, y, x)"
    z, y, x = design.binning
    return f"""# {name}, for plain nnU-Net

Made for voxels of {made_for}; {z} x {y} x {x} of them are one network pixel.
In an environment with nnunetv2 alone (without a GPU add `-device cpu` to the second command):

```sh
python prepare.py prepared volume.tif          # fixed normalisation and binning, as in training
nnUNet_results=$PWD/nnUNet_results nnUNet_raw=/tmp nnUNet_preprocessed=/tmp \\
  nnUNetv2_predict -i prepared -o predicted -d 1 -c {design.configuration} -p plans -tr {TRAINER} -f all \\
  --save_probabilities
python objects.py predicted objects volume.tif  # on the voxels of the image: ids 1..n
```

nnU-Net normalises an image by itself or not at all. This model saw every voxel with the statistics of its whole volume: clipped
to the 0.5 and 99.5 percentiles, minus the mean, divided by the standard deviation. That is what prepare.py does; the plans
tell nnU-Net to leave the image alone. Give it whole volumes. Without it the result is worthless.

{told_apart(design)}
Objects of fewer than {design.min_voxels} voxels are left out (min_voxels in about.json).
"""


def told_apart(design: Design) -> str:
    """What is an object, in words for whoever uses the model."""
    if design.border is None:
        return "Objects are the 6-connected components of the foreground; objects.py numbers them."
    pace = "at one pace, first within their planes, then across them" if design.border.in_plane else "at one pace"
    return (
        "The network tells cores (class 1) from borders (class 2), so that objects in contact stay apart: objects.py takes\n"
        f"every 6-connected core for an object and lets all of them grow into the borders, {pace}.\n"
        "Foreground that no core reaches is an object of its own."
    )
