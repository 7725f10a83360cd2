"""Look into a checkpoint before a library does: only tensors, and those of a Segment Anything model. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alcore.errors import PermanentError

ENCODERS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Architecture by embedding width."""
ZIP = b"PK\x03\x04"
"""How checkpoints begin that can be mapped into memory; those of torch before 1.6 cannot."""
PATCH_EMBEDDING = "image_encoder.patch_embed.proj.weight"


def load_tensors(path: Path) -> Mapping[str, Any]:
    """Content of a checkpoint, on the CPU, memory-mapped where it can be. Raises PermanentError when it is damaged or runs code.

    Libraries unpickle whatever a file says; what passes here holds data alone.
    """
    import torch

    if not path.is_file():
        raise PermanentError(f"{path}: no such checkpoint; correct the option, or fetch the weights again")
    try:
        with open(path, "rb") as file:
            mapped = file.read(len(ZIP)) == ZIP
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as e:  # torch raises a different class for every kind of damage
        why = str(e).strip().splitlines()[0][:120] if str(e).strip() else type(e).__name__
        raise PermanentError(
            f"{path}: no checkpoint that holds weights alone ({why}); fetch it again, or export it as a plain state dict"
        ) from e
    if not isinstance(content, Mapping):
        raise PermanentError(f"{path}: holds a {type(content).__name__}, not the weights of a model")
    return content


def sam_architecture(path: Path) -> tuple[str, bool]:
    """(architecture, whether a decoder is inside) of a checkpoint of Segment Anything or micro_sam.

    Raises PermanentError naming the file for anything else.
    """
    content = load_tensors(path)
    state = content.get("model_state", content)
    names = {str(key).removeprefix("sam.") for key in state} if isinstance(state, Mapping) else set()
    if PATCH_EMBEDDING not in names or not any(n.startswith("mask_decoder.") for n in names):
        raise PermanentError(f"{path}: not a Segment Anything model (no {PATCH_EMBEDDING} and mask_decoder in it)")
    key = next(k for k in state if str(k).removeprefix("sam.") == PATCH_EMBEDDING)
    width = int(state[key].shape[0])
    if width not in ENCODERS:
        raise PermanentError(
            f"{path}: a Segment Anything model of width {width}, which is none of {', '.join(ENCODERS.values())}"
        )
    return ENCODERS[width], "decoder_state" in content
