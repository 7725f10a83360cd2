"""Figures for Prometheus: off unless asked for, scraped over HTTP, and the same as those of `alscope status --json`."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.config import from_mapping
from daemon.errors import ConfigError
from daemon.metrics import Figures, MetricsServer
from daemon.ticks import Ticks
from tests.daemon.daemons import RealDaemon, real_daemon
from tests.daemon.play import Stage

Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(port: int, host: str = "127.0.0.1") -> Found:
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}


def free_port() -> int:
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_all_that_status_says_can_be_scraped(tmp_path: Path) -> None:
    stage = Stage(tmp_path, training={"every": 4, "gate_min_patches": 1}, selection={"queue_depth": 8})
    stage.drop("a.tif", b"one")
    stage.drop("b.tif", b"two")
    stage.run()
    for item in stage.shot().queue[:4]:
        stage.label(item.id)
    stage.run()
    ticks = Ticks()
    ticks.passed(0.25)
    stage.store.state.problem("folder", "x", "x: cannot be reached", stage.now)
    shot = stage.shot()
    server = MetricsServer("127.0.0.1", 0, Figures(stage.workspace.root, ticks))
    try:
        found = scrape(server.port)
        assert found["alscope_volumes", (("state", "ingested"),)] == 2
        assert found["alscope_jobs", (("state", "done"),)] == shot.jobs["done"]
        assert found["alscope_queue_depth", ()] == len(shot.queue) > 0
        assert found["alscope_labels", (("kind", "accepted"),)] == 4
        assert found["alscope_problems", (("severity", "fail"),)] == 2  # the folder, and no daemon
        assert found["alscope_last_tick_seconds", ()] == 0.25
        assert found["alscope_tick_seconds_count", ()] == 1
        assert found["alscope_disk_free_bytes", ()] == pytest.approx(psutil.disk_usage(str(tmp_path)).free, rel=0.1)
        own = found["alscope_resident_memory_bytes", (("process", "daemon"),)]
        assert own == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
        (best,) = [m for m in shot.models if m.state == "promoted"]
        assert found["alscope_model_score", (("score", "f1"),)] == best.scores["f1"]
    finally:
        server.close()
        stage.store.close()


def test_a_damaged_database_is_a_figure_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "alscope.db").write_bytes(b"no database" * 1000)
    server = MetricsServer("127.0.0.1", 0, Figures(tmp_path, Ticks()))
    try:
        assert scrape(server.port)["alscope_database_readable", ()] == 0
    finally:
        server.close()


def test_many_scrapers_and_one_that_says_nothing_are_served(tmp_path: Path) -> None:
    server = MetricsServer("127.0.0.1", 0, Figures(tmp_path, Ticks()))
    found: list[Found] = []
    try:
        with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))):
            threads = [threading.Thread(target=lambda: found.append(scrape(server.port))) for _ in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
        assert len(found) == 10
    finally:
        server.close()


def test_a_daemon_listens_where_it_is_told_to_and_only_then(tmp_path: Path) -> None:
    port = free_port()
    with real_daemon(tmp_path) as daemon:
        before = daemon.config.read_text()
        daemon.start()
        daemon.ready()
        assert listening(daemon) == []
        with contextlib.closing(socket.create_server(("127.0.0.1", port))):
            reload(daemon, before + f"[metrics]\nport = {port}\n", "in force: metrics.port")
            shot = daemon.wait(lambda s: any(p.kind == "metrics" for p in s.problems))
            assert any(f"metrics.port = {port}: cannot listen there" in p.message for p in shot.problems)
        reload(daemon, before + f"[metrics]\nport = {port}\n", "nothing changed")
        daemon.wait(lambda s: not any(p.kind == "metrics" for p in s.problems), 9)
        assert listening(daemon) == [("127.0.0.1", port)]
        found = scrape(port)
        assert found["alscope_tick_seconds_count", ()] > 0
        status = daemon.status()
        assert {k[1][0][1]: v for k, v in found.items() if k[0] == "alscope_volumes"} == status["volumes"]
        own = found["alscope_resident_memory_bytes", (("process", "daemon"),)]
        assert status["machine"]["daemon_rss_bytes"] == pytest.approx(own, rel=0.1)
        assert json.dumps(status["machine"]["disk_free_bytes"]).isdigit()
        reload(daemon, before, "in force: metrics.port")
        with pytest.raises(urllib.error.URLError):
            scrape(port)
        assert daemon.stop() == 0


def listening(daemon: RealDaemon) -> list[tuple[str, int]]:
    assert daemon.process is not None
    connections = psutil.Process(daemon.process.pid).net_connections("inet")
    return [(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN]


def reload(daemon: RealDaemon, text: str, key: str) -> None:
    """SIGHUP, and wait until it was heard."""
    n = daemon.log.count(key)
    daemon.config.write_text(text)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait(lambda s: daemon.log.count(key) > n)


@pytest.mark.parametrize(("key", "value"), [("port", 70000), ("address", "everywhere"), ("adress", "::1")])
def test_a_place_that_makes_no_sense_is_refused(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"metrics.{key}"):
        from_mapping({"watch": [{"folder": "in"}], "metrics": {key: value}}, tmp_path / "config.toml")
