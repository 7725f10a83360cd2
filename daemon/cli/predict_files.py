"""The files that `alscope predict` writes: which belong together, which are not to be lost, and how they take their places."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.errors import UsageError
from daemon.publishing import FORMS, copy_aside, put, remove

if TYPE_CHECKING:
    from daemon.config import Settings


def form_of(target: Path) -> str:
    """How a segmentation is written, by its name; "" where that says neither."""
    return next((form for form in FORMS if target.name.endswith(form)), "")


def table_of(target: Path) -> Path:
    """The table of the objects of a segmentation."""
    return target.with_name(_stem(target) + ".csv")


def uncertainty_of(target: Path) -> Path:
    """The map of the uncertainty of a segmentation, in its form."""
    return target.with_name(f"{_stem(target)}-uncertainty{form_of(target)}")


def _stem(target: Path) -> str:
    return target.name.removesuffix(form_of(target))


def check_targets(settings: Settings, source: Path, targets: Sequence[Path], force: bool) -> list[Path]:
    """Which files of a former segmentation of that name, in whatever form, give way to the new one; some of the targets are not
    going to be written. Raises UsageError where something must not be replaced, or was not allowed to be.
    """
    kinds = [("watched folder", watch.folder) for watch in settings.watch]
    for target in targets:
        if source in (target, table_of(target), uncertainty_of(target)):
            raise UsageError(f"{source}: would be replaced, and is the image itself; name another file with --out")
        if not target.parent.is_dir():
            raise UsageError(f"{target.parent}: no such folder")
        for kind, folder in [*kinds, *([("acquisition", source)] if source.is_dir() else [])]:
            if target.resolve().is_relative_to(folder.resolve()):
                raise UsageError(
                    f"{target}: lies in the {kind} {folder}, where it would be taken for an acquisition; use --out"
                )
    former = _former(targets, source, settings.prediction.uncertainty)
    if former and not force:
        raise UsageError(f"{former[0]}: exists already; use --force to replace it, or another --out")
    return former


def _former(targets: Sequence[Path], source: Path, with_map: bool) -> list[Path]:
    """Those that are there. What was not named by the user and is not written now only counts where a model wrote it."""
    named = [*targets, table_of(targets[0])]
    if with_map:
        named += [uncertainty_of(target) for target in targets]
    both = [targets[0].with_name(_stem(targets[0]) + form) for form in FORMS]
    others = [path for target in both for path in (target, uncertainty_of(target)) if path not in named]
    return [path for path in named if os.path.lexists(path)] + [
        path for path in others if path.exists() and path.resolve() != source.resolve() and _by_a_model(path)
    ]


def _by_a_model(path: Path) -> bool:
    from alcore.errors import AlcoreError
    from alcore.volumes.labels import read_labels_metadata
    from alcore.volumes.labels_zarr import zarr_metadata

    if path.is_dir():
        return "model_key" in zarr_metadata(path)
    try:
        return "model_key" in read_labels_metadata(path)
    except (AlcoreError, OSError, ValueError, SyntaxError):  # the last one is that of damaged XML
        return False


def put_in_place(made: Path, targets: Sequence[Path], former: Sequence[Path]) -> Path:
    """Copy what was made beside the target that is named like it, then swap; returns that target.

    A table or a map never stands beside another segmentation. former: see `check_targets`.
    """
    (form,) = (form for form in FORMS if (made / f"instances{form}").exists())
    target = next(t for t in targets if t.name.endswith(form))
    files = {made / f"instances{form}": target, made / "objects.csv": table_of(target)}
    if (made / f"uncertainty{form}").exists():
        files[made / f"uncertainty{form}"] = uncertainty_of(target)
    aside = {to: to.with_name(f".{n}-{os.getpid()}.alscope.tmp") for n, to in enumerate(files.values())}
    try:
        for source, to in files.items():
            for _ in copy_aside(source, aside[to]):
                pass
        segmentations = [target.with_name(_stem(target) + form) for form in FORMS]
        for path in former:
            if path not in segmentations:
                remove(path)
        put(aside[target], target)
        for path in former:
            if path in segmentations and path != target:
                remove(path)
        for to, path in aside.items():
            if to != target:
                put(path, to)
    finally:
        for path in aside.values():
            remove(path)
    return target
