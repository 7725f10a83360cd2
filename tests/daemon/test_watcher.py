"""The watcher on its own: hints come, and come again after its threads died."""

from __future__ import annotations

import threading
import time

from daemon.watcher import Watcher


def test_an_observer_that_died_is_replaced(tmp_path):
    """Killed in every way at hand: each of its threads ended from outside."""
    heard = threading.Event()
    watcher = Watcher([tmp_path], heard.set)
    try:
        assert watcher.supervise() == []
        for victim in ("emitter", "dispatcher"):
            observer = watcher._observer
            (next(iter(observer.emitters)) if victim == "emitter" else observer).stop()
            until = time.monotonic() + 10
            while watcher._healthy() and time.monotonic() < until:
                time.sleep(0.05)
            assert not watcher._healthy()
            assert watcher.supervise() == []
            assert watcher._observer is not observer
            heard.clear()
            (tmp_path / f"after the {victim} died.tif").write_bytes(b"x")
            assert heard.wait(10)
    finally:
        watcher.close()


def test_a_folder_that_comes_back_is_watched_again(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    heard = threading.Event()
    watcher = Watcher([folder], heard.set)
    try:
        watcher.supervise()
        folder.rename(tmp_path / "away")
        watcher.supervise()
        folder.mkdir()
        watcher.supervise()
        heard.clear()
        (folder / "a.tif").write_bytes(b"x")
        assert heard.wait(10)
    finally:
        watcher.close()


def test_a_watch_that_cannot_be_set_leaves_no_threads_behind(tmp_path, monkeypatch):
    """A folder that vanishes between the look and the watch: tried again at every pulse, for as long as it takes."""
    (tmp_path / "in").mkdir()
    gone = tmp_path / "gone"
    heard = threading.Event()
    watcher = Watcher([tmp_path / "in", gone], heard.set)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("daemon.watcher._identity", lambda folder: (1, 1))
            before = threading.active_count()
            for _ in range(5):
                assert "no file events" in watcher.supervise()[0]
            assert threading.active_count() == before
        assert watcher.supervise() == []
        (tmp_path / "in" / "a.tif").write_bytes(b"x")
        assert heard.wait(10)
    finally:
        watcher.close()
