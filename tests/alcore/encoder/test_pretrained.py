"""Starting from timm's weights: the same features as timm's own model, fitted to channels and token size, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from alcore.encoder import pretrained
from alcore.encoder.design import Design
from alcore.encoder.mae import Encoder
from alcore.encoder.pretrained import Pretrained
from alcore.errors import PermanentError


def vit(**change: Any) -> VisionTransformer:
    """A ViT of timm with random weights, as small as our micro."""
    torch.manual_seed(0)
    shape = {"img_size": 64, "patch_size": 16, "in_chans": 3, "embed_dim": 96, "depth": 4, "num_heads": 3}
    return VisionTransformer(**{**shape, "num_classes": 5, **change}).eval()


def started(model: VisionTransformer, channels: int = 3, token_px: int = 16, image_px: int = 64) -> Encoder:
    """Our encoder with that model's weights."""
    found = Pretrained(model.state_dict(), "here")
    design = Design.of("micro", channels, token_px, image_px, found.table_grid)
    encoder = Encoder(design)
    encoder.load_state_dict(found.fitted(design))
    return encoder.eval()


def images(channels: int = 3, px: int = 64) -> torch.Tensor:
    return torch.randn((2, channels, px, px), generator=torch.Generator().manual_seed(1))


def test_without_a_class_token_the_features_are_those_of_timm() -> None:
    """Blocks, norms, query-key-value biases, positions and token embedding all in their places."""
    model = vit(class_token=False, global_pool="avg", fc_norm=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)  # biases and norms begin as zeros and ones
    torch.testing.assert_close(started(model)(images()), model.forward_features(images()), atol=1e-5, rtol=1e-5)


def test_the_class_token_is_dropped_with_its_position() -> None:
    model = vit()
    encoder = started(model)
    torch.testing.assert_close(encoder.table, model.pos_embed[:, 1:])
    tokens = model.patch_embed(images()) + model.pos_embed[:, 1:]
    torch.testing.assert_close(encoder(images()), model.norm(model.blocks(tokens)), atol=1e-5, rtol=1e-5)


def test_one_channel_sees_grey_as_the_colours_did() -> None:
    model = vit(class_token=False, global_pool="avg", fc_norm=False)
    grey = images(1)
    expected = model.forward_features(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(started(model, channels=1)(grey), expected, atol=1e-5, rtol=1e-5)
    five = started(model, channels=5)(grey.expand(-1, 5, -1, -1))
    assert torch.nn.functional.cosine_similarity(five, expected, dim=2).min() > 0.9


def test_smaller_tokens_of_a_resized_image_are_embedded_alike() -> None:
    """Token embeddings of a smooth image in 16 px tokens, and of the same image at half size in 8 px tokens."""
    y = torch.linspace(0, 6, 128)
    smooth = (y.sin()[:, None] + (2 * y).cos()[None])[None, None].expand(1, 3, -1, -1)
    half = torch.nn.functional.avg_pool2d(smooth, 2)
    model = vit()
    large, small = started(model, image_px=128), started(model, token_px=8)
    assert small.embed.in_features == 3 * 64
    tokens = [e.embed(_tokens(e, i)) for e, i in ((large, smooth), (small, half))]
    assert torch.nn.functional.cosine_similarity(*tokens, dim=2).min() > 0.98


def _tokens(encoder: Encoder, image: torch.Tensor) -> torch.Tensor:
    from alcore.encoder.mae import tokens_of

    return tokens_of(image, encoder.design.token_px)


def test_another_size_of_image_interpolates_the_positions() -> None:
    encoder = started(vit(), image_px=64)
    assert encoder(images(px=96)).shape == (2, 36, 96)
    assert encoder(torch.zeros(1, 3, 32, 80)).shape == (1, 10, 96)
    torch.testing.assert_close(encoder.positions(images()), encoder.table[0])


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "wrapped.pt"])
def test_from_a_file(tmp_path: Path, name: str) -> None:
    state = vit().state_dict()
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state, "epoch": 3} if name == "wrapped.pt" else state, path)
    design = Design.of("micro", 1, 8, 32)
    found = pretrained.read(str(path), design)
    assert found.table_grid == 4
    assert pretrained.digest(found.state) == pretrained.digest(state)
    assert pretrained.digest(found.state) != pretrained.digest(vit(depth=5).state_dict())


