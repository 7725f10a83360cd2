"""What `alscope doctor` looks at: each check finds out one thing for real, and says how to mend it."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.cli.checking import Check
from daemon.cli.checks_annotate import annotation
from daemon.cli.checks_cluster import cluster
from daemon.cli.checks_database import database
from daemon.cli.checks_folders import file_events, watched_folder
from daemon.cli.checks_gpu import encoder, faiss_computes, gpu, torch_computes
from daemon.cli.checks_pseudo import pseudo_labels
from daemon.cli.checks_system import clock, faiss_package, import_name, memory, python, sqlite
from daemon.cli.checks_workspace import budget, room, workspace
from daemon.config import Settings
from daemon.executors.chosen import on_cluster

__all__ = ["Check", "configured", "deep", "machine"]


def machine() -> Iterator[Check]:
    """Checks that need no configuration."""
    yield python()
    yield import_name()
    yield faiss_package()
    yield sqlite()
    yield clock()


def configured(settings: Settings) -> Iterator[Check]:
    """Checks of what config.toml names."""
    yield from workspace(settings)
    yield room(settings)
    yield from budget(settings)
    yield memory(settings)
    yield from database(settings)
    yield gpu(settings)
    if on_cluster(settings.run):
        yield cluster(settings)
    yield encoder(settings)
    yield from pseudo_labels(settings)
    yield from annotation(settings)
    for watch in settings.watch:
        yield from watched_folder(watch, settings.run.rescan_s)
    yield file_events(settings)


def deep() -> Iterator[Check]:
    """Checks that import the heavy parts, in a process of their own because such an import can crash."""
    yield torch_computes()
    yield faiss_computes()
