"""Start from a ViT that others have trained: timm's MAE and DINO weights, or a file. Imports torch: import it lazily.

What is kept: token embedding (fitted to our channels and token size), position table, blocks, norm. What is dropped: the
class token with its position, for features here are pooled over tokens, and heads and decoders.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.layers import resample_patch_embed
from torch import Tensor

from alcore.encoder.design import SIZES, Design
from alcore.encoder.mae import Encoder
from alcore.errors import PermanentError

EMBED = "patch_embed.proj"
POSITIONS = "pos_embed"
CLASS_TOKEN = "cls_token"
DROPPED = (CLASS_TOKEN, "mask_token", "head.", "fc_norm.", "decoder_")
"""Beginnings of names that a checkpoint may hold and that are not used. Any other unknown name means another architecture."""

WRAPPERS = ("model", "state_dict")
"""Names under which training scripts put the weights into their checkpoint files."""


@dataclass(frozen=True)
class Pretrained:
    """Weights of a ViT by timm's names, and where they came from (for messages)."""

    state: Mapping[str, Tensor]
    source: str

    @property
    def table_grid(self) -> int:
        """Tokens along one edge of its position table. Raises PermanentError when it has none, or not that of a square."""
        table = self._of(POSITIONS)
        n = (table.shape[1] if table.ndim == 3 else 0) - self._prefix
        edge = math.isqrt(max(n, 0))
        if edge < 1 or edge * edge != n:
            raise self._refused(f"{POSITIONS} has {n} positions, which is no square grid")
        return edge

    @property
    def _prefix(self) -> int:
        """Positions before the first image token."""
        return 1 if CLASS_TOKEN in self.state else 0

    def check(self, design: Design) -> None:
        """Raise PermanentError, naming what does not fit, unless these are weights of a plain ViT of the design's size."""
        wanted = _shapes(design)
        width, depth = self._dimensions
        if depth and (width, depth) != (design.dim, design.depth):
            raise self._refused(
                f"it is {width} wide and {depth} blocks deep, size '{design.size}' is {design.dim} wide and {design.depth} "
                f"deep{self._advice()}"
            )
        known = {f"{EMBED}.weight", f"{EMBED}.bias", POSITIONS, *wanted}
        surplus = sorted(n for n in self.state if n not in known and not n.startswith(DROPPED))
        if surplus:
            more = f" and {len(surplus) - 1} more" if len(surplus) > 1 else ""
            raise self._refused(f"it has {surplus[0]}{more}, which a plain ViT has not")
        for name, shape in {**wanted, f"{EMBED}.bias": (design.dim,)}.items():
            found = tuple(self._of(name).shape)
            if found != shape:
                raise self._refused(f"{name} is {found}, not {shape}")
        kernel = tuple(self._of(f"{EMBED}.weight").shape)
        if len(kernel) != 4 or kernel[0] != design.dim or kernel[2] != kernel[3]:
            raise self._refused(f"{EMBED}.weight is {kernel}, not ({design.dim}, channels, token, token)")
        positions = tuple(self._of(POSITIONS).shape)
        if positions != (1, self._prefix + self.table_grid**2, design.dim):
            raise self._refused(f"{POSITIONS} is {positions}, not (1, positions, {design.dim})")

    def fitted(self, design: Design) -> dict[str, Tensor]:
        """The weights of an `Encoder` of this design. Raises as `check` does."""
        self.check(design)
        fitted = {name: self._of(name) for name in _shapes(design)}
        fitted["embed.weight"] = self._embedding(design)
        fitted["embed.bias"] = self._of(f"{EMBED}.bias")
        fitted["table"] = self._of(POSITIONS)[:, self._prefix :]
        return {name: value.detach().clone().float() for name, value in fitted.items()}

    def _embedding(self, design: Design) -> Tensor:
        """(dim, C * token_px**2): the convolution that makes tokens, resampled to our token size and spread over our channels.

        Resampled by FlexiViT's pseudo-inverse (Beyer et al., CVPR 2023): a resized token gives nearly the same embedding.
        One channel gets the sum of the three colours, more get each colour in turn; in both the response to a grey image
        keeps its size.
        """
        kernel = self._of(f"{EMBED}.weight").float()
        if kernel.shape[2] != design.token_px:
            kernel = resample_patch_embed(kernel, [design.token_px, design.token_px])
        colours = kernel.shape[1]
        if colours != design.channels:
            turn = [c % colours for c in range(design.channels)]
            kernel = kernel.sum(dim=1, keepdim=True) if design.channels == 1 else kernel[:, turn]
            if design.channels > 1:
                kernel = kernel * (colours / design.channels)
        return kernel.reshape(len(kernel), -1)

    def _of(self, name: str) -> Tensor:
        if name not in self.state:
            raise self._refused(f"{name} is missing")
        return self.state[name]

    @property
    def _dimensions(self) -> tuple[int, int]:
        """(width, number of blocks), as far as the names tell."""
        kernel = self.state.get(f"{EMBED}.weight")
        depth = len({name.split(".")[1] for name in self.state if name.startswith("blocks.")})
        return 0 if kernel is None else len(kernel), depth

    def _advice(self) -> str:
        """The size that would fit, when there is one."""
        fits = [size for size, (dim, depth, *_) in SIZES.items() if (dim, depth) == self._dimensions]
        return f"; set encoder.size to '{fits[0]}'" if fits else ""

    def _refused(self, why: str) -> PermanentError:
        return PermanentError(f"encoder.pretrained {self.source!r} cannot be used: {why}")


