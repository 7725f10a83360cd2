"""`alscope label export`: every label that counts as plain files that any tool opens, and a manifest that says what they are."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from daemon.cli.session import Session
from daemon.errors import UsageError, WorkspaceError

FILES = {"label": "label.tif", "image": "image.tif", "seen": "seen.tif"}
"""What is copied of a label artifact, by what it is called in the manifest; nothing that a model made."""
COLUMNS = (
    *("suggestion", "label", "image", "seen", "volume", "volume_sha256", "start_z", "start_y", "start_x"),
    *("shape_z", "shape_y", "shape_x", "voxel_um_z", "voxel_um_y", "voxel_um_x", "role", "author", "tool"),
    *("n_objects", "n_cut", "seen_fraction", "accepted_at", "warnings"),
)


def export(session: Session, folder: Path) -> list[dict[str, Any]]:
    """Write <suggestion>_label.tif, _image.tif (and _seen.tif where a part was not looked at), manifest.csv and manifest.json.

    A folder that an export made before is brought up to date; another one that is not empty is refused with UsageError.
    Returns the rows of the manifest.
    """
    from alcore.artifact import write_atomic
    from daemon.files import copy_durably
    from daemon.look import reading
    from daemon.store.label_listing import current_labels

    if folder.exists() and not (folder / "manifest.json").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is there already and was not made by an export; name a new or an empty folder")
    with reading(session.workspace.root) as db:
        labels = current_labels(db)
    before = _named(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for label in labels:
        source = session.workspace.artifacts.path(label.artifact)
        if not (source / FILES["label"]).is_file():
            raise WorkspaceError(f"{source}: the files of the label of {label.suggestion} are not there; restore them")
        row: dict[str, Any] = {"suggestion": label.suggestion}
        for name, file in FILES.items():
            there = (source / file).is_file()
            row[name] = f"{label.suggestion}_{name}.tif" if there else None
            if there:
                copy_durably(source / file, folder / f"{label.suggestion}_{name}.tif")
        about = asdict(label)
        rows.append(
            row
            | {
                key: about[key]
                for key in ("volume", "start", "shape", "voxel_um", "role", "author", "tool", "n_objects")
            }
            | {
                "volume_sha256": label.sha256,
                "n_cut": _n_cut(source),
                "seen_fraction": label.seen,
                "accepted_at": label.accepted_at,
                "warnings": list(label.warnings),
            }
        )
    write_atomic(folder / "manifest.csv", _csv(rows).encode())
    write_atomic(folder / "manifest.json", json.dumps({"labels": rows}, indent=1).encode())
    for name in before - {str(row[kind]) for row in rows for kind in FILES if row[kind]}:
        (folder / name).unlink(missing_ok=True)  # of labels that were withdrawn since
    return rows


def _n_cut(source: Path) -> int | None:
    """Objects that the border of the patch cuts; None for a label that was checked before they were counted."""
    page = source / "label.json"
    found: int | None = json.loads(page.read_text()).get("n_cut") if page.is_file() else None
    return found


def _named(folder: Path) -> set[str]:
    """Files that the manifest of an earlier export names."""
    try:
        rows = json.loads((folder / "manifest.json").read_text())["labels"]
        names = {str(row[kind]) for row in rows for kind in FILES if row.get(kind)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in names if name.endswith(".tif") and "/" not in name}


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        flat = {key: value for key, value in row.items() if key in COLUMNS}
        for name in ("start", "shape", "voxel_um"):
            values = row[name] if row[name] is not None else ("", "", "")
            flat |= {f"{name}_{axis}": value for axis, value in zip("zyx", values, strict=True)}
        writer.writerow(flat | {"warnings": "; ".join(row["warnings"])})
    return text.getvalue()
