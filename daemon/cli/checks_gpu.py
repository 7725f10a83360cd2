"""Checks of `alscope doctor`: the GPU and its driver, what it is used for, and whether torch and faiss compute right."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from alcore.run import STAGES
from daemon import gpus
from daemon.cli.checking import Check
from daemon.config import Settings
from daemon.device import device, has_cuda
from daemon.executors.chosen import on_cluster
from daemon.policy import encoder_kind, idle_encoder_settings

DEEP_S = 180


def gpu(settings: Settings) -> Check:
    """Is there one, with a driver, that this user may use?"""
    named, version = ", ".join(gpus.names()), gpus.driver_version()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1")
    if has_cuda():
        found = f"{named or 'NVIDIA'}, {version or 'driver version unknown'}"
        if gpus.NODE.exists() and not os.access(gpus.NODE, os.R_OK | os.W_OK):
            mend = "add this user to the group that owns it (ls -l /dev/nvidia0), often: sudo usermod -aG video $USER"
            return Check("gpu", "fail", f"{found}: this user may not use {gpus.NODE}", mend)
        if settings.run.device == "cpu":
            return Check("gpu", "ok", f"{found} (not used: run.device = 'cpu')")
        return Check("gpu", "ok", f"{found} (`doctor --deep` asks torch, too)")
    if on_cluster(settings.run):
        all_away = on_cluster(settings.run) == frozenset(STAGES)
        words = "none is needed here: jobs run on the cluster" if all_away else "none: what stays here runs on the CPU"
        return Check("gpu", "ok", words)
    bad = "fail" if settings.run.device == "cuda" else "warn"
    if hidden and version:
        return Check("gpu", bad, f"{version}: hidden by CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES")
    if n := gpus.without_driver():
        mend = "install the NVIDIA driver of your distribution and restart the machine; until then it is not used"
        return Check("gpu", bad, f"{n} from NVIDIA in this machine, but no driver is loaded", mend)
    if settings.run.device == "cuda":
        return Check(
            "gpu",
            "fail",
            "none found, but run.device = 'cuda'",
            "install the NVIDIA driver, or set run.device = 'auto'",
        )
    return Check("gpu", "ok", "none: everything runs on the CPU, training with the tiny plan")


def encoder(settings: Settings) -> Check:
    """What will select patches, and which settings of it act on nothing."""
    where = device(settings.run)
    kind, idle = encoder_kind(settings.encoder, where), idle_encoder_settings(settings.encoder, where)
    if kind == "mae":
        return Check("encoder", "ok", "first a descriptor, then a masked autoencoder trained on the pool")
    found = f"a descriptor, which is not trained (encoder.size = {settings.encoder.size!r} on {where})"
    if not idle:
        return Check("encoder", "ok", found)
    mend = 'name a size (encoder.size = "micro", "tiny", "small" or "base"), or take these settings out of config.toml'
    return Check(
        "encoder", "warn", f"{found}: {', '.join(idle)} {'acts' if len(idle) == 1 else 'act'} on nothing", mend
    )


TORCH = """
import json, torch
seen = torch.cuda.is_available()
device = "cuda" if seen else "cpu"
x = torch.ones(64, 64, device=device)
print(json.dumps({"version": torch.__version__, "cuda": seen, "right": float((x @ x).sum()) == 64.0**3,
                  "name": torch.cuda.get_device_name(0) if seen else "cpu"}))
"""
FAISS = """
import json, numpy, faiss
vectors = numpy.eye(8, dtype="float32")
index = faiss.IndexFlatIP(8)
index.add(vectors)
gpus = getattr(faiss, "get_num_gpus", lambda: 0)()
both = [index] + ([faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)] if gpus else [])
right = all(found.search(vectors, 1)[1].ravel().tolist() == list(range(8)) for found in both)
print(json.dumps({"version": faiss.__version__, "right": right, "gpus": gpus}))
"""


def _ask_python(code: str) -> tuple[dict[str, object] | None, str]:
    """(what the code printed as JSON, "") or (None, why there is nothing)."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEEP_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {DEEP_S} s"
    try:
        return json.loads(done.stdout.splitlines()[-1]), ""
    except (ValueError, IndexError):
        return None, (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]


def torch_computes() -> Check:
    """On the GPU where torch sees one."""
    answer, why = _ask_python(TORCH)
    if answer is None or not answer["right"]:
        return Check(
            "torch",
            "fail",
            why or "wrong results",
            "install torch again; see pytorch.org for the build that fits your driver",
        )
    found = f"{answer['version']} on {answer['name']}"
    if has_cuda() and not answer["cuda"]:
        return Check(
            "torch",
            "warn",
            found,
            "there is a GPU, but torch does not see it: install a CUDA build that fits the driver",
        )
    return Check("torch", "ok", found)


def faiss_computes() -> Check:
    """On the CPU, and on the GPU where faiss sees one."""
    answer, why = _ask_python(FAISS)
    if answer is None or not answer["right"]:
        return Check(
            "faiss", "fail", why or "wrong results", "install faiss-gpu (Linux x86-64) or faiss-cpu again, never both"
        )
    found = f"{answer['version']}, {answer['gpus']} GPUs"
    if has_cuda() and not answer["gpus"]:
        return Check("faiss", "warn", found, "there is a GPU, but faiss does not see it: pip install faiss-gpu instead")
    return Check("faiss", "ok", found)
