"""What lies in cache/ and can be made again: which parts there are, when each was used last, and how each goes."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from alcore.pages import BLOCKS
from alcore.stages.sam_embedding import CACHE
from daemon.usage import bytes_of
from daemon.workspace import Workspace

CASE = ".b2nd"
CASE_FILES = (CASE, "_seg.b2nd", ".pkl")
"""The file by which a prepared patch is found goes first: what is left of one that was half removed is not taken for one."""
READS_CASES = frozenset(("pretrain", "finetune"))
STAGE = "sam_embedding"


@dataclass(frozen=True)
class Cache:
    """A part that goes as a whole. files: in the order in which they go; used: when it was used last, by the file system."""

    files: tuple[Path, ...]
    used: float
    n_bytes: int

    def remove(self) -> None:
        """Be rid of it. Killed in the middle, what is left is found again, or no use to anybody."""
        for path in self.files:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def parts(workspace: Workspace, running: Collection[str], claimed: Collection[str]) -> list[Cache]:
    """All parts that nobody uses now. running: stages of the jobs that run; claimed: packages of patches that people work on."""
    root, found = workspace.places.cache, []
    if not READS_CASES & set(running):
        for main in root.glob(f"nnunet/cases-*/*{CASE}"):
            if not main.name.endswith("_seg.b2nd"):
                stem = main.name.removesuffix(CASE)
                found.append(tuple(main.with_name(f"{stem}{suffix}") for suffix in CASE_FILES))
    if STAGE not in running:
        found += [(path,) for path in root.glob(f"{CACHE}/*") if path.name not in claimed]
    if "suggestions" not in running:
        found += [(root / "index",), (root / BLOCKS,)]
    return [cache for files in found if (cache := _cache(files)) is not None]


def _cache(files: tuple[Path, ...]) -> Cache | None:
    try:
        used = files[0].stat().st_mtime
    except OSError:
        return None
    return Cache(files, used, sum(bytes_of(path) for path in files))


def remove_case(folder: Path, case: str) -> None:
    """Remove a prepared patch."""
    for suffix in CASE_FILES:
        (folder / f"{case}{suffix}").unlink(missing_ok=True)
