"""The table of everything that results depend on."""

from __future__ import annotations

import platform
import sqlite3
import sys
from importlib import metadata

from alcore import __version__
from alcore.report.content import Cell, Column, Table
from alcore.run import STAGES, stage
from daemon.store.rows import encoder_name
from daemon.store.views import Snapshot
from daemon.wording import clean

PACKAGES = (
    *(
        "numpy",
        "scipy",
        "scikit-image",
        "scikit-learn",
        "torch",
        "timm",
        "nnunetv2",
        "faiss-gpu",
        "faiss-cpu",
        "umap-learn",
    ),
    *(
        "numba",
        "tifffile",
        "zarr",
        "imagecodecs",
        "micro-sam",
        "segment-anything-py",
        "matplotlib",
        "sqlite-utils",
        "watchdog",
    ),
)
"""Whose versions can change a result, or how it is handled."""


def versions(db: sqlite3.Connection, snapshot: Snapshot, device: str, config: str) -> Table:
    """Everything that results depend on. config: name of the settings (a digest)."""
    rows: list[tuple[Cell, ...]] = [
        ("alscope", __version__),
        ("Python", platform.python_version()),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("computes on", device),
        ("SQLite", sqlite3.sqlite_version),
        ("settings", config),
        ("model in use", next((m.version for m in snapshot.models if m.state == "promoted"), "none")),
    ]
    row = db.execute("SELECT id, kind, n_patches FROM encoder WHERE state = 'current'").fetchone()
    if row is not None:
        rows.append(("encoder in use", f"{encoder_name(row['id'])} ({row['kind']}, of {row['n_patches']} patches)"))
    if snapshot.pseudo is not None:
        rows.append(("pseudo-labels by", clean(snapshot.pseudo.chosen)))
    for name in PACKAGES:
        try:
            rows.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    rows += [(f"stage {name}", f"v{stage(name).version}") for name in STAGES]
    rows.append(("byte order", sys.byteorder))
    about = "With the same versions and the same data, the same results come out; a stage's number is raised when they would differ."
    return Table("versions", "Versions", about, (Column("what", "what"), Column("version", "version")), tuple(rows))
