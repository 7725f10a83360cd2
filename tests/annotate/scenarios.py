"""What people do in the window: each is a generator for `driver.play`. Times that a scenario waits for are in ms."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np

Steps = Iterator[Any]


def segment_with_traps(p: Any) -> Steps:
    """Prompt, commit, edit, and everything that used to lose work; then Ctrl-Enter with an object that was not committed."""
    from qtpy.QtCore import Qt

    shift = Qt.KeyboardModifier.ShiftModifier
    committed, current = p.layer(), p.layer("current_object")
    start = committed.data.copy()
    p.seen["start"] = np.unique(start).tolist()
    p.seen["sam"] = p.dock.sam.text()
    yield
    # one prompt, one slice: S, then C
    points = p.layer("point_prompts")
    points.data = np.array([[2.0, 40.0, 40.0]])
    yield
    p.key(Qt.Key.Key_S)
    yield 200
    drawn = current.data.copy()
    p.seen["segmented"] = [int((drawn[z] > 0).sum()) for z in range(len(drawn))]
    p.key(Qt.Key.Key_C)
    yield 200
    p.seen["committed"] = int((committed.data[2][drawn[2] > 0] > 2).sum()), int((drawn[2] > 0).sum())
    p.seen["others_kept"] = bool(np.array_equal(committed.data[0], start[0]))
    # trap: the range of slices of "segment all slices" outlives its object
    committed.data = start.copy()
    points.data = np.array([[2.0, 40.0, 40.0]])
    yield
    p.key(Qt.Key.Key_S, shift)
    yield 300
    p.seen["range_after_volume"] = p.state.z_range
    p.key(Qt.Key.Key_C)
    yield 200
    committed.data = start.copy()
    p.state.z_range = (1, 1)  # as an earlier "segment all slices" leaves it
    object_ = np.zeros_like(start)
    object_[:, 20:24, 60:64] = 1
    current.data = object_
    yield
    p.key(Qt.Key.Key_C)
    yield 200
    p.seen["slices_committed"] = [bool((committed.data[z, 20:24, 60:64] > 0).all()) for z in range(len(start))]
    # trap: an object over an older one
    committed.data = start.copy()
    cover = np.zeros_like(start)
    cover[start == 1] = 1
    cover[2, 30:50, 30:50] = 1
    current.data = cover
    yield
    p.key(Qt.Key.Key_C)
    yield 200
    p.seen["covering"] = int((committed.data[cover > 0] > 2).sum()), int((cover > 0).sum())
    # trap: an automatic segmentation over what was corrected
    committed.data = start.copy()
    committed.data[2, 20:24, 20:24] = 70
    automatic, commit = p.layer("auto_segmentation"), p.state.widgets["commit"]
    found = np.zeros_like(start)
    found[:, 10:60, 10:60] = 1
    automatic.data = found
    before = committed.data.copy()
    commit.layer.value = "auto_segmentation"
    yield
    p.seen["modes"] = [sorted(commit.preserve_mode.choices)]
    p.key(Qt.Key.Key_C)
    yield 200
    p.seen["corrected_kept"] = bool(np.array_equal(committed.data[before > 0], before[before > 0]))
    p.seen["automatic"] = int((committed.data[found > 0] > 0).sum()), int((found > 0).sum()), bool(automatic.data.any())
    commit.layer.value = "current_object"
    yield
    p.seen["modes"] += [sorted(commit.preserve_mode.choices), commit.preserve_mode.value]
    committed.data = start.copy()
    # trap: a layer that is deleted or renamed
    before = committed.data.copy()
    committed.name = "mine"
    p.viewer.layers.remove(current)
    yield 200
    p.seen["layer_back"] = (p.layer() is committed, p.layer("current_object") is current)
    # trap: the button that empties every layer
    embed = p.state.widgets["embeddings"]
    p.seen["embed_button"] = bool(embed.isEnabled() or embed.isVisible())
    p.click(embed.run_button)
    yield 200
    p.seen["unharmed"] = bool(np.array_equal(committed.data, before))
    # strokes by hand, one of them in the margin, then an object that is forgotten
    committed.selected_label = 77
    committed.paint((1, 60, 60), 77)
    committed.paint((1, 2, 2), 78)
    forgotten = np.zeros_like(start)
    forgotten[3, 50:53, 20:23] = 1
    current.data = forgotten
    # an automatic segmentation over both, and an object in a layer of its own
    found = np.zeros_like(start)
    found[1, 50:70, 50:70] = 1
    found[3, 48:55, 18:25] = 1
    automatic.data = found
    p.viewer.layers.selection.active = committed
    p.viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    yield
    own = p.viewer.layers[-1]
    p.seen["own_layer"] = own not in (committed, current, automatic) and own.data.shape == start.shape
    own.data[1, 60:64, 66:72] = 4
    p.dock.whole.setChecked(False)
    p.dock.first.setValue(1)
    yield
    p.answers("Back to work")
    p.click(p.dock.submit)
    yield 400
    p.seen["still_open"] = p.session.outcome is None
    p.answers("Commit it and hand in", "Commit it and hand in", "Add it where the label is empty")
    p.key(Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    yield


def one_slice(p: Any) -> Steps:
    """A patch of one slice, which Segment Anything has not looked at; Submit ends it."""
    from qtpy.QtCore import Qt

    p.seen["ndim"] = p.layer().data.ndim
    p.layer("point_prompts").data = np.array([[40.0, 40.0]])
    yield
    p.key(Qt.Key.Key_S)
    yield 300
    p.seen["segmented"] = int((p.layer("current_object").data > 0).sum())
    p.seen["sam"] = p.dock.sam.text()
    p.key(Qt.Key.Key_C)
    yield 200
    p.click(p.dock.submit)
    yield


def draw_beside(p: Any) -> Steps:
    """Submits what nobody touched, thinks better of it, draws into a layer of their own only, and closes the window."""
    p.answers("Back to work")
    p.click(p.dock.submit)
    yield 400
    for name in ("removed", "mine"):
        p.viewer.layers.selection.active = p.layer()
        p.viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
        yield
        p.viewer.layers[-1].name = name
        p.layer(name).data[1, 30:34, 50:54] = 1
        if name == "removed":
            p.viewer.layers.remove(p.layer(name))
        yield 200
    p.seen["others"] = sorted(p.window.canvas.others.drawn())
    p.viewer.close()
    yield


def go_on_beside(p: Any) -> Steps:
    """Finds what lay beside the label in layers of its own, leaves out one and takes the other."""
    from qtpy.QtWidgets import QLabel

    p.seen["layers"] = [layer.name for layer in p.viewer.layers]
    p.seen["lines"] = [line.text() for line in p.dock.findChildren(QLabel)]
    p.answers("Leave it out", "Add it where the label is empty")
    p.click(p.dock.submit)
    yield


def draw_and_die(p: Any) -> Steps:
    """A stroke, time enough for the draft, and a machine that goes down."""
    p.layer().paint((1, 30, 50), 9)
    yield 1500
    p.layer().paint((2, 30, 50), 10)
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def draw_more_and_close(p: Any) -> Steps:
    """Goes on from the draft, and closes the window by its button."""
    p.seen["labels"] = np.unique(p.layer().data).tolist()
    p.seen["offers"] = hasattr(p.dock, "start_again")
    p.seen["active_s"] = p.session.activity.active_s
    p.layer().paint((3, 30, 50), 11)
    yield
    p.viewer.close()  # takes all layers out of its list before the window hears of it
    yield


def start_again_then_none_at_all(p: Any) -> Steps:
    """Throws the draft away after all, and finds that what the pseudo-label holds is no object either."""
    p.seen["labels"] = np.unique(p.layer().data).tolist()
    p.answers("Start again")
    p.click(p.dock.start_again)
    yield 200
    p.seen["after"] = np.unique(p.layer().data).tolist()
    p.answers("Back to work")
    p.click(p.dock.empty)
    yield 200
    p.answers("They are wrong: there is no object here")
    p.click(p.dock.empty)
    yield


def draw_and_go_on(p: Any) -> Steps:
    """The first patch is drawn and handed in, the second skipped, the third closed."""
    from qtpy.QtCore import Qt

    number = p.session.order.suggestion
    p.seen["facts"] = [list(f) for f in p.session.order.facts]
    p.seen["progress"], p.seen["news"] = list(p.session.order.progress), list(p.session.order.news)
    if number.endswith("1"):
        for _ in range(3):
            p.click(p.dock.status)
            yield 100
        p.layer().paint((1, 30, 50), 9)
        p.key(Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    elif number.endswith("2"):
        p.dock.reason.setCurrentText("out of focus")
        p.dock.words.setText("drift")
        p.click(p.dock.skip)
    else:
        p.layer().paint((1, 30, 50), 9)
        p.viewer.window._qt_window.close()
    yield


def wait(p: Any) -> Steps:
    """Draws a stroke and does nothing more."""
    p.layer().paint((1, 30, 50), 9)
    yield


def prompt_far_to_the_right(p: Any) -> Steps:
    """In the second tile of a wide image: one slice, then all."""
    from qtpy.QtCore import Qt

    current = p.layer("current_object")
    p.seen["sam"] = p.dock.sam.text()
    yield
    p.layer("point_prompts").data = np.array([[1.0, 24.0, 1000.0]])
    p.viewer.dims.set_current_step(0, 1)
    yield
    p.key(Qt.Key.Key_S)
    for _ in range(300):  # a busy machine takes its time over the tile
        yield 100
        if current.data.any():
            break
    p.seen["then"] = p.dock.sam.text()
    drawn = np.argwhere(current.data > 0)
    p.seen["columns"] = [int(drawn[:, 2].min()), int(drawn[:, 2].max())]
    p.seen["slices"] = sorted({int(z) for z in drawn[:, 0]})
    p.key(Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    yield 2000
    p.seen["all_slices"] = sorted({int(z) for z in np.argwhere(current.data > 0)[:, 0]})
    p.key(Qt.Key.Key_C)
    yield 200
    p.window.qt.close()
