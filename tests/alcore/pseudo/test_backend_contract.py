"""The contract of every PseudoLabeler: a new backend joins by its name in BACKENDS and its cheapest options here.

Backends that need weights get random ones (see `learned`): what they find is noise, but it must be numbered, repeated,
interrupted and continued like anything else. Only what needs none has to find the objects, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from alcore.arrays.matching import score
from alcore.errors import PermanentError, Preempted
from alcore.pseudo import BACKENDS, backend
from tests.alcore.pseudo import learned

Image = np.ndarray[Any, Any]
THRESHOLD: dict[str, Any] = {"block_voxels": 1 << 15}
"""Options under which the backend works in several blocks on the small volumes below."""
WITHOUT_WEIGHTS = ["threshold"]
CHECKPOINTS = ["micro_sam", "cellsam"]
"""Those whose weights are one file from elsewhere."""


@pytest.fixture(scope="module")
def options_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], dict[str, Any]]]:
    """A function from a backend to its cheapest options; skips where it cannot run."""
    patch = pytest.MonkeyPatch()
    made: dict[str, dict[str, Any]] = {"threshold": THRESHOLD}

    def options(name: str) -> dict[str, Any]:
        if name not in made:
            made[name] = learned.options(name, tmp_path_factory.mktemp(name), patch)
        return made[name]

    yield options
    patch.undo()


@pytest.fixture(params=list(BACKENDS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def shape_for(name: str, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """A smaller volume for what takes a second for each slice."""
    return shape if name in WITHOUT_WEIGHTS else learned.SHAPE


def sound(labels: Image, said: Any) -> bool:
    """What must hold of every result."""
    return (
        labels.dtype == np.uint32
        and set(np.unique(labels)) - {0} == set(range(1, said.n_objects + 1))
        and len(said.confidence) == said.n_objects
        and all(0 <= c <= 1 for c in said.confidence)
        and said.foreground_fraction == pytest.approx((labels > 0).mean())
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bright", [True, False])
@pytest.mark.parametrize("name", WITHOUT_WEIGHTS, indirect=True)
def test_finds_objects_and_says_so(name: str, dtype: str, bright: bool, label: Any, phantom: Any) -> None:
    image, truth = phantom((32, 80, 88), bright=bright)
    labels, said = label(image.clip(0, 255).astype(dtype), name=name, **THRESHOLD)
    assert score(labels, truth).f1 >= 0.8 and sound(labels, said)


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS, indirect=True)
def test_finds_the_objects_of_one_slice(name: str, label: Any, phantom: Any) -> None:
    image, truth = phantom((1, 160, 150), radius=9)
    labels, _ = label(image, name=name, **THRESHOLD)
    assert score(labels, truth).f1 >= 0.8


def test_a_picture_of_one_slice_of_unknown_voxel_size(name: str, label: Any, phantom: Any, options_of: Any) -> None:
    options = {**options_of(name), "_voxel_um": None}
    image, _ = phantom((1, 90, 84), radius=9)
    labels, said = label(image, voxel_um=None, name=name, **options)
    assert said.n_objects > 0 and sound(labels, said)


@pytest.mark.parametrize("value", [0, 97])
def test_a_flat_volume_is_empty_with_a_note(name: str, value: int, label: Any, options_of: Any) -> None:
    labels, said = label(np.full((5, 40, 40), value, np.uint8), name=name, **options_of(name))
    assert not labels.any() and said.n_objects == 0 and said.confidence == () and said.foreground_fraction == 0
    assert any("nothing" in note for note in said.notes)


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS, indirect=True)
def test_nan_is_background_and_spoils_nothing_around_it(name: str, label: Any, phantom: Any) -> None:
    image, truth = phantom((32, 80, 88))
    image[:, :12], image[10, 50, 50], image[20, 60, 3] = np.nan, np.inf, np.nan
    labels, _ = label(image, name=name, **THRESHOLD)
    truth[:, :12] = 0
    assert score(labels[:, 16:], truth[:, 16:]).f1 >= 0.7
    assert (labels[:, :9] > 0).mean() < 0.02


def test_nothing_but_nan(name: str, label: Any, options_of: Any) -> None:
    labels, said = label(np.full((4, 30, 30), np.nan, np.float32), name=name, **options_of(name))
    assert not labels.any() and said.notes


def test_the_same_twice(name: str, label: Any, phantom: Any, options_of: Any, ctx: Any, tmp_path: Any) -> None:
    options = options_of(name)
    image, _ = phantom(shape_for(name, (20, 60, 60)))
    first, said = label(image, name=name, **options)
    ctx.scratch = tmp_path / "other"
    second, again = label(image, name=name, **options)
    assert np.array_equal(first, second) and said == again and sound(first, said)


def test_reports_progress_to_the_end(name: str, label: Any, phantom: Any, ctx: Any, options_of: Any) -> None:
    label(phantom(shape_for(name, (20, 60, 60)))[0], name=name, **options_of(name))
    fractions = [fraction for fraction, _ in ctx.notes]
    assert fractions == sorted(fractions) and len(set(fractions)) > 2 and fractions[-1] == pytest.approx(1)


def test_stops_when_asked_and_continues(
    name: str, label: Any, phantom: Any, ctx: Any, options_of: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    options = options_of(name)
    image, _ = phantom(shape_for(name, (32, 80, 88)))
    whole, said = label(image, name=name, **options)
    questions, all_read = ctx.asked, ctx.voxels_read
    ctx.scratch = tmp_path_factory.mktemp("scratch")
    stops = 0
    for stop_at in sorted({1, questions // 3, questions // 2, questions - 1}):
        ctx.asked, ctx.stop_at = 0, stop_at
        try:
            label(image, name=name, **options)
        except Preempted:
            stops += 1
    ctx.asked, ctx.stop_at = 0, None
    labels, again = label(image, name=name, **options)
    assert stops >= 3 and np.array_equal(labels, whole) and again == said
    assert ctx.asked < questions and ctx.voxels_read < all_read, "finished blocks are not computed again"


@pytest.mark.parametrize("name", CHECKPOINTS, indirect=True)
def test_bogus_weights_are_refused_in_one_line(
    name: str, label: Any, phantom: Any, options_of: Any, tmp_path: Any
) -> None:
    options = options_of(name)
    for content in (b"", b"no weights", b"PK\x03\x04 truncated"):
        bogus = tmp_path / "bogus.pt"
        bogus.write_bytes(content)
        with pytest.raises(PermanentError, match=r"bogus\.pt: no checkpoint") as caught:
            label(phantom(learned.SHAPE)[0], name=name, **{**options, "checkpoint": str(bogus)})
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(PermanentError, match="absent"):
        label(phantom(learned.SHAPE)[0], name=name, **{**options, "checkpoint": str(tmp_path / "absent.pt")})


@pytest.mark.parametrize("name", CHECKPOINTS, indirect=True)
def test_weights_of_another_model_are_refused(
    name: str, label: Any, phantom: Any, options_of: Any, tmp_path: Any
) -> None:
    options = options_of(name)
    import torch

    other = tmp_path / "other.pt"
    torch.save({"conv.weight": torch.zeros(3)}, other)
    with pytest.raises(PermanentError, match=r"other\.pt: not a"):
        label(phantom(learned.SHAPE)[0], name=name, **{**options, "checkpoint": str(other)})


@pytest.mark.parametrize("name", CHECKPOINTS, indirect=True)
def test_the_weights_are_in_the_record_and_stay_loaded(
    name: str, label: Any, phantom: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib
    import importlib
    from pathlib import Path

    options = options_of(name)
    image, _ = phantom(learned.SHAPE)
    _, said = label(image[:1], name=name, **options)
    digest = hashlib.sha256(Path(options["checkpoint"]).read_bytes()).hexdigest()
    assert digest in said.parameters["sha256"]
    module = importlib.import_module(f"alcore.pseudo.{name}_model")
    monkeypatch.setattr(module, "load_tensors", lambda path: pytest.fail("loaded again"))
    label(image[1:2], name=name, **options)


@pytest.mark.parametrize("name", ["nnunet"], indirect=True)
def test_a_model_of_our_own_goes_on_in_the_middle_of_its_sliding_window(
    name: str, label: Any, phantom: Any, ctx: Any, options_of: Any, tmp_path: Any
) -> None:
    options = options_of(name)
    image, _ = phantom((40, 60, 68))
    whole, said = label(image, name=name, **options)
    questions, all_read = ctx.asked, ctx.voxels_read
    ctx.scratch, ctx.asked, ctx.stop_at = tmp_path / "stopped", 0, questions // 2
    with pytest.raises(Preempted, match="prediction stopped"):
        label(image, name=name, **options)
    ctx.asked, ctx.stop_at = 0, None
    labels, again = label(image, name=name, **options)
    assert np.array_equal(labels, whole) and again == said
    assert 0 < ctx.voxels_read < 0.9 * all_read, "rows of tiles that were done are not predicted again"


@pytest.mark.parametrize("name", ["nnunet"], indirect=True)
def test_a_model_of_our_own_goes_on_by_the_processor_when_the_gpu_is_full(
    name: str, label: Any, phantom: Any, ctx: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    import torch

    from alcore.nnunet import prediction
    from alcore.pseudo.warm import forget

    options = options_of(name)
    image, _ = phantom((40, 60, 68))
    whole, said = label(image, name=name, **options)
    devices: list[str] = []

    class Full(prediction.Predictor):
        """A GPU that is full after some tiles."""

        def __init__(self, model: Any, device: str, *more: Any) -> None:
            devices.append(device)
            super().__init__(model, "cpu", *more)
            self.full = device == "cuda"

        def class_logits(self, *given: Any) -> Any:
            for number, found in enumerate(super().class_logits(*given)):
                if self.full and number == 3:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
                yield found

    monkeypatch.setattr(prediction, "Predictor", Full)
    forget()
    ctx.scratch, ctx.device = tmp_path / "full", "cuda"
    labels, again = label(image, name=name, **options)
    assert devices == ["cuda", "cpu"]
    assert np.array_equal(labels, whole) and again.confidence == said.confidence
    assert any("no room for a tile" in note for note in again.notes) and not said.notes
    forget()


@pytest.mark.parametrize("name", ["nnunet"], indirect=True)
def test_a_model_of_our_own_stays_loaded_until_another_is_wanted(
    name: str, label: Any, phantom: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    import shutil

    from alcore.nnunet import prediction
    from alcore.pseudo.warm import forget

    options = options_of(name)
    image, _ = phantom(learned.SHAPE)
    made: list[Any] = []
    load = prediction.model.load_weights
    monkeypatch.setattr(prediction.model, "load_weights", lambda folder: made.append(folder) or load(folder))
    forget()
    first, said = label(image, name=name, **options)
    again, _ = label(image, name=name, **options)
    assert len(made) == 1 and np.array_equal(first, again) and said.parameters["sha256"]
    other = shutil.copytree(options["_model"], tmp_path / "other")
    label(image, name=name, **{**options, "_model": other})
    assert len(made) == 2, "a model of another place is another model"


def test_an_option_that_does_not_exist(name: str) -> None:
    with pytest.raises(PermanentError, match="no option 'zzz'; the nearest is"):
        backend(name, {"zzz": 1})


def test_a_backend_that_does_not_exist() -> None:
    with pytest.raises(PermanentError, match=r"'magic' does not exist; known backends: .*threshold"):
        backend("magic", {})


def test_a_model_directory_that_is_none(label: Any, phantom: Any, tmp_path: Any) -> None:
    with pytest.raises(PermanentError, match="needs a trained model, and there is none yet"):
        label(phantom(learned.SHAPE)[0], name="nnunet")
    with pytest.raises(PermanentError, match=r"weights\.pt: weights cannot be read"):
        label(phantom(learned.SHAPE)[0], name="nnunet", _model=tmp_path)
