"""Alarms leave the house: by a real program, by a real HTTP server, and from a real daemon; and what hangs holds nobody up."""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import psutil
import pytest
import tifffile

from daemon.alarms import Alarm, payload, told
from daemon.courier import Courier, Delivered, Letter, by_command
from daemon.webhook import by_webhook
from tests.daemon.daemons import RealDaemon

HOSTILE = Alarm("novelty", "volume:1", "-rf; $(touch pwned) `touch pwned` {kind} \"a\" 'b'\n\x1b[31m é")
WRITE = (
    "import json, os, sys; json.dump([sys.argv[1:], json.load(sys.stdin), dict(os.environ)], open('told.json', 'w'))"
)


def letter(*alarms: Alarm) -> Letter:
    found = alarms or (HOSTILE,)
    content = payload([(n, a, 1.5) for n, a in enumerate(found, 1)], "/ws", "scope1")
    return Letter(tuple(range(1, len(found) + 1)), found[0].kind, told(found), content)


def never() -> threading.Event:
    return threading.Event()


class Server:
    """A webhook that remembers what it was sent. status: its answer; stuck: it takes the message and never answers."""

    def __init__(self, status: int = 204, stuck: bool = False) -> None:
        heard = self.heard = []  # type: list[tuple[str, str, dict]]
        release = self.release = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard.append((self.path, self.headers["Content-Type"], json.loads(body)))
                if stuck:
                    release.wait(20)
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self) -> None:
                heard.append((self.path, "", {}))
                self.send_error(405)

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hooks/secret"

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_a_command_gets_one_argument_and_all_of_it_on_its_input_and_no_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    carry = by_command([sys.executable, "-c", WRITE, "--kind={kind}", "{message}", "; touch pwned"], 20, tmp_path)
    assert carry(letter(), never()) == ""
    arguments, said, environment = json.loads((tmp_path / "told.json").read_text())
    assert arguments == ["--kind=novelty", told([HOSTILE]), "; touch pwned"]
    assert said == letter().payload
    assert "NOTIFY_SOCKET" not in environment
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["/no/such/program"], "/no/such/program: cannot be run (No such file or directory)"),
        (
            [sys.executable, "-c", "import sys; sys.exit('no\\nnot today')"],
            f"{sys.executable}: ended with 1: not today",
        ),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], f"{sys.executable}: ended with -9"),
    ],
)
def test_a_command_that_fails_says_how(tmp_path, words, says):
    assert by_command(words, 20, tmp_path)(letter(), never()) == says


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path):
    script = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    began = time.monotonic()
    assert by_command(["/bin/sh", "-c", script], 0.5, tmp_path)(letter(), never()) == "/bin/sh: took more than 0.5 s"
    assert time.monotonic() - began < 10
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 10  # it was sent the signal, and dies when it is next scheduled
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "left running"
        time.sleep(0.01)


def test_a_command_that_leaves_something_running_is_done(tmp_path):
    """As `notify-send` and mail programs do; it must not hold the pipe against us."""
    began = time.monotonic()
    script = f"sleep 5 & echo $! > {tmp_path}/child"
    assert by_command(["/bin/sh", "-c", script], 20, tmp_path)(letter(), never()) == ""
    assert time.monotonic() - began < 4
    os.kill(int((tmp_path / "child").read_text()), 9)


def test_a_webhook_is_sent_json(server):
    assert by_webhook(server.address, 5)(letter(), never()) == ""
    ((path, kind, body),) = server.heard
    assert (path, kind) == ("/hooks/secret", "application/json")
    assert body == letter().payload
    assert body["text"].startswith("alscope: novelty: ")


@pytest.mark.parametrize("status", [500, 404, 302, 307])
def test_a_webhook_that_refuses_or_points_elsewhere_is_a_failure_that_keeps_the_secret(status):
    server = Server(status)
    try:
        assert by_webhook(server.address, 5)(letter(), never()) == f"127.0.0.1: answered {status}"
        assert [path for path, _, _ in server.heard] == ["/hooks/secret"]  # it was not followed
    finally:
        server.close()


