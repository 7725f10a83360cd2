"""Label layers that a person adds to the viewer, which are no part of the label: found, kept and merged, never passed over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.uint32]


class Others:
    """own: layers that are accounted for elsewhere. shape: (Z, Y, X) of the patch. flat: the viewer shows (Y, X)."""

    def __init__(self, viewer: Any, own: Iterable[Any], shape: tuple[int, int, int], flat: bool) -> None:
        self._viewer, self._own, self._shape, self._flat = viewer, list(own), shape, flat
        self._there: list[Any] = []
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)

    def drawn(self) -> dict[str, Labels]:
        """(Z, Y, X) of every layer that holds anything, by its name."""
        found = {layer.name: self._placed(layer) for layer in self._there}
        return {name: labels for name, labels in found.items() if labels.any()}

    def show(self, name: str, labels: Labels) -> None:
        """Add a layer with a copy of (Z, Y, X)."""
        self._viewer.add_labels(np.array(labels[0] if self._flat else labels, np.uint32), name=name)

    def empty(self, name: str) -> None:
        """Take out what a layer holds: it is in the label now."""
        for layer in self._there:
            if layer.name == name:
                layer.data = np.zeros_like(layer.data)

    def _placed(self, layer: Any) -> Labels:
        """What lies within the patch. napari makes a new layer as wide as what is selected, at whatever place that is; one of
        fewer axes stands for every slice, as it is shown."""
        labels = np.zeros(self._shape[1:] if self._flat else self._shape, np.uint32)
        data = np.asarray(layer.data)
        data = data.max(axis=tuple(range(max(0, data.ndim - labels.ndim))))
        into, taken = [slice(None)] * (labels.ndim - data.ndim), []
        for n, size, moved in zip(labels.shape[-data.ndim :], data.shape, layer.translate[-data.ndim :], strict=True):
            first = round(float(moved))
            start, stop = max(0, first), max(0, min(n, first + size))
            into.append(slice(start, max(start, stop)))
            taken.append(slice(start - first, max(start, stop) - first))
        labels[tuple(into)] = data[tuple(taken)]
        return labels[None] if self._flat else labels

    def _inserted(self, event: Any) -> None:
        from napari.layers import Labels as LabelsLayer

        layer = event.value
        if isinstance(layer, LabelsLayer) and not any(layer is known for known in (*self._own, *self._there)):
            self._there.append(layer)

    def _removed(self, event: Any) -> None:
        """A person removed it; or the viewer closes, and takes out all of them before anybody could keep them."""
        from qtpy.QtCore import QTimer

        QTimer.singleShot(0, lambda: self._forget(event.value))

    def _forget(self, layer: Any) -> None:
        if layer not in self._viewer.layers:
            self._there = [known for known in self._there if known is not layer]


def merged(labels: Labels, drawn: Labels) -> Labels:
    """Objects of `drawn` added to those of `labels`, under ids of their own, where there was none."""
    free = (labels == 0) & (drawn > 0)
    ids, places = np.unique(drawn[free], return_inverse=True)
    out = labels.copy()
    out[free] = np.arange(1, len(ids) + 1, dtype=np.uint32)[places] + labels.max(initial=0)
    return out