def state_without(name: str) -> dict[str, torch.Tensor]:
    return {k: v for k, v in vit().state_dict().items() if k != name}


BOGUS: dict[str, tuple[Any, str]] = {
    "of another size": (
        lambda: vit(embed_dim=192, depth=12).state_dict(),
        "it is 192 wide and 12 blocks deep, size 'micro' is 96 wide and 4 deep; set encoder.size to 'tiny'",
    ),
    "deeper": (lambda: vit(depth=5).state_dict(), "it is 96 wide and 5 blocks deep"),
    "of a wider MLP": (
        lambda: vit(mlp_ratio=5).state_dict(),
        r"blocks.0.mlp.fc1.weight is \(480, 96\), not \(384, 96\)",
    ),
    "without positions": (lambda: state_without("pos_embed"), "pos_embed is missing"),
    "without a block": (lambda: state_without("blocks.2.mlp.fc1.bias"), "blocks.2.mlp.fc1.bias is missing"),
    "with layer scale": (lambda: vit(init_values=1e-5).state_dict(), "it has blocks.0.ls1.gamma and 7 more"),
    "with registers": (lambda: vit(reg_tokens=4).state_dict(), "it has reg_token"),
    "without biases": (lambda: vit(qkv_bias=False).state_dict(), "blocks.0.attn.qkv.bias is missing"),
    "not square": (lambda: vit(img_size=(64, 96)).state_dict(), "24 positions, which is no square grid"),
    "of no network": (lambda: {"hello": torch.zeros(3)}, "it has hello"),
    "no weights": (lambda: {"epoch": 3}, "it holds no weights by name"),
}


@pytest.mark.parametrize("what", BOGUS)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    make, said = BOGUS[what]
    path = tmp_path / "weights.pth"
    torch.save(make(), path)
    design = Design.of("micro", 1, 8, 32)
    with pytest.raises(PermanentError, match=said) as caught:
        pretrained.read(str(path), design).fitted(design)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"hello", b"\x80\x04.", b""])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_that_is_no_checkpoint(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(PermanentError, match=r"weights\..*cannot be (read|used)") as caught:
        pretrained.read(str(path), Design.of("micro", 1, 8, 32))
    assert "\n" not in str(caught.value)


def test_a_name_that_means_nothing() -> None:
    with pytest.raises(PermanentError, match="'vit_huge_of_mars' is no file, and no model that timm has weights of"):
        pretrained.read("vit_huge_of_mars", Design.of("tiny", 1, 16, 64))


def test_a_model_of_another_size_is_refused_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    real = timm.create_model

    def no_weights(name: str, pretrained: bool, **more: Any) -> Any:
        assert not pretrained
        return real(name, pretrained=pretrained, **more)

    monkeypatch.setattr(timm, "create_model", no_weights)
    for name, size, said in (
        ("vit_base_patch16_224.mae", "tiny", "set encoder.size to 'base'"),
        ("vit_small_patch14_dinov2.lvd142m", "small", "ls1.gamma"),
        ("resnet18", "tiny", "which a plain ViT has not"),
    ):
        with pytest.raises(PermanentError, match=said):
            pretrained.read(name, Design.of(size, 1, 16, 224))


def test_without_a_network_timm_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """timm's own loading, with the hub switched off as it is on a machine without a network, and an empty cache."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PermanentError, match=r"could not be fetched .* copy the weights here") as caught:
        pretrained.read("vit_small_patch16_224.dino", Design.of("small", 1, 16, 224))
    assert "\n" not in str(caught.value)
