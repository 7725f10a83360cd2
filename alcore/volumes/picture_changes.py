"""Slices with what two models made of them: the outlines of both, of the truth where there is one, and a number at every change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.volumes.picture import OUTLINE, stretched

ONE, OTHER = (230, 70, 70), (70, 210, 90)
"""Colours of model a and model b; the truth has that of outlines elsewhere."""
WORDS, SHADE = (255, 255, 255), (0, 0, 0)
STRIP_PX = 16
"""Height of a line of words above a slice."""
LEAST_WIDTH_PX = 256
"""Of a half, so that words have room."""

Plane = npt.NDArray[np.generic]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Row:
    """One slice: its image, ids by model a and b, and the true ids or None, all (Y, X). marks: (y, x) of the changes that are
    numbered in it from `first` on. words: what is said above it."""

    plane: Plane
    a: Plane
    b: Plane
    truth: Plane | None
    marks: Sequence[tuple[int, int]]
    first: int
    words: str


def write_changes(path: Path, rows: Sequence[Row], names: tuple[str, str], longest_px: int = 512) -> None:
    """PNG of slices one below the other, each twice: model a (red) on the left, model b (green) on the right, the truth in yellow
    below both; enlarged by a whole number to at least `longest_px`."""
    from PIL import Image, ImageDraw

    factor = max(1, -(-longest_px // max(rows[0].plane.shape)))
    height, width = (factor * n for n in rows[0].plane.shape)
    half, gap = max(width, LEAST_WIDTH_PX), max(2, factor)
    page = Image.new("RGB", (2 * half + gap, STRIP_PX + len(rows) * (STRIP_PX + height)), SHADE)
    draw = ImageDraw.Draw(page)
    for left, name, colour in ((0, names[0], ONE), (half + gap, names[1], OTHER)):
        draw.text((left + 3, 2), name, fill=colour)
    for n, row in enumerate(rows):
        top = STRIP_PX + n * (STRIP_PX + height)
        draw.text((3, top + 2), row.words, fill=WORDS)
        for left, ids, colour in ((0, row.a, ONE), (half + gap, row.b, OTHER)):
            page.paste(Image.fromarray(_half(row, ids, colour, factor)), (left, top + STRIP_PX))
            for number, (y, x) in enumerate(row.marks, start=row.first):
                place = (left + factor * x + factor // 2, top + STRIP_PX + factor * y + factor // 2)
                draw.text(place, str(number), fill=WORDS, anchor="mm", stroke_width=2, stroke_fill=SHADE)
    page.save(path)


def _half(row: Row, ids: Plane, colour: Colour, factor: int) -> npt.NDArray[np.uint8]:
    """(Y, X, 3), enlarged; outlines are drawn after enlarging, inside their instance."""
    from skimage.segmentation import find_boundaries

    def large(values: Plane) -> Plane:
        return np.repeat(np.repeat(values, factor, axis=0), factor, axis=1)

    picture = np.repeat(large(stretched(row.plane))[:, :, None], 3, axis=2).astype(np.uint8)
    if row.truth is not None:
        picture[find_boundaries(large(row.truth), mode="inner", connectivity=2)] = OUTLINE
    picture[find_boundaries(large(ids), mode="inner", connectivity=2)] = colour
    return picture
