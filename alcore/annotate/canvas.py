"""The viewer with its layers: microSAM's annotator where there are weights, else napari with a layer to draw into."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.annotate.order import Order, Weights
from alcore.annotate.others import Others, merged
from alcore.annotate.patch import CHANNEL, Patch, limits, picture

COMMITTED, CURRENT, AUTOMATIC = "committed_objects", "current_object", "auto_segmentation"
"""Layers as micro_sam calls them; the first is the label."""
LABELS = (COMMITTED, CURRENT, AUTOMATIC)
VEIL = ((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.6), (1.0, 0.69, 0.0, 1.0))
"""Colours of the patch, of its margin, and of the line between them."""
POINTS_ACROSS = 60
"""A prompt is so small a part of the image that objects stay visible around it."""


@dataclass(frozen=True)
class Canvas:
    """The viewer, not shown yet. flat: its arrays are (Y, X), for a patch of one slice. state: of micro_sam, None in plain napari.
    library_s: seconds that napari and micro_sam took to make it."""

    viewer: Any
    flat: bool
    state: Any
    library_s: float
    shape: tuple[int, int, int]
    """(Z, Y, X) of the patch."""
    others: Others = field(init=False)
    layers: dict[str, Any] = field(init=False)
    """The label layers by name, held here because the viewer empties its list when it closes."""

    def __post_init__(self) -> None:
        """Take hold of the layers."""
        there = {name: self.viewer.layers[name] for name in LABELS if name in self.viewer.layers}
        object.__setattr__(self, "layers", there)
        object.__setattr__(self, "others", Others(self.viewer, there.values(), self.shape, self.flat))

    def layer(self, name: str) -> npt.NDArray[np.uint32]:
        """A copy (Z, Y, X) of a label layer."""
        data = np.array(self.layers[name].data, np.uint32)
        return data[None] if self.flat else data

    def put(self, name: str, labels: npt.NDArray[np.uint32]) -> None:
        """Fill a label layer with a copy of (Z, Y, X)."""
        self.layers[name].data = np.array(labels[0] if self.flat else labels, np.uint32)

    def commit(self, name: str) -> None:
        """Move what a layer of micro_sam holds into the label, as its own button does (see `alcore.annotate.traps`)."""
        from alcore.annotate.traps import PRESERVE

        self.state.widgets["commit"](viewer=self.viewer, layer=name, preserve_mode=PRESERVE[name][0])

    def merge(self, name: str) -> None:
        """Move what another layer holds into the label, where that holds nothing."""
        self.put(COMMITTED, merged(self.layer(COMMITTED), self.others.drawn()[name]))
        self.others.empty(name)


def open_canvas(
    order: Order, patch: Patch, labels: npt.NDArray[np.uint32], say: Callable[[str], None]
) -> tuple[Canvas, str]:
    """(the viewer, what there is to say of Segment Anything). labels: (Z, Y, X), what the label begins with; never written to.

    It is not shown: each layer that is added to a viewer on the screen is drawn at once.
    """
    flat = patch.shape[0] == 1
    seen = limits(patch.image[CHANNEL])
    view = patch.image[CHANNEL][0] if flat else patch.image[CHANNEL]
    start = np.array(labels[0] if flat else labels, np.uint32)
    if order.weights is None:
        began = time.monotonic()
        opened = _plain(view, start)
        canvas = Canvas(opened, flat, None, time.monotonic() - began, patch.shape)
        words = f"without Segment Anything: {order.why_plain}"
    else:
        canvas, words = _annotator(order, order.weights, picture(patch.image, seen), view, start, say)
    viewer = canvas.viewer
    viewer.layers["image"].contrast_limits = _apart(seen)
    if not flat:
        viewer.dims.set_current_step(0, (patch.inside[0].start + patch.inside[0].stop) // 2)
    for number in range(1, len(patch.image)):
        other = patch.image[number][0] if flat else patch.image[number]
        viewer.add_image(other, name=f"channel {number}", visible=False, blending="additive")
    _show_margin(viewer, patch)
    viewer.dims.axis_labels = ("z", "y", "x")[-viewer.dims.ndim :]
    if canvas.state is not None:
        viewer.layers["point_prompts"].current_size = max(2.0, max(patch.shape) / POINTS_ACROSS)
    viewer.layers.selection.active = viewer.layers[COMMITTED if canvas.state is None else "point_prompts"]
    return canvas, words


def _apart(found: tuple[float, float]) -> tuple[float, float]:
    low, high = found
    return (low, high) if high > low else (low, low + 1)


def _plain(view: npt.NDArray[np.generic], start: npt.NDArray[np.uint32]) -> Any:
    import napari

    viewer = napari.Viewer(show=False)
    viewer.add_image(view, name="image")
    layer = viewer.add_labels(start, name=COMMITTED)
    layer.preserve_labels = False
    return viewer


def _annotator(
    order: Order,
    weights: Weights,
    planes: npt.NDArray[np.uint8],
    view: npt.NDArray[np.generic],
    start: npt.NDArray[np.uint32],
    say: Callable[[str], None],
) -> tuple[Canvas, str]:
    import napari
    from micro_sam.sam_annotator import annotator_2d, annotator_3d

    from alcore.annotate.lazy import embeddings_for, parts_of
    from alcore.annotate.sam import check_weights, embed_slice, stored_embeddings
    from alcore.annotate.traps import close_traps, fresh_state
    from alcore.annotate.weights import CPU_SLICE_S

    architecture = check_weights(weights)
    state = fresh_state()
    n, n_parts = len(planes), len(parts_of(planes))
    stored = stored_embeddings(Path(order.embeddings), weights, n * n_parts) if order.embeddings else None
    cost = f"about {CPU_SLICE_S[architecture]} s on this processor" if order.device == "cpu" else "a moment"
    one = "slice" if n_parts == 1 else "this part of slice"
    embeddings = embeddings_for(
        planes,
        stored,
        lambda plane: embed_slice(state.predictor, plane),
        lambda z: say(f"Segment Anything looks at {one} {z} for the first time: {cost}"),
        lambda z: say(f"Segment Anything knows {one} {z} now"),
    )
    began = time.monotonic()
    viewer = (annotator_2d if n == 1 else annotator_3d)(
        view,
        embedding_path=embeddings,
        segmentation_result=start,
        model_type=architecture,
        checkpoint_path=weights.files[0],
        decoder_path=weights.files[1] if len(weights.files) > 1 else None,
        device=order.device,
        return_viewer=True,
        viewer=napari.Viewer(show=False),
    )
    canvas = Canvas(viewer, n == 1, state, time.monotonic() - began, planes.shape)
    state.image_name = "image"
    close_traps(viewer, state)
    wide = f". It sees this wide image in {n_parts} parts: prompts of one object belong into one of them" * (
        n_parts > 1
    )
    if stored is not None:
        return canvas, f"Segment Anything ({weights.name}) has looked at every slice{wide}"
    what = "a slice" if n_parts == 1 else "a part of a slice"
    words = f"Segment Anything ({weights.name}) looks at {what} when you first prompt on it: {cost} each, once"
    return canvas, words + wide


def _show_margin(viewer: Any, patch: Patch) -> None:
    """A veil over what does not count, and a line around what does: one layer, as each one takes its time to open."""
    from napari.utils.colormaps import Colormap

    if not patch.margin.any():
        return
    viewer.add_image(
        veil(patch),
        name="margin (does not count)",
        colormap=Colormap(VEIL, name="veil"),
        contrast_limits=(0, len(VEIL) - 1),
        blending="translucent",
        interpolation2d="nearest",
    )


def veil(patch: Patch) -> npt.NDArray[np.uint8]:
    """1 in the margin of a patch, 2 in those of its voxels that lie around the patch as seen from above, else 0: (Z, Y, X), or
    (Y, X) that serves every slice."""
    inside_z, rows, columns = patch.inside
    found = patch.margin.astype(np.uint8)
    around = np.zeros(found.shape[1:], bool)
    around[max(0, rows.start - 1) : rows.stop + 1, max(0, columns.start - 1) : columns.stop + 1] = True
    around[rows, columns] = False
    found[:, around] = 2
    return found[0] if inside_z == slice(0, len(found)) else found
