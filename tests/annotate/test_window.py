"""The real window of napari and micro_sam, with a person at it: what is drawn is what is handed in, whatever happens."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alcore.annotate.draft_files import drafted_by
from alcore.annotate.drafts import read_draft, save_draft
from alcore.annotate.order import LABEL, Order, Weights
from alcore.annotate.patch import picture, read_patch
from alcore.annotate.sam import embed_slice, load_predictor, store_embeddings
from alcore.volumes.labels import read_labels
from alcore.weights.places import digest
from tests.alcore.pseudo import tiny_sam
from tests.annotate.patches import suggestion


def order(root: Path, folder: Path, **more) -> Order:
    return Order("s00001", str(folder), str(root / "work"), "ana", reasons=("artefact", "other"), idle_s=30, **more)


@pytest.fixture
def embedded(tmp_path: Path, tiny_weights: Weights, monkeypatch) -> Path:
    """Embeddings of the patch in queue/s00001, as the stage makes them."""
    tiny_sam.register(monkeypatch)
    planes = picture(read_patch(suggestion(tmp_path / "queue" / "s00001")).image)
    predictor, _ = load_predictor(tiny_weights, "cpu")
    folder = tmp_path / "embeddings"
    found = digest(Path(tiny_weights.files[0]))
    store_embeddings(folder, found, len(planes), lambda z: embed_slice(predictor, planes[z]))
    return folder


def test_what_is_drawn_is_handed_in_and_nothing_is_lost_on_the_way(
    play, tmp_path: Path, embedded: Path, tiny_weights: Weights
) -> None:
    asked = order(tmp_path, tmp_path / "queue" / "s00001", weights=tiny_weights, embeddings=str(embedded))
    played = play(asked, "segment_with_traps")
    seen, outcome = played.seen, played.outcome
    assert outcome is not None and played.code == 0, played.log
    assert seen["start"] == [0, 1, 2] and "has looked at every slice" in seen["sam"]
    assert seen["segmented"][2] > 0 and sum(seen["segmented"]) == seen["segmented"][2]
    assert seen["committed"][0] == seen["committed"][1] > 0 and seen["others_kept"]
    assert seen["range_after_volume"] is None
    assert seen["slices_committed"] == [True] * 4
    assert seen["covering"][0] == seen["covering"][1] > 0
    assert seen["corrected_kept"] and seen["automatic"][0] == seen["automatic"][1] and not seen["automatic"][2]
    assert seen["modes"] == [["pixels"], ["none", "pixels"], "none"]
    assert seen["layer_back"] == [True, True]
    assert not seen["embed_button"] and seen["unharmed"]
    asked = [question.split(" holds")[0] for question in seen["questions"]]
    assert seen["still_open"] and asked[:3] == ["auto_segmentation", "auto_segmentation", "current_object"]
    assert seen["own_layer"] and len(asked) == 4 and asked[3].startswith("The layer")
    assert (outcome.answer, outcome.goes_on, outcome.seen) == ("submit", True, (1, 3))
    label, _ = read_labels(tmp_path / "work" / LABEL)
    patch = read_patch(tmp_path / "queue" / "s00001")
    assert label.shape == patch.shape and label[1, 60, 60] == 77
    assert label[3, 51, 21] > 0, "the object that was committed on the way out"
    assert np.unique(label[3, 50:53, 20:23]).size == 1 and label[3, 49, 19] not in (0, label[3, 51, 21])
    assert label[1, 69, 69] == label[3, 49, 19], "the automatic segmentation, around what was drawn by hand"
    assert label[1, 60, 71] > 78 and label[1, 60, 68] == label[1, 69, 69], "a layer of one's own goes where nothing was"
    assert not label[patch.margin].any() and 78 not in label
    assert np.array_equal(patch.pseudo, read_labels(tmp_path / "queue" / "s00001" / "pseudo_label.tif")[0])
    assert outcome.work["changed_voxels"] == np.count_nonzero(label != patch.pseudo)
    assert outcome.work["clicks"] >= 3 and outcome.work["active_s"] > 0 and "micro_sam vit_b_lm" in outcome.tool


def test_a_draft_outlives_a_kill_and_a_close_and_is_offered(play, tmp_path: Path) -> None:
    folder = suggestion(tmp_path / "queue" / "s00001")
    asked = order(tmp_path, folder, why_plain="no weights", autosave_s=0.5)
    killed = play(asked, "draw_and_die")
    assert killed.outcome is None and killed.code < 0
    draft = read_draft(tmp_path / "work", read_patch(folder).shape)
    assert draft is not None and 9 in draft.labels and 10 not in draft.labels and draft.user == "ana"

    closed = play(order(tmp_path, folder, why_plain="no weights"), "draw_more_and_close")
    assert closed.seen["offers"] and closed.seen["labels"] == [0, 1, 2, 9]
    assert closed.outcome is not None and closed.outcome.answer == "closed" and closed.outcome.draft
    assert not (tmp_path / "work" / LABEL).exists()

    again = play(order(tmp_path, folder, why_plain="no weights"), "start_again_then_none_at_all")
    assert again.seen["labels"] == [0, 1, 2, 9, 11] and again.seen["after"] == [0, 1, 2]
    assert again.outcome is not None and (again.outcome.answer, again.outcome.goes_on) == ("empty", True)
    assert not read_labels(tmp_path / "work" / LABEL)[0].any()
    assert again.outcome.work["changed_voxels"] == np.count_nonzero(read_patch(folder).pseudo)
    assert drafted_by(tmp_path / "work") is not None, "it goes when the label was accepted, not before"


def test_what_lies_beside_the_label_is_never_lost_without_a_word(play, tmp_path: Path) -> None:
    folder = suggestion(tmp_path / "queue" / "s00001")
    closed = play(order(tmp_path, folder, why_plain="no weights"), "draw_beside")
    assert closed.outcome is not None and closed.outcome.answer == "closed" and closed.outcome.draft
    assert len(closed.seen["questions"]) == 1 and "Nothing was changed" in closed.seen["questions"][0]
    assert closed.seen["others"] == ["mine"]
    shape = read_patch(folder).shape
    draft = read_draft(tmp_path / "work", shape)
    assert draft is not None and draft.others is not None and np.count_nonzero(draft.others) == 16

    uncommitted = np.zeros(shape, np.uint32)
    uncommitted[2, 10:12, 40:42] = 1
    save_draft(
        tmp_path / "work", replace(draft, uncommitted=uncommitted)
    )  # as a window with Segment Anything leaves it
    asked = order(tmp_path, folder, why_plain="no weights")
    handed_in = play(asked, "go_on_beside")
    assert handed_in.outcome is not None and handed_in.outcome.answer == "submit"
    assert {"current_object", "not in the label"} <= set(handed_in.seen["layers"])
    assert any("current_object" in line and "no part of the label" in line for line in handed_in.seen["lines"])
    label, patch = read_labels(tmp_path / "work" / LABEL)[0], read_patch(folder)
    assert (label[1, 30:34, 50:54] > 2).all() and np.count_nonzero(label != patch.pseudo) == 16


@pytest.mark.slow
def test_a_single_slice_opens_flat_and_is_looked_at_on_demand(play, tmp_path: Path, tiny_weights: Weights) -> None:
    folder = suggestion(tmp_path / "queue" / "s00001", (1, 64, 64))
    played = play(order(tmp_path, folder, weights=tiny_weights), "one_slice")
    assert played.outcome is not None and played.outcome.answer == "submit", played.log
    assert played.seen["ndim"] == 2 and played.seen["segmented"] > 0 and "knows slice 0 now" in played.seen["sam"]
    assert read_labels(tmp_path / "work" / LABEL)[0].shape == (1, 80, 80)


def test_what_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text('{"suggestion": "s00001"')
    command = [sys.executable, "-m", "alcore.annotate", str(tmp_path / "order.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and "not an order" in done.stderr
