"""What an encoder looks like: the named sizes and the numbers that rebuild one from its file. Plain data, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from alcore.errors import PermanentError

SIZES: dict[str, tuple[int, int, int, int, int]] = {
    # name: (dim, depth, heads, decoder_dim, decoder_depth)
    "micro": (96, 4, 3, 64, 1),
    "tiny": (192, 12, 3, 128, 2),
    "small": (384, 12, 6, 192, 4),
    "base": (768, 12, 12, 384, 8),
}
"""tiny, small and base are the ViTs of that name (DeiT, MAE); micro (96 wide, 4 deep) is for CPUs and tests."""

TOKEN_PX = (8, 16)
"""Allowed token edge lengths: 16 as in the paper, 8 for patches too small to hold a grid of 16s."""


@dataclass(frozen=True)
class Design:
    """Everything that fixes the shape of an encoder's weights and of the images it was trained on.

    channels: C of the volumes. token_px: edge of one token. image_px: edge of the training images, a multiple of token_px.
    table_grid: tokens along one edge of a stored table of position codes, as pretrained ViTs bring it; 0 for the fixed code.
    """

    size: str
    dim: int
    depth: int
    heads: int
    decoder_dim: int
    decoder_depth: int
    channels: int
    token_px: int
    image_px: int
    table_grid: int = 0

    @property
    def grid(self) -> int:
        """Tokens along one edge of a training image."""
        return self.image_px // self.token_px

    @property
    def tokens(self) -> int:
        """Tokens of one training image."""
        return self.grid**2

    @classmethod
    def of(cls, size: str, channels: int, token_px: int, image_px: int, table_grid: int = 0) -> Design:
        """The design called `size`. Raises PermanentError for what cannot be built, naming the setting."""
        if size not in SIZES:
            raise PermanentError(f"encoder size {size!r} does not exist; choose one of {', '.join(SIZES)}")
        if token_px not in TOKEN_PX:
            raise PermanentError(f"encoder token_px is {token_px}; choose one of {', '.join(map(str, TOKEN_PX))}")
        if image_px % token_px or image_px < 2 * token_px:
            raise PermanentError(
                f"encoder image_px is {image_px}; it must be a multiple of token_px ({token_px}) and hold 2 x 2 tokens"
            )
        return cls(size, *SIZES[size], channels=channels, token_px=token_px, image_px=image_px, table_grid=table_grid)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Design:
        """Inverse of `to_json`."""
        return cls(**value)
