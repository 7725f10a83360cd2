"""Stage label: good labels of any tool become self-contained cases, bad ones get a reason, hostile ones do no harm."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.errors import BadLabelError, SourceChangedError, SourceMissingError
from alcore.types import Box
from alcore.volumes import open_volume
from alcore.volumes.labels import read_labels, read_labels_metadata
from tests.alcore.stages.label_desk import BOX, Desk, drawing


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def desk(furnished: Desk) -> Desk:
    furnished.inbox.unlink(missing_ok=True)
    return furnished


@pytest.mark.parametrize("dtype", ["uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"])
@pytest.mark.parametrize("leading", [(), (1,)])
def test_a_good_label_of_any_tool(desk: Desk, dtype: str, leading: tuple[int, ...]) -> None:
    desk.save(drawing().reshape(*leading, 5, 40, 60).astype(dtype), compression="zlib")
    folder, result = desk.submit()
    labels, _ = read_labels(folder / "label.tif")
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels, np.select([drawing() == 7, drawing() == 300], [1, 2], 0))
    share = (labels > 0).mean()
    expected = {"n_objects": 2, "foreground_fraction": share, "seen_fraction": 1.0, "n_cut": 2, "warnings": []}
    assert result == expected
    np.testing.assert_array_equal(read_labels(folder / "pseudo.tif")[0], desk.pseudo)
    with open_volume(folder / "image.tif") as image:
        np.testing.assert_array_equal(image.read(Box((0, 0, 0), BOX.shape)), desk.image[(slice(None), *BOX.slices)])
        assert image.voxel_um == (0.5, 0.1, 0.1)
    page = json.loads((folder / "label.json").read_text())
    assert page["suggestion"] == "s-1"
    assert Box.from_json(page["box"]) == BOX
    assert page["volume_sha256"] == desk.sha256
    assert len(page["stats"]) == 1
    assert page["n_objects"] == 2
    assert page["voxel_um"] == [0.5, 0.1, 0.1]
    assert read_labels_metadata(folder / "label.tif")["origin"] == "human"


def changed(index: tuple[int, ...], value: float, dtype: str = "float64") -> np.ndarray[Any, Any]:
    labels = drawing().astype(dtype)
    labels[index] = value
    return labels


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (drawing()[:4], {}, r"\(Z, Y, X\) = \(4, 40, 60\), but the patch is \(5, 40, 60\)"),
        (drawing()[0], {}, r"\(1, 40, 60\), but the patch is \(5, 40, 60\)"),
        (
            drawing().transpose(2, 1, 0),
            {},
            r"\(60, 40, 5\), but the patch is \(5, 40, 60\); its axes seem to be stored as XYZ: save them in the order Z, Y, X",
        ),
        (np.zeros((2, 5, 40, 60), np.uint8), {}, r"no single \(Z, Y, X\) mask"),
        (changed((0, 0, 0), 0.5), {}, "fractions or NaN"),
        (changed((0, 0, 0), np.nan), {}, "fractions or NaN"),
        (changed((0, 0, 0), np.inf), {}, "fractions or NaN"),
        (changed((0, 0, 0), 2.0**31), {}, "ids from 0 to"),
        (changed((0, 0, 0), -1.0), {}, "ids from -1 to"),
        (changed((0, 0, 0), -1, "int32"), {}, "ids from -1 to 300"),
        (changed((0, 0, 0), 2**31, "uint32"), {}, "ids from 0 to 2147483648"),
        (changed((0, 0, 0), 2**64 - 1, "uint64"), {}, "ids from 0 to 18446744073709551615"),
        (drawing().astype(bool), {}, "bool values"),
        (np.zeros((5, 40, 60, 3), np.uint8), {"photometric": "rgb"}, "colour image"),
        (np.zeros((5, 40, 60), np.uint8), {}, "empty"),
    ],
)
def test_a_bad_label_gets_its_reason(
    desk: Desk, labels: np.ndarray[Any, Any], options: dict[str, Any], words: str
) -> None:
    desk.save(labels, **options)
    with pytest.raises(BadLabelError, match=rf"^s-1\.tif: .*{words}") as caught:
        desk.submit()
    assert "\n" not in str(caught.value)
    assert str(desk.folder) not in str(caught.value)
    assert not (desk.ctx.scratch / "received.tif").exists()


def test_an_empty_label_that_is_meant(desk: Desk) -> None:
    desk.save(np.zeros((5, 40, 60), np.uint8))
    _, result = desk.submit(confirm_empty=True)
    assert (result["n_objects"], result["foreground_fraction"], result["warnings"]) == (0, 0.0, [])


class Trap:
    """Unpickling this leaves a trace."""

    def __reduce__(self) -> Any:
        return (Path("trapped").touch, ())


@pytest.mark.parametrize("kind", ["cut", "garbage", "empty", "pickle", "npy", "text"])
def test_hostile_files(desk: Desk, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.folder)
    desk.save(drawing())
    whole = desk.inbox.read_bytes()
    np.save(desk.folder / "l.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    desk.inbox.write_bytes(
        {
            "cut": whole[: len(whole) * 2 // 3],
            "garbage": np.random.default_rng(0).bytes(10_000),
            "empty": b"",
            "pickle": pickle.dumps(Trap()),
            "npy": (desk.folder / "l.npy").read_bytes(),
            "text": b"nothing to see here",
        }[kind]
    )
    with pytest.raises(BadLabelError, match=r"^s-1\.tif: "):
        desk.submit()
    assert not (desk.folder / "trapped").exists()


def test_a_label_far_too_large(desk: Desk) -> None:
    desk.save(drawing())
    os.truncate(desk.inbox, 3 << 30)
    with pytest.raises(BadLabelError, match=r"^s-1\.tif: larger than 1 GB"):
        desk.submit(key="sha256:unread")


def test_a_label_that_changes_or_vanishes(desk: Desk) -> None:
    desk.save(drawing())
    with pytest.raises(SourceChangedError, match=r"s-1\.tif: changed since"):
        desk.submit(key="sha256:0123")
    desk.inbox.unlink()
    with pytest.raises(SourceMissingError, match=r"s-1\.tif"):
        desk.submit(key="sha256:gone")


def test_slips_are_warned_of_but_accepted(desk: Desk) -> None:
    labels = drawing()
    labels[2, 38, 58] = 7
    labels[0, 0, 0:3] = 9
    desk.save(labels)
    assert desk.submit()[1]["warnings"] == [
        "in several pieces: 1 of 3 objects (ids 7)",
        "fewer than 8 voxels: 1 of 3 objects (ids 9)",
    ]
    desk.save(desk.pseudo * 3)
    assert desk.submit()[1]["warnings"] == ["all 2 objects are identical to the pseudo-label: was it saved unchanged?"]
    labels = np.where(desk.pseudo == 1, 4, 0) + np.where(drawing() == 300, 6, 0)
    desk.save(labels)
    assert desk.submit()[1]["warnings"] == ["1 of 2 objects are identical to the pseudo-label"]
    desk.save(drawing() + 1)
    assert "no voxel is background: is the background saved as an object?" in desk.submit()[1]["warnings"]
    diagonal = np.zeros((5, 40, 60), np.uint8)
    diagonal[0, 0:4, 0:4], diagonal[1, 4:8, 4:8] = 1, 1
    desk.save(diagonal)
    assert not any("pieces" in w for w in desk.submit()[1]["warnings"]), "pieces that touch at a corner are one"
