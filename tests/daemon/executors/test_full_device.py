"""A GPU that has no room at the moment is not a fault of the job: it is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from alcore.run import key_of
from alcore.stage import Input
from daemon.executors import perform as performing
from daemon.executors.port import Finished, Order, Places


def ended(tmp_path: Path, monkeypatch, error: Exception) -> Finished:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(performing, "execute", fail)
    inputs = {"encoder": [Input(tmp_path, "e")], "volume": [Input(tmp_path, "v")], "source": [Input(tmp_path, "s")]}
    key = key_of("embedding", inputs, {})
    order = Order(1, 1, key, "embedding", inputs, {}, "cuda", 1, 4 << 30, False, False, 60.0)
    places = Places(tmp_path / "artifacts", tmp_path / "cache", tmp_path / "jobs")
    return performing.perform(order, places, lambda _: None, lambda: False)


def test_torch_out_of_memory_is_transient_and_other_errors_of_torch_are_defects(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    end = ended(tmp_path, monkeypatch, torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"))
    assert (end.outcome, end.kind) == ("failed", "transient")
    assert end.error == "the GPU is out of memory: CUDA out of memory. Tried to allocate 2 GiB"
    end = ended(tmp_path, monkeypatch, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert (end.outcome, end.kind) == ("failed", "defect")