def test_a_webhook_that_nobody_listens_to_or_that_hangs(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        free = s.getsockname()[1]
    found = by_webhook(f"http://127.0.0.1:{free}/x", 5)(letter(), never())
    assert found == "127.0.0.1: cannot be reached (Connection refused)"
    server = Server(stuck=True)
    try:
        began = time.monotonic()
        assert "timed out" in by_webhook(server.address, 0.5)(letter(), never())
        assert time.monotonic() - began < 5
    finally:
        server.close()


def test_a_webhook_that_answers_nonsense():
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"I am no web server\r\n\r\n")
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    assert by_webhook(address, 5)(letter(), never()).startswith("127.0.0.1: cannot be reached")
    thread.join()
    listener.close()


def test_a_courier_reports_survives_what_it_does_not_know_and_ends_at_once(tmp_path):
    reports: queue.SimpleQueue[Delivered] = queue.SimpleQueue()
    said = iter(["", "refused"])

    def carry(letter: Letter, ending: threading.Event) -> str:
        return next(said)  # a third letter raises StopIteration

    courier = Courier("command", carry, reports.put)
    for _ in range(3):
        courier.send(letter())
    assert [reports.get(timeout=5).error for _ in range(3)] == ["", "refused", "StopIteration: "]
    courier.close()
    slow = Courier("command", by_command(["sleep", "60"], 60, tmp_path), reports.put)
    slow.send(letter())
    time.sleep(0.5)
    began = time.monotonic()
    slow.close()
    assert time.monotonic() - began < 1.5
    assert reports.empty()  # it is told by the next daemon


def test_a_real_daemon_tells_and_does_not_repeat_itself(tmp_path, server):
    """From the file closing to the message: a volume out of focus, at the default pulse; then a restart."""
    config = (
        'workspace = "ws"\n[[watch]]\nfolder = "in"\naxes = "ZYX"\nsettle_s = 0.3\n[run]\nmin_free_gb = 0.0\nrescan_s = 1.0\n'
        '[encoder]\nmin_patches = 1000\n[alarms]\nkinds = ["quality"]\ndisk_gb = 0.0\n'
        f'command = ["{sys.executable}", "-c", "import sys; open(\'told.txt\', \'a\').write(sys.argv[1] + chr(10))", "{{message}}"]\n'
        f'webhook = "{server.address}"\n'
    )
    daemon = RealDaemon(tmp_path, config)
    rng = np.random.default_rng(0)
    for number in range(6):
        tifffile.imwrite(daemon.folder / f"v{number}.tif", rng.integers(90, 160, (8, 64, 64), dtype=np.uint8))
    daemon.start()
    try:
        daemon.wait(lambda s: s.volumes["ingested"] == 6, 60)
        tifffile.imwrite(daemon.folder / "$(dark) [red].tif", rng.integers(5, 20, (8, 64, 64), dtype=np.uint8))
        closed, until = time.monotonic(), time.monotonic() + 60
        told = tmp_path / "ws" / "told.txt"
        while not (told.exists() and server.heard) and time.monotonic() < until:
            time.sleep(0.1)
        assert time.monotonic() - closed < 45
        assert "has it drifted?" in told.read_text()
        assert "$(dark) [red].tif" in told.read_text()
        assert [b["alarms"][0]["kind"] for _, _, b in server.heard] == ["quality"]
        daemon.wait(lambda s: bool(s.alarms) and set(s.alarms[0].told.values()) == {"told"}, 20)
        daemon.stop()
        daemon.start()
        time.sleep(13)  # more than a pulse
        assert len(told.read_text().splitlines()) == 1
        assert len(server.heard) == 1
        listed = daemon.alscope("alarms", "--json")
        assert [a["told"] for a in json.loads(listed.stdout)] == [{"command": "told", "webhook": "told"}]
        assert "alscope.alarms" in daemon.log
    finally:
        daemon.stop()


