"""Gradients in bfloat16 are those of float32, on maps of every size: what oneDNN does wrong on small ones is not asked of it."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from alcore.nnunet import precision
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.schedule import Schedule
from alcore.nnunet.training import Mixture, design, train
from alcore.run import QuietContext
from tests.alcore.nnunet.nnunet_blobs import case

needs_bfloat16 = pytest.mark.skipif(
    not precision.cpu_has_bfloat16(), reason="this processor has no bfloat16, so float32 is used throughout"
)
SIZES = [(2, 2, 2), (2, 4, 4), (2, 8, 8), (2, 16, 16), (8, 1, 1), (2, 1, 1), (1, 1, 1), (3, 3, 3), (8, 8, 8)]


@needs_bfloat16
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_of_small_maps_are_right(size: tuple[int, int, int], stride: int) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv3d(32, 64, 3, stride=stride, padding=1))
    fast = copy.deepcopy(plain)
    precision.speed_up(fast, torch.device("cpu"))
    x, gradients = torch.randn(2, 32, *size), []
    for network in (plain, fast):
        # what is freed just before is what a faulty kernel would take for its own
        spoiled = [torch.full((1 << n,), math.nan) for n in (12, 16) for _ in range(20)]
        del spoiled
        out = network(x)
        out.backward(torch.ones_like(out))
        gradients.append(network[0].weight.grad)
    exact, found = gradients
    assert out.dtype == torch.float32
    np.testing.assert_allclose(found, exact, atol=0.02 * float(exact.abs().max()))


@needs_bfloat16
def test_large_maps_do_run_in_bfloat16() -> None:
    """Otherwise the test above would hold for a `speed_up` that does nothing."""
    conv = torch.nn.Conv3d(8, 8, 3, padding=1)
    network = torch.nn.Sequential(conv)
    precision.speed_up(network, torch.device("cpu"))
    seen: list[torch.dtype] = []
    conv.register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    network(torch.randn(1, 8, 8, 8, 8))
    network(torch.randn(1, 8, 2, 8, 8))
    assert seen == [torch.bfloat16, torch.float32]


def test_two_trainings_of_a_deep_network_are_the_same(tmp_path) -> None:
    """Maps of one pixel at the bottom: garbage in a gradient would differ from run to run, or end in NaN."""
    losses = []
    for n in range(3):
        root = tmp_path / str(n)
        for name in ("scratch", "out"):
            (root / name).mkdir(parents=True)
        ctx = QuietContext(root / "scratch", root / "cache")
        cases = [case(s, shape=(8, 64, 64)) for s in (1, 2)]
        designed = design(PlanRequest("tiny", binning=(1, 8, 8)), cases, ctx)
        schedule = Schedule(epochs=2, iterations=3, lr=3e-3, validation_iterations=1)
        losses.append(train(designed, Mixture(cases), schedule, 0, None, root / "out", ctx, {})["loss"])
    assert losses[0] == losses[1] == losses[2]


@needs_bfloat16
def test_the_first_layer_of_a_flat_network_does_not_write_beyond_its_memory() -> None:
    """On processors with AMX it did, within a few steps, before oneDNN was kept from its AMX kernels (decision 31)."""
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    done = subprocess.run([sys.executable, "-c", FLAT], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "AVX512_CORE_BF16\n"), done.stderr


FLAT = """
import os
import alcore, torch
torch.set_num_threads(1)
conv = torch.nn.Conv3d(1, 8, (1, 3, 3), padding=(0, 1, 1))
for _ in range(30):
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(torch.randn(2, 1, 6, 96, 96, requires_grad=True))
    y.float().sum().backward()
print(os.environ["ONEDNN_MAX_CPU_ISA"])
"""