def _shapes(design: Design) -> dict[str, tuple[int, ...]]:
    """Shapes of the blocks and the last norm, by the names that they have both in timm and here."""
    with torch.device("meta"):
        state = Encoder(design).state_dict()
    return {name: tuple(value.shape) for name, value in state.items() if name.startswith(("blocks.", "norm."))}


def read(pretrained: str, design: Design) -> Pretrained:
    """The weights of a checkpoint file (safetensors, or a pickle that holds tensors alone) or of a timm model.

    A timm model whose architecture does not fit `design` is refused before anything is fetched.
    Raises PermanentError: no such file or model, damaged, not the weights of a plain ViT, or nothing to fetch them from.
    """
    path = Path(pretrained).expanduser()
    if path.is_file():
        return Pretrained(_unwrapped(_content(path, pretrained), pretrained), pretrained)
    return Pretrained(_fetched(pretrained, design), pretrained)


def digest(weights: Mapping[str, Tensor]) -> str:
    """Name of some weights: equal weights, equal name."""
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode())
        found.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _content(path: Path, source: str) -> Any:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # both raise many classes for the many kinds of damage
        said = str(e).strip().splitlines()
        raise PermanentError(
            f"encoder.pretrained {source!r} cannot be read ({(said or [type(e).__name__])[0][:120]}); "
            "it must be safetensors, or a PyTorch file that holds weights alone"
        ) from e


def _unwrapped(content: Any, source: str) -> Mapping[str, Tensor]:
    """The weights in the content of a checkpoint file."""
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise PermanentError(f"encoder.pretrained {source!r} cannot be used: it holds no weights by name")
    return {str(name): value for name, value in content.items()}


def _fetched(name: str, design: Design) -> Mapping[str, Tensor]:
    """Weights that timm knows where to get, or has in its cache already."""
    import timm

    tagged = timm.list_models(pretrained=True)
    if name not in tagged and name not in {known.split(".")[0] for known in tagged}:
        raise PermanentError(
            f"encoder.pretrained {name!r} is no file, and no model that timm has weights of; "
            "for example 'vit_base_patch16_224.mae' or 'vit_small_patch16_224.dino'"
        )
    with torch.device("meta"):
        empty = timm.create_model(name, pretrained=False, num_classes=0)
    Pretrained(empty.state_dict(), name).check(design)
    try:
        state: Mapping[str, Tensor] = timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as e:  # whatever the network, the hub or the cache raise
        raise PermanentError(
            f"encoder.pretrained {name!r}: its weights could not be fetched ({type(e).__name__}); connect this machine "
            "to the internet once, or copy the weights here and set encoder.pretrained to the path of the file"
        ) from e
    return state
