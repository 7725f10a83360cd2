"""What every recipe is made of: inputs by key, and short names of what a stage would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alcore.run import stage
from alcore.stage import Input
from daemon.config import Settings
from daemon.policy import digest
from daemon.store.rows import VolumeRow, path_of


@dataclass(frozen=True)
class Recipes:
    """Settings and machine, fixed while the daemon runs."""

    settings: Settings
    device: str
    artifact_path: Callable[[str], Path]
    workspace: Path

    def artifact(self, key: str) -> Input:
        """An artifact, or ("volume-.../0003") a folder in it."""
        artifact, _, folder = key.partition("/")
        return Input(self.artifact_path(artifact) / folder, key)

    @staticmethod
    def source(volume: VolumeRow) -> Input:
        """The acquisition that a volume is read from, where it lies now."""
        return Input(path_of(volume.path), f"sha256:{volume.sha256}", volume.content, volume.members)

    def spec(self, name: str, *parts: Any) -> str:
        """Short name of what a stage would do, apart from the volume it does it to."""
        return digest(name, stage(name).version, *parts)
