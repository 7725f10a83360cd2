"""Ways in which micro_sam and napari lose work without a word, each closed here. Checked against micro_sam 1.8.14, napari 0.9."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESERVE = {"current_object": ("none", "pixels"), "auto_segmentation": ("pixels",)}
"""What a commit of a layer may leave of older objects; first what it does unless told otherwise. An automatic segmentation covers
the whole image: what a person corrected stays."""


def fresh_state() -> Any:
    """The annotator's state, empty. It is one object per process, and what an earlier viewer left in it would be taken for ours."""
    from micro_sam.sam_annotator._state import AnnotatorState

    state = AnnotatorState()
    state.reset_state()
    state.skip_recomputing_embeddings = None
    return state


def close_traps(viewer: Any, state: Any) -> None:
    """Call once the annotator's layers and widgets are there.

    - "Segment all slices" remembers its range of slices for good, and commits drop everything outside it: the range is
      forgotten when it has served its purpose, which is as soon as the object is in its layer.
    - A commit of the mode "objects" drops an object that covers an older one: what a person drew last wins instead. "pixels"
      stays for those who want it: what it leaves out can be seen. What nobody drew, an automatic segmentation, never wins.
    - "Compute Embeddings" empties all layers, committed objects too: embeddings are there already, the button goes.
    - commit_path needs a package that only conda has, and fails after a half-done commit: it goes.
    """
    viewer.layers["current_object"].events.data.connect(lambda event: setattr(state, "z_range", None))
    commit = state.widgets["commit"]
    commit.layer.changed.connect(lambda name: _offer(commit.preserve_mode, PRESERVE[name]))
    _offer(commit.preserve_mode, PRESERVE[commit.layer.value])
    commit.preservation_threshold.hide()
    commit.commit_path.hide()
    frame = state.widgets["embeddings"].parentWidget()
    state.widgets["embeddings"].setEnabled(False)
    (frame or state.widgets["embeddings"]).hide()


def _offer(choice: Any, modes: tuple[str, ...]) -> None:
    choice.choices = modes
    choice.value = modes[0]


class LayerGuard:
    """Layers that are removed or renamed come back at once, as they were: micro_sam would go on with an empty new one."""

    def __init__(self, viewer: Any, layers: Mapping[str, Any]) -> None:
        self._viewer, self._on, self._kept = viewer, True, dict(layers)
        viewer.layers.events.removed.connect(self._removed)
        for layer in self._kept.values():
            layer.events.name.connect(self._renamed)

    def end(self) -> None:
        """The viewer is about to take its layers apart."""
        self._on = False

    def _removed(self, event: Any) -> None:
        from qtpy.QtCore import QTimer

        for name, layer in self._kept.items():
            if event.value is layer:
                QTimer.singleShot(0, lambda name=name, layer=layer: self._bring_back(name, layer))

    def _renamed(self, event: Any) -> None:
        for name, layer in self._kept.items():
            if layer.name != name and self._on:
                layer.name = name

    def _bring_back(self, name: str, layer: Any) -> None:
        if not self._on or layer in self._viewer.layers:
            return
        if name in self._viewer.layers:  # somebody made another of that name in the meantime: ours holds the work
            self._viewer.layers[name].name = f"{name} (other)"
        self._viewer.add_layer(layer)
        self._viewer.status = f"{name} holds the work and stays; hide it with the eye instead"
