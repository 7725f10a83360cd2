"""A masked autoencoder (He et al., CVPR 2022) on timm's ViT blocks: any grid, one or more channels. Imports torch: import it lazily."""

from __future__ import annotations

import math
from functools import lru_cache, partial

import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn

from alcore.encoder.design import Design

EPS_PIXEL_VARIANCE = 1e-6

EPS_NORM = 1e-6
"""Of every layer norm, as in timm's ViTs and He et al.'s weights."""

WAVELENGTH_SPAN = 20.0
"""Ratio of the longest to the shortest wavelength of the position code. The customary 10000 is meant for sequences of
thousands; on a grid of at most some 60 tokens it leaves most of the code constant, and training sits on its first plateau."""

NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""(row, column) offsets of the eight tokens around one: each decoder head starts by looking at one of them."""


@lru_cache(maxsize=8)
def position_embedding(rows: int, columns: int, dim: int, reference: int) -> Tensor:
    """Fixed 2D sin-cos embedding of a token grid, (rows * columns, dim) float32.

    The grid is stretched over the `reference` x `reference` grid of the training images, so that another in-plane size
    sees the same code interpolated exactly, where a learned table would need bicubic resampling. The same tensor for the
    same arguments: nobody may change it.
    """
    quarter = dim // 4
    omega = torch.tensor(_frequencies(quarter), dtype=torch.float64)
    y = ((torch.arange(rows, dtype=torch.float64) + 0.5) * reference / rows - 0.5)[:, None] * omega
    x = ((torch.arange(columns, dtype=torch.float64) + 0.5) * reference / columns - 0.5)[:, None] * omega
    code_y = torch.cat([y.sin(), y.cos()], dim=1)[:, None, :].expand(rows, columns, -1)
    code_x = torch.cat([x.sin(), x.cos()], dim=1)[None, :, :].expand(rows, columns, -1)
    code = torch.cat([code_y, code_x], dim=2).reshape(rows * columns, dim)
    code[:, 1::2] *= -1  # keeps the mean over dims near zero: the layer norm before attention would subtract it
    return code.float()


def _frequencies(quarter: int) -> list[float]:
    """Angular frequencies of the position code, highest first, in radians per token."""
    return [WAVELENGTH_SPAN ** -(k / quarter) for k in range(quarter)]


def look_at_neighbours(attention: Attention, scale: float = 2.0) -> None:
    """Start each head of a decoder block as a look at one neighbouring token, in place of nowhere in particular.

    Shifting a sin-cos code is a rotation, so the queries are the rotated keys. The idea is ConViT's (d'Ascoli et al. 2021,
    attention initialised as a convolution); here it shortens the first plateau of masked training from thousands of steps
    to tens, which is what makes training on a CPU possible. Nothing is fixed: the weights go on to learn.
    """
    dim = attention.qkv.in_features
    head_dim, quarter = dim // attention.num_heads, dim // 4
    chosen = [k * (quarter // 2) // (head_dim // 4 - 1) for k in range(head_dim // 4)]
    omega = _frequencies(quarter)
    gain = scale * (8 / head_dim) ** 0.25
    with torch.no_grad():
        query, key = attention.qkv.weight[:dim], attention.qkv.weight[dim : 2 * dim]
        query *= 0.1
        key *= 0.1
        for head in range(attention.num_heads):
            for axis, offset in enumerate(NEIGHBOURS[head % len(NEIGHBOURS)]):
                for k, f in enumerate(chosen):
                    row = head * head_dim + 4 * k + 2 * axis
                    sine, cosine = 2 * axis * quarter + f, (2 * axis + 1) * quarter + f
                    turn = omega[f] * offset
                    key[row, sine] += gain
                    key[row + 1, cosine] += gain
                    query[row, sine] += gain * math.cos(turn)
                    query[row, cosine] += gain * math.sin(turn)
                    query[row + 1, cosine] += gain * math.cos(turn)
                    query[row + 1, sine] -= gain * math.sin(turn)


def tokens_of(images: Tensor, token_px: int) -> Tensor:
    """Cut images (N, C, H, W) into flat tokens (N, rows * columns, C * token_px**2), row by row."""
    n, c, h, w = images.shape
    rows, columns = h // token_px, w // token_px
    cut = images.reshape(n, c, rows, token_px, columns, token_px)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, c * token_px * token_px)


def _blocks(depth: int, dim: int, heads: int) -> list[Block]:
    norm = partial(nn.LayerNorm, eps=EPS_NORM)
    # timm's annotation asks for a class, its own models give such a partial
    return [Block(dim, heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=norm) for _ in range(depth)]  # type: ignore[arg-type]


def _initialise(module: nn.Module) -> None:
    """Xavier-uniform linear layers and zero biases, as in the paper (appendix A.1)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    """The ViT that is kept: tokens in, one feature per token out. There is no class token; features are pooled over tokens.

    Position codes are the fixed ones of `position_embedding`, or, when the design has a `table_grid`, a table that goes on
    to learn (the weights of `alcore.encoder.pretrained`), resampled to the images' grid.
    """

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        self.embed = nn.Linear(design.channels * design.token_px**2, design.dim)
        self.blocks = nn.ModuleList(_blocks(design.depth, design.dim, design.heads))
        self.norm = nn.LayerNorm(design.dim, eps=EPS_NORM)
        if design.table_grid:
            self.table = nn.Parameter(torch.zeros(1, design.table_grid**2, design.dim))
        self.apply(_initialise)

    def positions(self, images: Tensor) -> Tensor:
        """Position code of these images' token grid, on their device. Raises ValueError if H or W is no whole number of tokens."""
        _, c, h, w = images.shape
        px = self.design.token_px
        if h % px or w % px or min(h, w) < px:
            raise ValueError(f"images of {h}x{w} px cannot be cut into tokens of {px} px")
        if c != self.design.channels:
            raise ValueError(f"images have {c} channels, this encoder was built for {self.design.channels}")
        rows, columns, known = h // px, w // px, self.design.table_grid
        if known:
            codes: Tensor = resample_abs_pos_embed(self.table, [rows, columns], [known, known], num_prefix_tokens=0)[0]
            return codes
        return position_embedding(rows, columns, self.design.dim, self.design.grid).to(images.device)

    def forward(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Token features (N, kept tokens, dim) of images (N, C, H, W). keep (N, kept) selects tokens; None keeps all, in order."""
        positions = self.positions(images)
        x = self.embed(tokens_of(images, self.design.token_px)) + positions
        if keep is not None:
            x = x.gather(1, keep[:, :, None].expand(-1, -1, x.shape[2]))
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.norm(x)
        return features


class MaskedAutoencoder(nn.Module):
    """Encoder plus the light decoder that is thrown away after training."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        self.encoder = Encoder(design)
        self.bridge = nn.Linear(design.dim, design.decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, design.decoder_dim))
        first, *later = _blocks(design.decoder_depth, design.decoder_dim, len(NEIGHBOURS))
        self.blocks = nn.ModuleList([first, *later])
        self.norm = nn.LayerNorm(design.decoder_dim, eps=EPS_NORM)
        self.head = nn.Linear(design.decoder_dim, design.channels * design.token_px**2)
        for part in (self.bridge, self.blocks, self.head):
            part.apply(_initialise)
        look_at_neighbours(first.attn)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, images: Tensor, order: Tensor, mask_ratio: float) -> Tensor:
        """Mean squared error on the masked tokens, each normalised to its own mean and variance (He et al., sec. 4.1): a scalar.

        images (N, C, H, W). order (N, tokens) is a random permutation per image: its first part stays visible.
        """
        n, tokens = order.shape
        visible = max(1, tokens - math.floor(tokens * mask_ratio))
        keep, masked = order[:, :visible], order[:, visible:]
        seen = self.bridge(self.encoder(images, keep))
        width = seen.shape[2]
        x = (
            self.mask_token.to(seen.dtype)
            .expand(n, tokens, width)
            .scatter(1, keep[:, :, None].expand(-1, -1, width), seen)
        )
        rows = images.shape[2] // self.design.token_px
        x = x + position_embedding(rows, tokens // rows, width, self.design.grid).to(images.device)
        for block in self.blocks:
            x = block(x)
        guess = self.head(self.norm(x.gather(1, masked[:, :, None].expand(-1, -1, width)))).float()
        target = tokens_of(images, self.design.token_px)
        target = target.gather(1, masked[:, :, None].expand(-1, -1, target.shape[2])).float()
        mean = target.mean(dim=2, keepdim=True)
        variance = target.var(dim=2, keepdim=True)
        target = (target - mean) / (variance + EPS_PIXEL_VARIANCE).sqrt()
        return (guess - target).square().mean()