def test_the_command_line_tries_the_ways_out_and_declares_a_run(tmp_path, server):
    config = (
        'workspace = "ws"\n[[watch]]\nfolder = "in"\n[run]\nmin_free_gb = 0.0\n[alarms]\n'
        f'command = ["false"]\nwebhook = "{server.address}"\n'
    )
    daemon = RealDaemon(tmp_path, config)
    (tmp_path / "ws").mkdir()
    tried = daemon.alscope("alarms", "test")
    assert tried.returncode == 1
    assert tried.stdout.splitlines() == ["✗ command: false: ended with 1", "✓ webhook: told"]
    assert server.heard[0][2]["text"] == "alscope: test: a trial: this is how an alarm arrives"
    daemon.start()
    daemon.ready()
    try:
        said = daemon.alscope("expect", "--every", "2h", "--for", "3d")
        assert said.stdout.strip() == "a file is expected at least every 2 h 00 min, for 3 d 0 h"
        assert daemon.alscope("expect").stdout.startswith("a file is expected at least every 2 h 00 min, for 2 d 23 h")
        assert daemon.alscope("expect", "--end").stdout.strip() == "no files are expected any more"
        assert daemon.alscope("expect", "--end").returncode == 1
        assert "no run is declared" in daemon.alscope("expect").stdout
        assert daemon.alscope("alarms").stdout.strip() == "no alarm so far"
        assert daemon.alscope("expect", "--for", "2h").returncode == 2
    finally:
        daemon.stop()


@pytest.mark.slow
def test_novelty_is_told_within_minutes_of_the_file_closing(tmp_path, server):
    """Nine volumes of one kind, then one of stripes, with everything else that the daemon does on them going on."""
    config = (
        'workspace = "ws"\n[[watch]]\nfolder = "in"\naxes = "ZYX"\nsettle_s = 0.3\n[run]\nmin_free_gb = 0.0\nrescan_s = 1.0\n'
        "[patch]\nshape_px = [8, 64, 64]\n[training]\npretrain_schedule = {epochs = 1, iterations = 1}\n"
        f'[alarms]\nkinds = ["novelty"]\ndisk_gb = 0.0\nwebhook = "{server.address}"\n'
    )
    daemon = RealDaemon(tmp_path, config)
    rng = np.random.default_rng(0)

    def blobs() -> np.ndarray:
        z, y, x = np.meshgrid(np.arange(16), np.arange(128), np.arange(128), indexing="ij")
        found = rng.normal(60, 4, (16, 128, 128))
        for cz, cy, cx in rng.uniform(0, 1, (30, 3)) * (16, 128, 128):
            found += 90 * np.exp(-((z - cz) ** 2 / 8 + (y - cy) ** 2 / 60 + (x - cx) ** 2 / 60))
        return np.clip(found, 0, 255).astype(np.uint8)

    for number in range(9):
        tifffile.imwrite(daemon.folder / f"v{number}.tif", blobs())
    daemon.start()
    try:
        daemon.wait(lambda s: s.volumes["embedded"] == 9 and not s.running, 300)
        stripes = np.where(np.arange(128) % 4 < 2, 250, 0) + np.zeros((16, 128, 1))
        tifffile.imwrite(daemon.folder / "stripes.tif", stripes.astype(np.uint8))
        closed = time.monotonic()
        while not server.heard and time.monotonic() - closed < 180:
            time.sleep(0.1)
        took = time.monotonic() - closed
        assert [b["alarms"][0]["message"][:11] for _, _, b in server.heard] == ["stripes.tif"]
        print(f"novelty was told {took:.0f} s after the file was closed")
        assert took < 120
    finally:
        daemon.stop()
