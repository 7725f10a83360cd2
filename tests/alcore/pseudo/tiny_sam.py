"""Segment Anything with an encoder one layer deep and random weights: the real code of micro_sam and CellSAM, in a second."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

SEED = 7


def build(checkpoint: object = None) -> Any:
    """What `segment_anything.sam_model_registry["vit_b"]` makes, but with one encoder layer."""
    import torch
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(SEED)
    sam = Sam(
        image_encoder=ImageEncoderViT(
            depth=1,
            embed_dim=768,
            img_size=1024,
            mlp_ratio=1,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=12,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=(),
            window_size=14,
            out_chans=256,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=256, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=16
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    with torch.no_grad():  # else all masks are close to undecided, and it thinks so little of them that none is kept
        sam.mask_decoder.iou_prediction_head.layers[-1].bias += 0.8
        for head in sam.mask_decoder.output_hypernetworks_mlps:
            head.layers[-1].weight *= 50
    return sam.eval()


def register(patch: pytest.MonkeyPatch) -> None:
    """Let every library that asks for a vit_b get the tiny one, and micro_sam a decoder of a sixteenth of the width."""
    import micro_sam.instance_segmentation as library
    import segment_anything
    from torch_em.model import UNETR

    patch.setitem(segment_anything.sam_model_registry, "vit_b", build)
    patch.setattr(library, "UNETR", partial(UNETR, initial_features=4))


def save_checkpoints(folder: Path) -> dict[str, Path]:
    """Files by kind: "plain" (a state dict), "with_decoder" (micro_sam's format) and "decoder" (that alone)."""
    import torch
    from micro_sam.instance_segmentation import get_unetr

    sam = build()
    state = sam.state_dict()
    unetr = get_unetr(sam.image_encoder, device="cpu").state_dict()
    decoder = {k: v for k, v in unetr.items() if not k.startswith("encoder")}
    decoder["out_conv.weight"] = decoder["out_conv.weight"] * 20  # else all that it predicts is close to a half
    made: dict[str, Any] = {
        "plain": state,
        "with_decoder": {"model_state": state, "decoder_state": decoder},
        "decoder": decoder,
    }
    for kind, content in made.items():
        torch.save(content, folder / f"{kind}.pt")
    return {kind: folder / f"{kind}.pt" for kind in made}


def register_cellsam(patch: pytest.MonkeyPatch) -> None:
    """Let CellSAM look for nine cells in a picture instead of 3500."""
    import cellSAM.sam_inference as library

    original = library.build_inference_model

    def build_few(args: Any) -> Any:
        args.num_query_position = 9
        return original(args)

    patch.setattr(library, "build_inference_model", build_few)


def save_cellsam(folder: Path) -> tuple[Path, float]:
    """(checkpoint, threshold at which its nine boxes are all taken) of a CellSAM with random weights."""
    import importlib.resources

    import torch
    import yaml
    from cellSAM import CellSAM

    torch.manual_seed(SEED)
    config = yaml.safe_load((importlib.resources.files("cellSAM") / "modelconfig.yaml").read_text())
    torch.save(CellSAM(config).state_dict(), folder / "cellsam.pt")
    return folder / "cellsam.pt", 0.01
