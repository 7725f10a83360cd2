"""What the encoder costs beside a bare timm loop on the same images, and its memory beside the size of a volume.

`python -m benchmarks.encoder [--size tiny] [--threads 2] [--rounds 5]`. Ours and the bare loop take turns (ours, bare, bare, ours), and
the ratio is the median over the rounds, of wall time and of processor time: on a busy machine the second is steadier.
The bare loop is a masked autoencoder as He et al. publish it, of timm's ViT, its images in memory already: no crops from stored
slices, no checkpoint, no progress; for embedding, no volume is read and no slice resampled. The ratio is what all that costs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from alcore.arrays import normalise
from alcore.arrays.synthetic import em_volume
from alcore.arrays.tiling import tile
from alcore.encoder.descriptor import Descriptor
from alcore.encoder.design import Design
from alcore.encoder.embed import Embedder
from alcore.encoder.mae import Encoder
from alcore.encoder.slices import patch_windows, random_crops, read_windows, stored_px
from alcore.encoder.standardise import Standardisation
from alcore.encoder.training import Schedule, train
from alcore.encoder.vit import ViTFeatures
from alcore.run import QuietContext
from alcore.volumes import open_volume
from benchmarks import memory
from benchmarks.table import machine

PX, TOKEN_PX, BATCH, SLICES, EPOCHS = 128, 16, 32, 384, 3
LEAST_RATIO = 0.95
VOLUMES = {"0.25 GB": (256, 1024, 1024), "1 GB": (1024, 1024, 1024), "4 GB": (4096, 1024, 1024)}
PEAKS = 3
"""Runs per volume: what an allocator keeps differs by tens of MB from one to the next."""


class BareMAE(nn.Module):
    """Encoder and decoder of timm's blocks, with the published shuffling: sort random numbers, keep the first quarter, put
    mask tokens in the place of the others and sort back."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.vit = VisionTransformer(
            img_size=PX, patch_size=TOKEN_PX, in_chans=1, embed_dim=design.dim, depth=design.depth,
            num_heads=design.heads, class_token=False, global_pool="avg", fc_norm=False, num_classes=0,
        )  # fmt: skip
        width = design.decoder_dim
        self.bridge = nn.Linear(design.dim, width)
        self.mask = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, design.tokens, width))
        self.decoder = nn.Sequential(*(Block(width, 8, qkv_bias=True) for _ in range(design.decoder_depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, TOKEN_PX**2)

    def forward(self, images: Tensor) -> Tensor:
        """The mean squared error on masked tokens."""
        x = self.vit.patch_embed(images) + self.vit.pos_embed
        n, tokens, width = x.shape
        kept = tokens // 4
        order = torch.rand(n, tokens).argsort(dim=1)
        x = x.gather(1, order[:, :kept, None].expand(-1, -1, width))
        x = self.bridge(self.vit.norm(self.vit.blocks(x)))
        x = torch.cat([x, self.mask.expand(n, tokens - kept, -1)], dim=1)
        x = x.gather(1, order.argsort(dim=1)[:, :, None].expand(-1, -1, x.shape[2])) + self.positions
        guess = self.head(self.norm(self.decoder(x)))
        g = PX // TOKEN_PX
        target = images.reshape(n, g, TOKEN_PX, g, TOKEN_PX).permute(0, 1, 3, 2, 4).reshape(n, tokens, -1)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        masked = torch.ones(n, tokens).scatter(1, order[:, :kept], 0.0)
        return (((guess - target) ** 2).mean(-1) * masked).sum() / masked.sum()


def bare_training(images: Tensor, design: Design) -> None:
    """Epochs over images in memory."""
    model = BareMAE(design)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, betas=(0.9, 0.95))
    for _ in range(EPOCHS):
        for batch in images[torch.randperm(len(images))].split(BATCH):
            optimizer.zero_grad()
            model(batch).backward()
            optimizer.step()


def bare_embedding(model: VisionTransformer, images: Tensor) -> None:
    """Mean over the tokens of each image and its three mirror images."""
    with torch.inference_mode():
        for batch in images.split(64):
            torch.stack([model.forward_features(batch.flip(a)).mean(1) for a in ((), (2,), (3,), (2, 3))]).mean(0)


@dataclass(frozen=True)
class Compared:
    """mine_s, theirs_s: shortest wall times. wall, cpu: theirs over ours, medians over the rounds; 1 is as fast."""

    mine_s: float
    theirs_s: float
    wall: float
    cpu: float


def compared(rounds: int, mine: Callable[[], object], theirs: Callable[[], object]) -> Compared:
    """In turns, so that a busy moment hits both; the first round warms up and is left out."""
    spent = np.array([[_spent(way) for way in (mine, theirs, theirs, mine)] for _ in range(rounds + 1)])[1:]
    ours, others = spent[:, [0, 3]], spent[:, [1, 2]]
    wall, cpu = np.median(others.sum(1) / ours.sum(1), axis=0)
    return Compared(float(ours[..., 0].min()), float(others[..., 0].min()), float(wall), float(cpu))


def _spent(way: Callable[[], object]) -> tuple[float, float]:
    """(wall, processor) seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - wall, time.process_time() - cpu


def training(folder: Path, design: Design, rounds: int) -> tuple[int, Compared]:
    """(images, what they took)."""
    slices = np.random.default_rng(0).normal(size=(SLICES, 1, stored_px(PX), stored_px(PX))).astype(np.float16)
    images = torch.from_numpy(random_crops(slices, PX, np.random.default_rng(0)))
    runs = iter(range(10**6))
    schedule = Schedule(
        epochs=EPOCHS, warmup_epochs=0, base_lr=1e-3, weight_decay=0.05, mask_ratio=0.75, batch=BATCH, seed=0
    )

    def ours() -> None:
        scratch = folder / f"scratch-{next(runs)}"  # a finished checkpoint would be continued
        scratch.mkdir()
        train(slices, design, schedule, QuietContext(scratch, scratch))

    return EPOCHS * SLICES, compared(rounds, ours, lambda: bare_training(images, design))


def embedding(folder: Path, design: Design, rounds: int) -> tuple[int, Compared, float]:
    """(slices, what they took, s of the descriptor): a volume on disk for ours, images in memory for the loop."""
    image, _ = em_volume((16, 768, 768), memory.VOXEL_UM, np.random.default_rng(0))
    path = folder / "image.tif"
    memory_tiff(path, image)
    stats = normalise.measure(image[None], np.random.default_rng(0))
    boxes = tile(image.shape, (16, 192, 192))
    torch.manual_seed(0)
    vit, describe = ViTFeatures(Encoder(design), "cpu"), Descriptor(1, PX // 2)
    with open_volume(path) as reader:
        windows = [w for box in boxes for w in patch_windows(box)]
        cut = [np.ascontiguousarray(i[:, :PX, :PX]) for _, i in read_windows(reader, windows, stats)]
    few = np.stack(cut[:32])
    embedders = [
        Embedder(vit, Standardisation.measured(vit, few, np.random.default_rng(0))),
        Embedder(
            describe, Standardisation.measured(describe, few[:, :, : PX // 2, : PX // 2], np.random.default_rng(0))
        ),
    ]
    bare = BareMAE(design).vit.eval()
    images = torch.from_numpy(np.stack(cut))

    def ours(embedder: Embedder) -> None:
        with open_volume(path) as reader:
            embedder.patches(reader, boxes, stats, lambda n: None)

    found = compared(rounds, lambda: ours(embedders[0]), lambda: bare_embedding(bare, images))
    return len(windows), found, min(_spent(lambda: ours(embedders[1]))[0] for _ in range(rounds))


def memory_tiff(path: Path, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """An uncompressed stack."""
    import tifffile

    tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "ZYX"})


def peaks(folder: Path) -> dict[str, list[float]]:
    """Growth of the resident set above imports, in MB, of embedding volumes of these sizes, each run a process of its own."""
    found: dict[str, list[float]] = {}
    for name, shape in VOLUMES.items():
        bench = memory.Bench(folder / name.replace(" ", "-"), shape, 0.5)
        bench.measure("volume")
        for _ in range(PEAKS):
            found.setdefault(name, []).append(bench.measure("embedding")[0])
            shutil.rmtree(bench.made["embedding"][0])  # else nothing would be done again
        bench.remove()
    return found


def main() -> int:
    """Measure, print a table in Markdown, and fail when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true", help="leave out the volumes of up to 4 GB")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    design = Design.of(given.size, 1, TOKEN_PX, PX)
    print(f"{machine()}; ViT {given.size}, {PX} x {PX} px, tokens of {TOKEN_PX} px, {given.threads} threads\n")
    print("| what | ours | bare timm loop | ratio, wall | ratio, processor | target |\n|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n, trained = training(folder, design, given.rounds)
        print(f"| training, images/s (batch {BATCH}) |{_row(n, trained)}", flush=True)
        n, embedded, descriptor_s = embedding(folder, design, given.rounds)
        print(f"| embedding, slices/s, from the volume |{_row(n, embedded)}", flush=True)
        print(
            f"| the descriptor, slices/s, from the volume ({PX // 2} px, one thread) | {n / descriptor_s:.1f} | | | | |"
        )
        if not given.no_memory:
            print(f"\n| volume | embedding, peak MB above imports, {PEAKS} runs |\n|---|---|", flush=True)
            for volume, peak_mb in peaks(folder).items():
                print(f"| {volume} | {', '.join(f'{mb:.0f}' for mb in sorted(peak_mb))} |", flush=True)
    return 0 if min(trained.wall, embedded.wall) >= LEAST_RATIO else 1


def _row(n: int, found: Compared) -> str:
    return f" {n / found.mine_s:.1f} | {n / found.theirs_s:.1f} | {found.wall:.2f} | {found.cpu:.2f} | {LEAST_RATIO} |"


if __name__ == "__main__":
    sys.exit(main())
