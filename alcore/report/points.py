"""The latent map as the page and the figures need it: where every patch lies, what is to be said of it, and its packed form."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError
from alcore.report.content import MARKS, Column, Table

MAP = "map.npz"


@dataclass(frozen=True)
class Points:
    """N patches. xy: (N, 2) float32; of: (N,) number of their embedding in `keys`; row: (N,) patch of its volume; start, shape:
    (N, 3) z, y, x; marks: (N,) bits of `MARKS`. names: of the volumes, aligned with keys."""

    keys: tuple[str, ...]
    names: tuple[str, ...]
    xy: npt.NDArray[np.float32]
    of: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    shape: npt.NDArray[np.int64]
    marks: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.xy)

    @cached_property
    def _spans(self) -> dict[str, tuple[int, int]]:
        """From where to where the patches of an embedding stand."""
        ends = np.searchsorted(self.of, np.arange(len(self.keys) + 1))
        return {key: (int(ends[i]), int(ends[i + 1])) for i, key in enumerate(self.keys)}

    def at(self, key: str, rows: Sequence[int]) -> npt.NDArray[np.int64]:
        """Positions of these patches of a volume, ascending; those that are not on the map are left out."""
        first, end = self._spans.get(key, (0, 0))
        return first + np.flatnonzero(np.isin(self.row[first:end], np.asarray(rows, np.int64)))

    def marked(self, name: str) -> npt.NDArray[np.int64]:
        """Positions of the patches with a mark."""
        return np.flatnonzero(self.marks & (1 << MARKS.index(name)))


def read_points(folder: Path, names: Mapping[str, str], marks: Mapping[str, Mapping[str, Sequence[int]]]) -> Points:
    """Of a `latent_map` artifact. names: of the volumes by embedding key; marks: by name and key, rows. Patches that are not on
    the map are left out. Raises PermanentError, naming the file, for a map that cannot be read."""
    path = folder / MAP
    try:
        with np.load(path, allow_pickle=False) as stored:
            keys = tuple(str(key) for key in stored["keys"])
            xy, of, row, start, shape = (stored[name] for name in ("xy", "of", "row", "start", "shape"))
    except (OSError, ValueError, KeyError, EOFError) as e:
        raise PermanentError(f"{path}: not a readable map ({e}); remove the artifact and it is made again") from e
    called = tuple(names.get(key, key) for key in keys)
    points = Points(keys, called, xy, of.astype(np.int64), row, start, shape, np.zeros(len(xy), np.uint8))
    for bit, name in enumerate(MARKS):
        for key, rows in marks.get(name, {}).items():
            points.marks[points.at(key, rows)] |= np.uint8(1 << bit)
    return points


def packed(points: Points) -> dict[str, Any]:
    """For the page: {"n", "aspect" (height by width of the map, at most 1), "names", "marks", "wide" (bytes of a number of
    a volume and of a coordinate), "data" (base64)}.

    data: little-endian xy (N, 2) uint16, volume (N,), start (N, 3), marks (N,) uint8, one after the other. x goes from 0 to
    65535 over the larger side of the map, y downwards.
    """
    xy = points.xy.astype(np.float64)
    low = xy.min(axis=0) if len(xy) else np.zeros(2)
    extent = xy.max(axis=0) - low if len(xy) else np.zeros(2)
    side = float(extent.max())
    scaled = (xy - low) * (65535 / side) if side > 0 else np.full(xy.shape, 32767.0)
    if side > 0:
        scaled += (65535 - scaled.max(axis=0)) / 2  # the smaller side in the middle
    scaled[:, 1] = 65535 - scaled[:, 1]
    wide = [2 if int(values.max(initial=0)) < 1 << 16 else 4 for values in (points.of, points.start)]
    parts = [
        scaled.round().astype("<u2"),
        points.of.astype(f"<u{wide[0]}"),
        points.start.astype(f"<u{wide[1]}"),
        points.marks,
    ]
    data = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    return {
        "n": len(points),
        "aspect": float(extent[1] / extent[0]) if 0 < extent[1] < extent[0] else 1.0,
        "names": list(points.names),
        "marks": list(MARKS),
        "wide": wide,
        "data": base64.b64encode(data).decode(),
    }


def script_json(value: Any) -> str:
    """JSON that can stand in a <script> element whatever names are in it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def spread(points: Points, among: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """At most `n` of these positions, spread evenly over the map: the first of each cell of a grid, from all over the grid."""
    if len(among) <= n:
        return among
    if n <= 0:
        return among[:0]
    xy = points.xy[among].astype(np.float64)
    where = (xy - xy.min(axis=0)) / np.maximum(np.ptp(xy, axis=0), 1e-9)
    side, first = 1, np.zeros(1, np.int64)
    while len(first) < n and side < 4096:
        side = int(side * 1.25) + 1
        cell = np.minimum((where * side).astype(np.int64), side - 1)
        _, first = np.unique(cell[:, 0] * side + cell[:, 1], return_index=True)
    chosen = first[np.linspace(0, len(first) - 1, min(n, len(first))).round().astype(np.int64)]
    return np.unique(among[chosen])


def points_table(points: Points) -> Table:
    """Every patch with its place on the map and its marks, for the CSV."""
    columns = [Column(c, c) for c in ("volume", "patch", "z", "y", "x", "map_x", "map_y")]
    columns += [Column(name.replace(" ", "_"), name) for name in MARKS]
    rows = tuple(
        (
            points.names[points.of[i]],
            int(points.row[i]),
            *(int(n) for n in points.start[i]),
            *(round(float(n), 4) for n in points.xy[i]),
            *(int(points.marks[i] >> bit & 1) for bit in range(len(MARKS))),
        )
        for i in range(len(points))
    )
    return Table("patches", "Patches", "", tuple(columns), rows)
