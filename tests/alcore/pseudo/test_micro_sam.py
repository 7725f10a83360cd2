"""The backend micro_sam on the real library with a tiny random model: both modes, tiles, windows, costs, a full device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.errors import MissingExtraError, PermanentError
from alcore.pseudo import backend, packages
from alcore.pseudo.micro_sam import MicroSamOptions
from alcore.pseudo.micro_sam_settings import PUBLISHED, Thresholds
from alcore.pseudo.warm import forget
from tests.alcore.pseudo import tiny_sam

Image = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Checkpoints of the tiny model by kind."""
    absent = packages.missing("micro_sam")
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed: {packages.INSTALL['micro_sam']}")
    patch = pytest.MonkeyPatch()
    tiny_sam.register(patch)
    yield tiny_sam.save_checkpoints(tmp_path_factory.mktemp("sam"))
    patch.undo()
    forget()


@pytest.fixture(scope="module")
def picture() -> Image:
    """(Y, X, 1) in 0..1, wider than what the encoder sees at once."""
    return np.random.default_rng(0).random((120, 1100, 1)).astype(np.float32)


def model(files: dict[str, Path], kinds: list[str], mode: str, **thresholds: Any) -> Any:
    from alcore.pseudo.micro_sam_model import MicroSamModel

    wanted = Thresholds(**{"pred_iou": 0.1, "stability": 0.0, "min_size": 4, **thresholds})
    return MicroSamModel([files[k] for k in kinds], mode, wanted, 0.5, 2, "cpu", {})


def test_the_decoder_segments_and_may_be_a_file_of_its_own(files: dict[str, Path], picture: Image) -> None:
    cut = picture[:90, :100]
    inside = model(files, ["with_decoder"], "auto")
    assert inside.mode == "ais"
    found = inside.segment(cut)
    beside = model(files, ["plain", "decoder"], "auto").segment(cut)
    n = len(found.confidence)
    assert n > 1 and set(np.unique(found.ids)) - {0} == set(range(1, n + 1))
    assert (found.confidence >= 0).all() and (found.confidence <= 1).all() and found.confidence.std() > 0
    assert np.array_equal(found.ids, beside.ids)


