"""A model is loaded if it is the one that was written: other weights, another plan or a plan that names a program are refused."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from alcore.artifact import ArtifactStore, as_written
from alcore.errors import PermanentError
from alcore.nnunet import model

PLANS = {
    "configurations": {
        "2d": {
            "spacing": [1.0, 1.0],
            "patch_size": [32, 32],
            "batch_size": 2,
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                "arch_kwargs": {
                    "features_per_stage": [8, 16],
                    "conv_op": "torch.nn.modules.conv.Conv2d",
                    "nonlin": None,
                },
                "_kw_requires_import": ["conv_op", "nonlin"],
            },
        }
    }
}
DATASET = {"labels": {"background": 0, "object": 1}, "channel_names": {"0": "grey"}}
DESIGN = model.Design("tiny", "2d", (1, 1, 1), PLANS, DATASET, {}, None, 1)


def written(root: Path, design: model.Design = DESIGN) -> Path:
    """A model as an artifact."""
    store, key = ArtifactStore(root / "artifacts"), f"finetune-{'0' * 40}"

    def fill(out: Path) -> dict[str, Any]:
        (root / "log").write_text("")
        model.save(out, design, {"w": torch.ones(2)}, root / "log", {"min_voxels": 1})
        return {}

    store.create(key, "finetune", 1, {}, {}, fill)
    return store.path(key)


def other_weights(folder: Path) -> None:
    torch.save({"network_weights": {"w": torch.zeros(2)}}, folder / "weights.pt")


def other_plan(folder: Path) -> None:
    """The plan and what says which plan it is, both."""
    plans = copy.deepcopy(PLANS)
    plans["configurations"]["2d"]["batch_size"] = 3
    design = dataclasses.replace(DESIGN, plans=plans)
    about = json.loads((folder / "model.json").read_text())
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "model.json").write_text(json.dumps(about | {"digest": design.digest}))


@pytest.mark.parametrize(("change", "load"), [(other_weights, model.load_weights), (other_plan, model.load_design)])
def test_what_was_exchanged_is_not_loaded(
    tmp_path: Path, change: Callable[[Path], None], load: Callable[[Path], object]
) -> None:
    folder = written(tmp_path)
    load(folder)
    for path in folder.iterdir():
        path.chmod(0o640)
    change(folder)
    with pytest.raises(PermanentError, match=r"is not the file that alscope wrote"):
        load(folder)


def test_a_file_that_is_missing_is_for_whoever_opens_it(tmp_path: Path) -> None:
    folder = written(tmp_path)
    folder.chmod(0o750)
    (folder / "weights.pt").unlink()
    as_written(folder, "weights.pt")
    with pytest.raises(PermanentError, match="weights cannot be read"):
        model.load_weights(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("network_class_name", "subprocess.Popen"), ("conv_op", "os.system"), ("nonlin", "torch.nnx.Evil")],
)
def test_a_plan_that_names_a_program_is_refused(tmp_path: Path, key: str, value: str) -> None:
    """nnU-Net imports and calls what a plan names; a manifest that was made for it does not help."""
    plans: dict[str, Any] = copy.deepcopy(PLANS)
    about = plans["configurations"]["2d"]["architecture"]
    (about if key in about else about["arch_kwargs"])[key] = value
    with pytest.raises(PermanentError, match=f"names '{value}', which is no network"):
        model.load_design(written(tmp_path, dataclasses.replace(DESIGN, plans=plans)))
