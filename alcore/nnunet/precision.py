"""Half-precision convolutions on processors that have them: about twice as fast. Imports torch."""

from __future__ import annotations

from typing import Any

import torch


def cpu_has_bfloat16() -> bool:
    """True when this processor multiplies bfloat16 natively (AVX-512 BF16 or AMX); emulated it would be slow."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def speed_up(network: torch.nn.Module, device: torch.device) -> None:
    """Let `network` run in bfloat16 on a CPU that can; input, output, weights and their gradients stay float32.

    Convolutions of maps that are smaller than their kernel stay float32 as well: for these oneDNN's bfloat16 gradients of
    the weights are wrong (torch 2.15), from a wrong number to NaN and memory of others. Everything else agrees with
    float32 to the precision of bfloat16. Such maps are small, so nothing is lost by it; a map two slices deep is common.
    """
    if device.type != "cpu":
        return  # nnU-Net has its own autocast on a GPU
    if not cpu_has_bfloat16():
        return
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d):
            _exact_where_small(module)
    exact = network.forward

    def forward(x: torch.Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            out = exact(x)
        return [o.float() for o in out] if isinstance(out, list | tuple) else out.float()

    network.forward = forward


def _exact_where_small(conv: torch.nn.Conv2d | torch.nn.Conv3d) -> None:
    exact, kernel = conv.forward, conv.kernel_size

    def forward(x: torch.Tensor) -> torch.Tensor:
        if all(n >= k for n, k in zip(x.shape[2:], kernel, strict=True)):
            return exact(x)
        with torch.autocast("cpu", enabled=False):
            return exact(x.float())

    conv.forward = forward  # type: ignore[method-assign, assignment]