def test_the_decoder_gives_what_the_library_gives(files: dict[str, Path], picture: Image) -> None:
    from micro_sam.automatic_segmentation import automatic_instance_segmentation, get_predictor_and_segmenter

    cut = picture[:90, :100, 0]
    predictor, segmenter = get_predictor_and_segmenter("vit_b", str(files["with_decoder"]), "cpu")
    theirs = automatic_instance_segmentation(
        predictor,
        segmenter,
        cut,
        ndim=2,
        verbose=False,
        center_distance_threshold=0.3,
        boundary_distance_threshold=0.4,
        distance_smoothing=1.2,
        min_size=10,
    )
    ours = model(
        files, ["with_decoder"], "ais", center_distance=0.3, boundary_distance=0.4, distance_smoothing=1.2, min_size=10
    ).segment(cut[..., None])
    pairs = np.unique(np.stack([theirs.ravel(), ours.ids.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(theirs)) == len(np.unique(ours.ids)) > 2


def test_points_give_what_the_library_gives(files: dict[str, Path], picture: Image) -> None:
    from micro_sam.instance_segmentation import AutomaticMaskGenerator

    cut = picture[:90, :100, 0]
    ours = model(files, ["plain"], "auto", min_size=0)
    assert ours.mode == "amg"
    found = ours.segment(cut[..., None])
    generator = AutomaticMaskGenerator(ours._predictor, 2)
    generator.initialize(cut)
    theirs = generator.generate(pred_iou_thresh=0.1, stability_score_thresh=0.0)
    pairs = np.unique(np.stack([theirs.ravel(), found.ids.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(theirs)) == len(np.unique(found.ids)) > 2
    assert 0 < found.confidence.max() <= 1


def test_a_wide_picture_is_tiled_and_an_object_across_tiles_is_one(files: dict[str, Path], picture: Image) -> None:
    ais = model(files, ["with_decoder"], "ais")
    found = ais.segment(picture)
    assert found.ids.shape == picture.shape[:2] and len(found.confidence) > 2
    at_seam = np.intersect1d(found.ids[:, 767], found.ids[:, 768])
    assert len(at_seam[at_seam > 0]), "objects cross the border of two tiles"
    assert ais.seconds(120, 1100) == 2 * ais.seconds(120, 1000)


def test_nothing_is_found_where_nothing_passes(files: dict[str, Path], label: Any, phantom: Any) -> None:
    image, _ = phantom((2, 60, 60))
    for kinds, options in ((["plain"], {"pred_iou": 99, "points_per_side": 1}), (["with_decoder"], {"foreground": 1})):
        labels, said = label(image, name="micro_sam", checkpoint=str(files[kinds[0]]), **options)
        assert not labels.any() and said.n_objects == 0 and any("found nothing" in n for n in said.notes)


def test_windows_of_a_large_slice_are_joined(files: dict[str, Path], label: Any, phantom: Any, ctx: Any) -> None:
    image, _ = phantom((1, 70, 180))
    options = {"checkpoint": str(files["with_decoder"]), "min_size": 4, "window_px": 110, "overlap_px": 40}
    labels, said = label(image, name="micro_sam", **options)
    assert said.parameters["window_px"] == 110 and said.n_objects > 2
    assert len(list(ctx.scratch.glob("micro_sam-*/slices-*.npz"))) == 2
    across = np.intersect1d(labels[0, :, 89], labels[0, :, 90])
    assert len(across[across > 0]), "an object goes on across the border"


def test_a_full_device_gets_smaller_windows_and_a_note(
    files: dict[str, Path], label: Any, phantom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from micro_sam.instance_segmentation import InstanceSegmentationWithDecoder

    original = InstanceSegmentationWithDecoder.initialize

    def full(self: Any, image: Image, **how: Any) -> None:
        if image.shape[1] > 600:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        original(self, image, **how)

    monkeypatch.setattr(InstanceSegmentationWithDecoder, "initialize", full)
    image, _ = phantom((1, 40, 900))
    options = {"checkpoint": str(files["with_decoder"]), "min_size": 4, "window_px": 1000, "overlap_px": 64}
    labels, said = label(image, name="micro_sam", **options)
    assert labels.any() and said.parameters["window_px"] == 500
    assert any("no room for windows of 1000 pixels" in n for n in said.notes)


def test_a_full_device_gets_fewer_points_at_a_time_first(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    amg = model(files, ["plain"], "amg")
    batches = [amg._points_per_batch]
    while amg.smaller() is not None:
        batches.append(amg._points_per_batch)
    assert batches == [64, 16, 4, 1]


def test_a_cpu_that_would_take_days_is_refused_with_the_estimate(
    files: dict[str, Path], label: Any, phantom: Any
) -> None:
    image, _ = phantom((3, 40, 40))
    options = {"checkpoint": str(files["plain"]), "points_per_side": 32, "max_cpu_hours": 0.1}
    with pytest.raises(PermanentError, match=r"about 0\.3 h on this CPU \(3 slices of 40 x 40\).*max_cpu_hours"):
        label(image, name="micro_sam", **options)


def test_a_decoder_that_is_not_there_is_said(files: dict[str, Path]) -> None:
    with pytest.raises(PermanentError, match=r"plain\.pt: has no decoder.*mode 'amg'"):
        model(files, ["plain"], "ais")


def test_weights_that_run_code_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    import torch

    torch.save({"model_state": torch.load(files["plain"]), "train": Path("x")}, tmp_path / "pickled.pt")
    with pytest.raises(PermanentError, match=r"pickled\.pt: no checkpoint that holds weights alone"):
        model({"plain": tmp_path / "pickled.pt"}, ["plain"], "amg")


def test_thresholds_are_those_that_the_annotator_applies() -> None:
    theirs = pytest.importorskip("micro_sam._model_settings")
    for name, ours in PUBLISHED.items():
        ais, amg = theirs.AIS_SETTINGS[name], theirs.AMG_SETTINGS[name]
        assert ours.center_distance == ais["center_distance_thresh"]
        assert ours.boundary_distance == ais["boundary_distance_thresh"]
        assert ours.distance_smoothing == ais["distance_smoothing"]
        assert ours.min_size == ais["min_size"] == amg["min_object_size"]
        assert (ours.pred_iou, ours.stability) == (amg["pred_iou_thresh"], amg["stability_score_thresh"])


def test_what_is_set_goes_before_what_was_published() -> None:
    t = MicroSamOptions(model="vit_b_em_organelles", boundary_distance=0.6).thresholds()
    assert (t.center_distance, t.boundary_distance, t.min_size) == (0.3, 0.6, 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "apg"}, "mode must be one of 'auto', 'ais', 'amg'"),
        ({"channels": [0, 1, 2, 3]}, "channels must list one to three"),
        ({"decoder": "d.pt"}, "needs option checkpoint"),
        ({"gap_closing": -1}, "gap_closing must be a whole number"),
        ({"window_px": 5}, "window_px must be a whole number"),
        ({"pred_iou": "high"}, "pred_iou must be a number"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        backend("micro_sam", options)


def test_weights_that_are_not_here_are_never_fetched_silently(
    label: Any, phantom: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "missing", lambda name: [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MICROSAM_CACHEDIR", raising=False)
    image, _ = phantom((2, 30, 30))
    with pytest.raises(PermanentError, match=r"`alscope models fetch vit_b_lm` \(about 413 MB, CC BY 4\.0"):
        label(image, name="micro_sam", weights_folder=str(tmp_path))
    with pytest.raises(PermanentError, match="knows no model 'vit_x'; there are vit_b_lm"):
        label(image, name="micro_sam", model="vit_x")


def test_a_package_that_is_missing_is_named_with_its_install_line(
    label: Any, phantom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "missing", lambda name: ["micro_sam"])
    with pytest.raises(MissingExtraError, match=r"needs micro_sam, not installed: pip install .*--no-deps"):
        label(phantom((2, 30, 30))[0], name="micro_sam")
