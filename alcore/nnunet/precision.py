"""Half-precision convolutions on processors that have them: about twice as fast. Imports torch."""

from __future__ import annotations

from typing import Any

import torch


def cpu_has_bfloat16() -> bool:
    """True when this processor multiplies bfloat16 natively (AVX-512 BF16 or AMX); emulated it would be slow."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def speed_up(network: torch.nn.Module, device: torch.device) -> None:
    """Let `network` run in bfloat16 on a CPU that can; input, output, weights and their gradients stay float32."""
    if device.type != "cpu":
        return  # nnU-Net has its own autocast on a GPU
    if not cpu_has_bfloat16():
        return
    exact = network.forward

    def forward(x: torch.Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            out = exact(x)
        return [o.float() for o in out] if isinstance(out, list | tuple) else out.float()

    network.forward = forward
