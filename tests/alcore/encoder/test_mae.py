"""The model: what it may see, what it is scored on, and any grid and number of channels."""

from __future__ import annotations

import pytest
import torch

from alcore.encoder.design import SIZES, Design
from alcore.encoder.mae import NEIGHBOURS, Encoder, MaskedAutoencoder, position_embedding, tokens_of
from alcore.errors import PermanentError


def random_images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_a_vit_of_its_dims(size: str) -> None:
    design = Design.of(size, 2, 16, 32)
    with torch.device("meta"):
        model = MaskedAutoencoder(design)
    assert len(model.encoder.blocks) == design.depth
    encoder = sum(p.numel() for p in model.encoder.parameters())
    assert encoder == pytest.approx(12 * design.depth * design.dim**2, rel=0.25)
    assert sum(p.numel() for p in model.parameters()) < 1.6 * encoder
    assert Design.from_json(design.to_json()) == design


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("huge", 1, 16, 64), "size 'huge'"),
        (("micro", 1, 7, 63), "token_px is 7"),
        (("micro", 1, 16, 70), "image_px is 70"),
        (("micro", 1, 16, 16), "image_px is 16"),
    ],
)
def test_what_cannot_be_built_is_named(arguments: tuple[str, int, int, int], said: str) -> None:
    with pytest.raises(PermanentError, match=said):
        Design.of(*arguments)


def test_tokens_are_cut_row_by_row() -> None:
    images = random_images(2, 3, 16, 24)
    tokens = tokens_of(images, 8)
    assert tokens.shape == (2, 6, 3 * 64)
    assert torch.equal(tokens[1, 4].reshape(3, 8, 8), images[1, :, 8:16, 8:16])


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 32, 96), (3, 40, 64)])
def test_any_grid_and_channels(shape: tuple[int, int, int]) -> None:
    channels, h, w = shape
    encoder = Encoder(Design.of("micro", channels, 8, 64))
    assert encoder(random_images(2, *shape)).shape == (2, (h // 8) * (w // 8), 96)
    with pytest.raises(ValueError, match="cannot be cut"):
        encoder(random_images(2, channels, h + 1, w))
    with pytest.raises(ValueError, match="channels"):
        encoder(random_images(2, channels + 1, h, w))


def test_position_codes_of_a_larger_grid_lie_between_those_of_the_reference() -> None:
    reference = position_embedding(8, 8, 96, 8).reshape(8, 8, 96)
    finer = position_embedding(24, 24, 96, 8).reshape(24, 24, 96)
    torch.testing.assert_close(finer[1::3, 1::3], reference)
    distance = (finer[:, :, None, None] - reference).norm(dim=-1).reshape(24, 24, 64).argmin(dim=2)
    expected = torch.arange(24) // 3
    assert torch.equal(distance, expected[:, None] * 8 + expected)


def test_the_encoder_sees_nothing_of_masked_tokens() -> None:
    encoder = Encoder(Design.of("micro", 1, 8, 32))
    keep = torch.tensor([[0, 5, 9]])
    images = random_images(1, 1, 32, 32)
    other = images.clone()
    other[:, :, 8:16, 16:24] += 100  # token 6
    assert torch.equal(encoder(images, keep), encoder(other, keep))
    other[:, :, 8:16, 8:16] += 1  # token 5
    assert not torch.equal(encoder(images, keep), encoder(other, keep))


def test_the_loss_is_on_masked_tokens_in_their_own_units() -> None:
    """A head of zeros predicts each masked token's mean: the loss is the variance of normalised pixels, (n - 1) / n."""
    model = MaskedAutoencoder(Design.of("micro", 1, 8, 32))
    torch.nn.init.zeros_(model.head.weight)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))[None]
    images = random_images(1, 1, 32, 32) * 37 + 500
    assert float(model(images, order, 0.75).detach()) == pytest.approx(63 / 64, rel=1e-4)
    constant = torch.ones(1, 1, 32, 32)
    assert float(model(constant, order, 0.75).detach()) == 0.0


def test_each_decoder_head_starts_on_one_neighbour() -> None:
    """With nothing but position codes, head h of an inner token attends most to the neighbour h."""
    model = MaskedAutoencoder(Design.of("tiny", 1, 16, 128))
    block = model.blocks[0]
    heads, width = block.attn.num_heads, 128
    with torch.no_grad():
        code = block.norm1(position_embedding(8, 8, width, 8))
        q, k, _ = block.attn.qkv(code).reshape(64, 3, heads, width // heads).unbind(1)
    looks = torch.einsum("qhd,khd->hqk", q, k).argmax(dim=2).reshape(heads, 8, 8)
    assert heads == len(NEIGHBOURS)
    for head, (dy, dx) in enumerate(NEIGHBOURS):
        for y, x in ((2, 2), (3, 5), (5, 4)):
            assert int(looks[head, y, x]) == (y + dy) * 8 + x + dx
